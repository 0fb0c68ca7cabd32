"""Exit codes: what a script can learn from how `allod` ends."""

from enum import IntEnum

from allod.core.errors import AllodError, Busy, ConfigurationError, ImportRefused, ModelUnavailable, NotFound


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "something else went wrong; the message says what",
    ExitCode.USAGE: "the command line or a setting is wrong",
    ExitCode.NOT_FOUND: "there is no such model or key",
    ExitCode.REFUSED: "the checkpoint cannot be taken in",
    ExitCode.UNAVAILABLE: "the server is not reachable, busy, or its model is not loaded",
    ExitCode.INTERRUPTED: "stopped with Ctrl-C",
}

_BY_ERROR: tuple[tuple[type[AllodError], ExitCode], ...] = (
    (ConfigurationError, ExitCode.USAGE),
    (NotFound, ExitCode.NOT_FOUND),
    (ImportRefused, ExitCode.REFUSED),
    (Busy, ExitCode.UNAVAILABLE),
    (ModelUnavailable, ExitCode.UNAVAILABLE),
)


def code_of(error: AllodError) -> ExitCode:
    """The exit code that goes with an error."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)


def epilog() -> str:
    """The table for `allod --help`."""
    rows = [f"{code.value}: {meaning}" for code, meaning in MEANINGS.items()]
    return "\n\n".join(("Exit codes:", *rows))
