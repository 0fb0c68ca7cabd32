"""The seams. Each has a contract suite in `tests/contract`, run against every implementation."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from allod.core.card import ModelCard
from allod.core.events import Event
from allod.core.hosting import HostedModel
from allod.core.ids import TokenId
from allod.core.request import GenerationRequest, Message
from allod.core.step import MemoryReading, ModelFacts, StepPlan, StepResult


class Backend(Protocol):
    """Something that answers requests: this machine's workers, or a fake."""

    def generate(self, request: GenerationRequest, card: ModelCard) -> AsyncIterator[Event]:
        """Yield the events of one request; closing the iterator cancels it.

        Raises:
            AllodError: before the first event, for everything that can be a 4xx or 503.
        """
        ...


class ModelHost(Protocol):
    """Something that keeps models in memory."""

    def hosted(self) -> Sequence[HostedModel]:
        """Every model that was asked for since the start, with its phase; answers at once."""
        ...

    async def inspect(self) -> Sequence[HostedModel]:
        """As `hosted`, with a fresh status from every live worker (waits at most one second)."""
        ...

    async def load(self, card: ModelCard) -> None:
        """Bring a model into memory; returns when it is ready.

        Raises:
            ModelUnavailable: it cannot be loaded; the message says why.
        """
        ...


class Flight(Protocol):
    """A step that is on its way."""

    def collect(self) -> StepResult:
        """Wait for the step and return what it produced. Called exactly once."""
        ...


class Runner(Protocol):
    """One loaded model. Every method is called on one and the same thread."""

    @property
    def facts(self) -> ModelFacts:
        """What the model needs and can do."""
        ...

    def launch(self, plan: StepPlan) -> Flight:
        """Start a step and return at once; the flight before it need not be collected yet."""
        ...

    def memory(self) -> MemoryReading:
        """The allocator's counters now."""
        ...


class TokenCodec(Protocol):
    """A tokenizer, as much of it as the house needs."""

    def encode(self, text: str, *, special: bool) -> tuple[TokenId, ...]:
        """Text to ids. `special` adds what the tokenizer adds by itself, such as a BOS token."""
        ...

    def decode(self, tokens: Sequence[TokenId]) -> str:
        """Ids to text, special tokens left out. Half a character becomes U+FFFD."""
        ...

    def token_bytes(self, token: TokenId) -> bytes:
        """The exact bytes of one token; a special token's are its name."""
        ...


class ChatTemplate(Protocol):
    """A checkpoint's chat template."""

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt text, ending where the assistant's answer starts.

        Raises:
            InvalidRequest: the template refuses these messages; names the message at fault if it can.
        """
        ...
