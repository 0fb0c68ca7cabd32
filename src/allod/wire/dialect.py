"""What every dialect of generation has: a decoded body, and two ways to write the answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from allod.core.events import Event
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.request import GenerationRequest


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a request has beside its body.

    Attributes:
        request: its id.
        tenant: who asks.
        default_model: tells the model of a body that names none, if there is one. Only such a body asks:
            whoever knows may have to read a whole catalogue.
    """

    request: RequestId
    tenant: TenantId
    default_model: Callable[[], ModelName | None]


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an answer before it begins.

    Attributes:
        identifier: the answer's id without a prefix; each dialect puts its own before it.
        created: seconds since the epoch.
        model: the catalogue key that answers.
        choices: how many choices there are over all requests of the body.
    """

    identifier: str
    created: int
    model: str
    choices: int


class FrameEncoder(Protocol):
    """One dialect's stream: events in, SSE bytes out."""

    @property
    def ping(self) -> bytes:
        """Bytes that keep a silent connection alive and mean nothing."""
        ...

    def feed(self, event: Event) -> bytes:
        """The bytes of one event; possibly none. A Failed becomes the dialect's error event."""
        ...


class Collector(Protocol):
    """One dialect's whole answer."""

    def feed(self, event: Event) -> None:
        """Add one event."""
        ...

    def body(self) -> bytes:
        """The answer as JSON; raises the error of a Failed event."""
        ...


@dataclass(frozen=True, slots=True)
class Decoded:
    """A body that was understood.

    Attributes:
        requests: what to generate; more than one only where a body holds several prompts. Choices of
            the answer are numbered over all of them, in this order.
        stream: the answer leaves event by event.
        encoder: a new encoder of the streamed answer.
        collector: a new collector of the whole answer.
        ignored: names of fields that have no effect here, dotted and without positions, sorted; each is
            printable ASCII of bounded length.
    """

    requests: tuple[GenerationRequest, ...]
    stream: bool
    encoder: Callable[[Header], FrameEncoder]
    collector: Callable[[Header], Collector]
    ignored: tuple[str, ...] = ()


Decoder = Callable[[bytes, Envelope], Decoded]
