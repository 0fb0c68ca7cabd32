"""Who is asked, and how a request is put."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from allod.bench.answer import Answer, answer_of, hear
from allod.bench.exchange import Address, Exchange

CHAT = "/chat/completions"


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is measured.

    Attributes:
        name: in tables.
        url: as it was given.
        models: who is asked; empty takes the first one of the server's list.
        key: of its API.
    """

    name: str
    url: str
    models: tuple[str, ...] = ()
    key: str | None = None

    @property
    def address(self) -> Address:
        """Where it is.

        Raises:
            ConfigurationError: the URL is not one.
        """
        return Address.parse(self.url)


class Abilities(msgspec.Struct, frozen=True):
    """What a server was found to take and to tell.

    Attributes:
        ignores_eos: it takes `ignore_eos`, so that answers have the length that was asked for.
        tells_usage: it counts tokens at the end of a stream.
        context_tokens: the longest prompt plus answer; None when its list of models does not say.
        tokens_per_word: of the bench's prose, by its own count.
        server: the name it gives itself in HTTP.
    """

    ignores_eos: bool
    tells_usage: bool
    context_tokens: int | None
    tokens_per_word: float
    server: str


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str


class _Request(msgspec.Struct, frozen=True, omit_defaults=True):
    model: str
    messages: Sequence[Message]
    max_tokens: int
    stream: bool
    temperature: int
    stream_options: dict[str, bool] | None = None
    ignore_eos: bool | None = None


@dataclass(slots=True)
class Asked:
    """A request on its way."""

    exchange: Exchange
    model: str
    origin: float

    async def answer(self) -> Answer:
        """Wait for its end, and read it."""
        answer, _ = await self.answer_and_text()
        return answer

    async def answer_and_text(self) -> tuple[Answer, str]:
        """As `answer`, with what was said."""
        reply = await self.exchange.run()
        heard = hear(reply.pieces)
        return answer_of(reply, heard, self.model, self.origin), heard.text


class Client:
    """Asks one server.

    Args:
        target: the server.
        address: where it is.
        abilities: what it takes.
        patience_seconds: after which a request counts as failed.

    Attributes:
        models: who can be asked; the first one is, where nothing else is said.
    """

    def __init__(
        self, target: Target, address: Address, abilities: Abilities, patience_seconds: float
    ) -> None:
        self.target = target
        self.abilities = abilities
        self.models = target.models
        self._address = address
        self._patience_seconds = patience_seconds
        self._origin = time.perf_counter()

    def begin_sample(self) -> None:
        """From here on times are counted."""
        self._origin = time.perf_counter()

    def now(self) -> float:
        """Seconds since `begin_sample`."""
        return time.perf_counter() - self._origin

    def ask(self, messages: Sequence[Message], max_tokens: int, model: str | None = None) -> Asked:
        """Prepare a streamed request; it leaves when its answer is awaited."""
        asked = model or self.models[0]
        request = _Request(
            model=asked,
            messages=messages,
            max_tokens=max_tokens,
            stream=True,
            temperature=0,
            stream_options={"include_usage": True} if self.abilities.tells_usage else None,
            ignore_eos=True if self.abilities.ignores_eos else None,
        )
        body = msgspec.json.encode(request)
        data = self._address.request("POST", CHAT, body, self.target.key)
        return Asked(Exchange(self._address, data, self._patience_seconds), asked, self._origin)

    def say(self, text: str, max_tokens: int, model: str | None = None) -> Asked:
        """As `ask`, for one message of a user."""
        return self.ask([Message("user", text)], max_tokens, model)

    def get(self, route: str) -> Exchange:
        """Prepare a GET."""
        data = self._address.request("GET", route, None, self.target.key)
        return Exchange(self._address, data, self._patience_seconds)
