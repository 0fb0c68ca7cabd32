"""How a request ended, for answers that are written when it has."""

from allod.core.errors import AllodError, InternalFailure
from allod.core.events import Event, Failed, Finished
from allod.core.usage import Usage


class Outcome:
    """Waits for the last event."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._error: AllodError | None = None

    def feed(self, event: Event) -> None:
        """Take the next event; all but the last mean nothing here."""
        match event:
            case Finished():
                self._usage = event.usage
            case Failed():
                self._error = event.error
            case _:
                pass

    def usage(self) -> Usage:
        """What the request consumed.

        Raises:
            AllodError: it failed.
            InternalFailure: the events ended without an end.
        """
        if self._error is not None:
            raise self._error
        if self._usage is None:
            raise InternalFailure("the answer broke off before it was complete")
        return self._usage
