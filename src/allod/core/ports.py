"""The seams. Each has a contract suite in `tests/contract`, run against every implementation."""

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Protocol

from allod.core.blocks import StoredTip
from allod.core.card import ModelCard
from allod.core.embedding import EmbeddingRequest, Embeddings
from allod.core.events import Event
from allod.core.hosting import HostedModel
from allod.core.ids import BlockName, TenantId, TokenId
from allod.core.keeping import Kept, KeptKind
from allod.core.pictures import Digest, PreparedPicture, Tensor
from allod.core.request import Conversation, GenerationRequest
from allod.core.step import MemoryReading, ModelFacts, StepPlan, StepResult


class Backend(Protocol):
    """Something that answers requests: this machine's workers, or a fake."""

    def generate(self, request: GenerationRequest, card: ModelCard) -> AsyncGenerator[Event, None]:
        """Yield the events of one request; closing the iterator cancels it, and callers must close it.

        Raises:
            AllodError: before the first event, for everything that can be a 4xx or 503.
        """
        ...


class PromptReader(Protocol):
    """Something that knows models' tokenizers and templates."""

    async def tokens(self, request: GenerationRequest, card: ModelCard) -> tuple[TokenId, ...]:
        """The prompt of a request, as the model reads it.

        Raises:
            InvalidRequest: the model cannot take this source.
        """
        ...

    async def count(self, request: GenerationRequest, card: ModelCard) -> int:
        """How many tokens the prompt has.

        Raises:
            InvalidRequest: the model cannot take this source.
        """
        ...

    async def text(self, card: ModelCard, tokens: Sequence[TokenId]) -> str:
        """The text of tokens, special tokens included.

        Raises:
            InvalidRequest: a token is not in the vocabulary.
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


class Archive(Protocol):
    """Keeps blocks of what was read of prompts, and tips, beyond the life of a process. Nothing of it fails.

    What is said of blocks holds for tips.
    """

    @property
    def used_bytes(self) -> int:
        """What is kept takes so many."""
        ...

    def names(self, tenant: TenantId, tokens: Sequence[TokenId]) -> Sequence[BlockName]:
        """The names of a prompt's whole blocks of `BLOCK_TOKENS`, in order."""
        ...

    def tip_name(self, tokens: Sequence[TokenId], blocks: Sequence[BlockName]) -> BlockName:
        """The name of the tip behind these tokens, which have at least one whole block.

        Args:
            tokens: all up to the tip.
            blocks: the names of their whole blocks; more may follow.
        """
        ...

    def tips(self, tokens: Sequence[TokenId], blocks: Sequence[BlockName]) -> Sequence[StoredTip]:
        """The tips of a prompt that are there, in order.

        Args:
            tokens: of the prompt.
            blocks: the names of its whole blocks.
        """
        ...

    def expected_seconds(self, name: BlockName) -> float:
        """What reading a block that is there is believed to take."""
        ...

    def holds(self, name: BlockName) -> bool:
        """Whether a block is there; reading it may still show that it is damaged."""
        ...

    def wants(self, name: BlockName) -> bool:
        """Whether a block is neither there nor on its way, and may be kept."""
        ...

    def fetch(self, name: BlockName) -> float | None:
        """Read a block, to be taken; the seconds it took, or None where it is not to be had."""
        ...

    def take(self, name: BlockName) -> bytes:
        """A block that was fetched; called once for each time."""
        ...

    def release(self, names: Collection[BlockName]) -> None:
        """Hold blocks no longer that were fetched and will not be taken."""
        ...

    def put(self, name: BlockName, content: bytes) -> None:
        """Keep a block, some time later; what cannot be kept is dropped."""
        ...


class Runner(Protocol):
    """One loaded model. Every method is called on one and the same thread."""

    @property
    def facts(self) -> ModelFacts:
        """What the model needs and can do."""
        ...

    @property
    def archive(self) -> Archive | None:
        """Where it keeps what outlives it; None where nothing does."""
        ...

    def launch(self, plan: StepPlan) -> Flight:
        """Start a step; the flight before it need not be collected yet.

        Returns at once, but for a plan with `encode`, which takes as long as that says.
        """
        ...

    def receive(self, digest: Digest, tensors: Sequence[Tensor]) -> None:
        """Take what the vision tower reads of a picture, to hold until it is seen or forgotten."""
        ...

    def memory(self) -> MemoryReading:
        """The allocator's counters now."""
        ...


class Preprocessor(Protocol):
    """Makes of pictures' files what one model reads. Every method is called on one and the same thread."""

    @property
    def facts(self) -> ModelFacts:
        """The model's limits, as far as pictures are concerned."""
        ...

    def prepare(self, file: bytes, form: str, max_pixels: int) -> PreparedPicture:
        """Decode a file, make it smaller if it has more than `max_pixels`, and lay it out for the model.

        Args:
            file: PNG, JPEG, WebP or GIF.
            form: what the prompt holds for a picture.
            max_pixels: a larger picture is made smaller.

        Raises:
            PictureRefused: it cannot be decoded, or the model takes no picture in this form.
        """
        ...

    def memory(self) -> MemoryReading:
        """The allocator's counters now."""
        ...


class Encoder(Protocol):
    """One loaded model that embeds. Every method is called on one and the same thread."""

    @property
    def facts(self) -> ModelFacts:
        """What the model needs and can do."""
        ...

    def embed(self, rows: Sequence[Sequence[TokenId]]) -> Sequence[bytes]:
        """One unit vector per row, as little-endian float32."""
        ...

    def memory(self) -> MemoryReading:
        """The allocator's counters now."""
        ...


class Embedder(Protocol):
    """Something that embeds texts: this machine's workers, or a fake."""

    async def embed(self, request: EmbeddingRequest, card: ModelCard) -> Embeddings:
        """The vectors of all inputs; cancelling whoever waits ends the work.

        Raises:
            AllodError: an input cannot be embedded, or the model cannot be had.
        """
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

    def text_bytes(self, token: TokenId) -> bytes:
        """The bytes that a token adds to a text: its own, and none for a special token."""
        ...


class ChatTemplate(Protocol):
    """A checkpoint's chat template."""

    @property
    def takes_tools(self) -> bool:
        """Whether the checkpoint's own template writes tools; else a generic form is used."""
        ...

    def render(self, conversation: Conversation) -> str:
        """The prompt text, ending where the assistant's answer starts.

        Raises:
            InvalidRequest: the template refuses these messages; names the message at fault if it can.
        """
        ...


class Keeper(Protocol):
    """Keeps what callers ask to be kept: responses, files, batches. Each tenant sees only its own."""

    async def put(self, record: Kept) -> None:
        """Keep a record, in place of one with the same kind, identifier and tenant."""
        ...

    async def get(self, kind: KeptKind, identifier: str, tenant: TenantId) -> Kept:
        """One record.

        Raises:
            NotFound: this tenant has no such record, or it is past its time.
        """
        ...

    async def delete(self, kind: KeptKind, identifier: str, tenant: TenantId) -> bool:
        """Forget a record; False when there was none."""
        ...

    async def list(
        self, kind: KeptKind, tenant: TenantId | None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[Kept]:
        """Records from the newest, those after the one named; a tenant of None means everybody's.

        Their `content` is left empty: it may be long. After a name that is unknown there is nothing.
        """
        ...


class GroupKeeper(Keeper, Protocol):
    """A keeper that also knows what its records are parts of."""

    async def members(self, kind: KeptKind, group: str, tenant: TenantId) -> Sequence[Kept]:
        """Every record of a group, in no order, its `content` left empty."""
        ...

    async def delete_members(self, kind: KeptKind, group: str, tenant: TenantId) -> int:
        """Forget every record of a group; how many there were."""
        ...
