"""A client of the public API: `allod chat` has no private door."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import httpx2
import msgspec

from allod.core.errors import AllodError, Busy, ModelNotFound, ModelUnavailable
from allod.wire.sse import SseParser

_DONE = b"[DONE]"
_CONNECT_SECONDS = 5.0
_BY_STATUS: dict[int, type[AllodError]] = {404: ModelNotFound, 503: Busy}


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Words beside pictures."""

    text: str


class Source(msgspec.Struct, frozen=True):
    """Where a picture comes from: here always a data URI."""

    url: str


class PicturePart(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """A picture."""

    image_url: Source


Part = TextPart | PicturePart
Content = str | tuple[Part, ...]


class Turn(msgspec.Struct, frozen=True):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: Content


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request of the chat API; what is None is left out."""

    messages: tuple[Turn, ...]
    stream: bool
    stream_options: dict[str, bool]
    model: str | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Problem(msgspec.Struct):
    message: str


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Problem | None = None


class _ModelId(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_ModelId]


class _Refusal(msgspec.Struct):
    error: _Problem


@dataclass(slots=True)
class Measured:
    """What one answer took, as the client saw it; filled while the answer runs."""

    started_seconds: float
    first_token_seconds: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_seconds: float = 0.0

    def words(self) -> str:
        """One line: tokens, time to the first one, and their rate after it."""
        if self.first_token_seconds is None:
            return "no text"
        counts = f"{self.prompt_tokens} + {self.completion_tokens} tokens"
        line = f"{counts}, first after {self.first_token_seconds * 1000:.0f} ms"
        after = self.total_seconds - self.first_token_seconds
        if self.completion_tokens < 2 or after <= 0:
            return line
        return f"{line}, then {(self.completion_tokens - 1) / after:.1f} tokens/s"


class ChatClient:
    """Asks a server and streams its answers."""

    def __init__(self, base_url: str, key: str | None, transport: httpx2.BaseTransport | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx2.Timeout(None, connect=_CONNECT_SECONDS)
        self._http = httpx2.Client(headers=headers, timeout=timeout, trust_env=False, transport=transport)

    def close(self) -> None:
        """Give the connection back."""
        self._http.close()

    def model_names(self) -> tuple[str, ...]:
        """The models the server offers.

        Raises:
            AllodError: the server is not there or refuses.
        """
        with self._sending("GET", "/v1/models", None) as answer:
            found = msgspec.json.decode(answer.read(), type=_ModelList)
        return tuple(model.id for model in found.data)

    def answer(self, question: Question, measured: Measured) -> Iterator[str]:
        """The text of the answer, as it comes. Closing the iterator ends the answer on the server.

        Raises:
            AllodError: the server is not there, refuses, or the answer breaks.
        """
        parser = SseParser()
        with self._sending("POST", "/v1/chat/completions", msgspec.json.encode(question)) as answer:
            for data in answer.iter_bytes():
                for event in parser.feed(data):
                    if event == _DONE:
                        measured.total_seconds = time.monotonic() - measured.started_seconds
                        return
                    yield from _text_of(msgspec.json.decode(event, type=_Chunk), measured)
        raise ModelUnavailable("the server closed the stream before the answer was complete")

    @contextmanager
    def _sending(self, method: str, path: str, body: bytes | None) -> Generator[httpx2.Response]:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            with self._http.stream(method, self._base_url + path, content=body, headers=headers) as answer:
                if answer.is_error:
                    raise _refused(answer.status_code, answer.read())
                yield answer
        except msgspec.MsgspecError as error:
            raise ModelUnavailable(
                f"what {self._base_url} sent is not an answer of this API: {error}"
            ) from error
        except httpx2.HTTPError as error:
            raise ModelUnavailable(
                f"no answer from {self._base_url}: {error or type(error).__name__}; is `allod up` running?"
            ) from error


def _text_of(chunk: _Chunk, measured: Measured) -> Iterator[str]:
    if chunk.error is not None:
        raise ModelUnavailable(chunk.error.message)
    if chunk.usage is not None:
        measured.prompt_tokens = chunk.usage.prompt_tokens
        measured.completion_tokens = chunk.usage.completion_tokens
    for choice in chunk.choices:
        if choice.delta.content:
            if measured.first_token_seconds is None:
                measured.first_token_seconds = time.monotonic() - measured.started_seconds
            yield choice.delta.content


def _refused(status: int, body: bytes) -> AllodError:
    try:
        message = msgspec.json.decode(body, type=_Refusal).error.message
    except msgspec.MsgspecError:
        message = f"the server answered {status}"
    return _BY_STATUS.get(status, AllodError)(message)
