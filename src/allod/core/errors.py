"""One error tree. Every leaf knows its HTTP status, its OpenAI type and its code.

AllodError
├── InvalidRequest 400            the request can never work as it is
│   ├── ContextLengthExceeded 400 prompt and answer do not fit the model's context
│   ├── MemoryExceeded 400        the request never fits this machine's budget
│   ├── PictureTooLarge 400       nor does one picture of it fit what is set aside for pictures
│   ├── PreviousResponseNotFound 400  the response to continue is not kept
│   └── BodyTooLarge 413
├── NotAuthenticated 401
├── NotAllowed 403                Host, Origin, or a key without the right
├── NotFound 404
│   └── ModelNotFound 404
├── MethodNotAllowed 405
├── RequestTimeout 408            the client does not send its request
├── ClientTooSlow 408             the client does not read its answer
├── Cancelled 409                the owner broke the answer off
├── Busy 503                      the queue is full; carries Retry-After
│   └── TooManyConnections 503
├── ModelUnavailable 503          the worker is loading, gone, or cannot load
├── InternalFailure 500
├── StoreFull 507                what callers asked to be kept fills the store
├── ConfigurationError            a setting is wrong; stops the start
└── ImportRefused                 a checkpoint cannot be taken in, and why
"""

from dataclasses import dataclass
from typing import ClassVar


class AllodError(Exception):
    """Base of everything the house raises on purpose.

    Attributes:
        status: HTTP status.
        kind: the `type` of an OpenAI error object.
        code: a machine-readable word, or None.
        message: names the field, the value's problem and the way out.
        param: the request field at fault, as a path such as `messages[0].content`.
        retry_after_seconds: when to come back, where that is known.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(AllodError):
    """The request can never work as it is."""

    status = 400
    kind = "invalid_request_error"


def refused(field: str, sentence: str) -> InvalidRequest:
    """An InvalidRequest about one field, which `sentence` goes on about."""
    return InvalidRequest(f"{field}: {sentence}", param=field)


@dataclass(frozen=True, slots=True)
class Overflow:
    """The numbers of a request that does not fit; `completion_tokens` is what it asked for, if it did."""

    prompt_tokens: int
    completion_tokens: int | None
    context_tokens: int


class ContextLengthExceeded(InvalidRequest):
    """Prompt and answer do not fit the model's context; `overflow` has the numbers where they are known."""

    code = "context_length_exceeded"

    def __init__(self, message: str, *, param: str | None = None, overflow: Overflow | None = None) -> None:
        super().__init__(message, param=param)
        self.overflow = overflow


class MemoryExceeded(InvalidRequest):
    """The request never fits this machine's byte budget."""

    code = "memory_budget_exceeded"


class PictureTooLarge(InvalidRequest):
    """One picture never fits what this machine sets aside for pictures; a shorter prompt does not help."""

    code = "picture_too_large"


class PreviousResponseNotFound(InvalidRequest):
    """The request continues a response that is not kept, or not for this caller."""

    code = "previous_response_not_found"


class BodyTooLarge(InvalidRequest):
    """The request body is longer than the server reads."""

    status = 413
    code = "body_too_large"


class NotAuthenticated(AllodError):
    """No key, or a key this server does not know."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"


class NotAllowed(AllodError):
    """The Host, the Origin or the key does not give this right."""

    status = 403
    kind = "permission_error"
    code = "not_allowed"


class NotFound(AllodError):
    """There is no such route or object."""

    status = 404
    kind = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    """The name is not a key of the catalogue."""

    code = "model_not_found"


class MethodNotAllowed(AllodError):
    """The route exists, but not with this HTTP method."""

    status = 405
    kind = "invalid_request_error"
    code = "method_not_allowed"


class Cancelled(AllodError):
    """The answer was broken off because its owner asked for that."""

    status = 409
    kind = "invalid_request_error"
    code = "response_cancelled"


class RequestTimeout(AllodError):
    """The client began a request and did not go on with it. Its connection is closed behind the answer."""

    status = 408
    kind = "invalid_request_error"
    code = "request_timeout"


class ClientTooSlow(AllodError):
    """The client leaves so much of its answer unread that the rest is not made."""

    status = 408
    kind = "invalid_request_error"
    code = "client_too_slow"


class Busy(AllodError):
    """The queue is full. Come back after `retry_after_seconds`."""

    status = 503
    kind = "overloaded_error"
    code = "queue_full"


class TooManyConnections(Busy):
    """More clients are connected than are served at a time. Come back after `retry_after_seconds`."""

    code = "too_many_connections"


class ModelUnavailable(AllodError):
    """The model's worker is loading, gone, or cannot load."""

    status = 503
    kind = "server_error"
    code = "model_unavailable"


class InternalFailure(AllodError):
    """A fault of ours. The log has the details; the client gets none."""

    code = "internal_error"


class StoreFull(AllodError):
    """What callers asked to be kept fills the store. The owner can make room."""

    status = 507
    code = "store_full"


class ConfigurationError(AllodError):
    """A setting is wrong; the message names it. Stops the start."""

    code = "configuration_error"


class ImportRefused(AllodError):
    """A checkpoint cannot be taken in; the message says why and what to do."""

    status = 400
    kind = "invalid_request_error"
    code = "import_refused"
