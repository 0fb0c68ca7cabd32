"""How many bytes a batch needs, predicted from what was measured on the model.

An out-of-memory cannot be caught on Metal, so bytes are counted before a step is planned. The count
is for the longest every row can become: what was admitted once never has to be evicted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from allod.core.pictures import PictureSpan
from allod.core.shapes import with_padding_rows
from allod.core.step import LayerState, ModelFacts

LEAST_CHUNK_TOKENS = 256
"""Memory may squeeze prefill chunks to this; below it, waiting for other rows to end is faster. A draft model
always has room to read so many."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are padded to one length.

    Attributes:
        rows: how many decode or will.
        longest_tokens: the longest that any of them can become.
    """

    rows: int
    longest_tokens: int


@dataclass(frozen=True, slots=True)
class Load:
    """A batch as far as memory is concerned.

    Attributes:
        groups: the rows that decode or will.
        prompt_tokens: length of the prompt that is prefilled beside them.
        parked_bytes: state of rows that are kept out of the batch.
        picture_bytes: size of the tensors of the prompt's largest picture.
        span_tokens: length of the prompt's longest picture, where pictures are read in one chunk.
        kept_bytes: what is kept of other prompts.
    """

    groups: tuple[Group, ...] = ()
    prompt_tokens: int = 0
    parked_bytes: int = 0
    picture_bytes: int = 0
    span_tokens: int = 0
    kept_bytes: int = 0

    @property
    def rows(self) -> int:
        """How many rows decode or will."""
        return sum(group.rows for group in self.groups)

    @property
    def longest_tokens(self) -> int:
        """The longest that any of them can become."""
        return max((group.longest_tokens for group in self.groups), default=0)


class MemoryModel:
    """Predicts bytes for one model.

    Args:
        facts: what was measured on the model.
        max_chunk_tokens: the largest prefill chunk that is ever planned.
    """

    def __init__(self, facts: ModelFacts, max_chunk_tokens: int) -> None:
        self._facts = facts
        self._max_chunk_tokens = max_chunk_tokens

    def row_bytes(self, tokens: int) -> int:
        """State of one row of this many tokens; buffers grow in steps."""
        return self._state_bytes(self._facts.layers, tokens)

    def batch_bytes(self, groups: Sequence[Group]) -> int:
        """State of a batch, every row padded to the longest of its group."""
        return sum(group.rows * self.row_bytes(group.longest_tokens) for group in groups)

    def draft_bytes(self, longest_tokens: int) -> int:
        """What a draft model holds of a row that is the longest of a batch; 0 where there is none."""
        draft = self._facts.draft
        if draft is None or not longest_tokens:
            return 0
        return self._state_bytes(draft.layers, min(longest_tokens, draft.context_tokens))

    def load_of(self, pictures: Sequence[PictureSpan]) -> Load:
        """What a prompt's pictures add to a load."""
        sight = self._facts.sight
        longest = max((span.length for span in pictures), default=0)
        return Load(
            picture_bytes=max((span.tensor_bytes for span in pictures), default=0),
            span_tokens=longest if sight and sight.whole_spans else 0,
        )

    def needed_bytes(self, load: Load) -> int:
        """Weights, state, pictures and activations, with prefill chunks as small as they may become."""
        least = min(LEAST_CHUNK_TOKENS, self._max_chunk_tokens, load.prompt_tokens - 1)
        reading = self._reading_bytes(load, max(least, load.span_tokens))
        decoding = self._decoding_bytes(load)
        if self._facts.draft and load.rows:
            following = min(LEAST_CHUNK_TOKENS, self._max_chunk_tokens, load.longest_tokens)
            decoding = max(decoding, following * self._chunk_token_bytes(load.longest_tokens))
        # Looking at a picture goes on over steps that decode, and holds what it has of it meanwhile.
        return self._held_bytes(load) + max(reading, decoding + self._looking_bytes(load))

    def fits(self, load: Load) -> bool:
        """Whether the worker may take this on."""
        return self.needed_bytes(load) <= self._facts.budget_bytes

    def spare_bytes(self, load: Load, chunk_tokens: int) -> int:
        """What a load leaves of the budget if chunks of its prompt are as large as this."""
        reading_bytes = self._held_bytes(load) + self._reading_bytes(load, chunk_tokens)
        return self._facts.budget_bytes - max(self.needed_bytes(load), reading_bytes)

    def chunk_tokens(self, load: Load) -> int:
        """The largest prefill chunk for which the load stays within the budget; call it if it `fits`."""
        each = self._chunk_token_bytes(load.prompt_tokens)
        if each == 0:
            return self._max_chunk_tokens
        left_bytes = self._facts.budget_bytes - self._held_bytes(load) - self._beside_bytes(load)
        return min(self._max_chunk_tokens, left_bytes // each)

    def _held_bytes(self, load: Load) -> int:
        rows_bytes = self.batch_bytes(load.groups) + self.draft_bytes(load.longest_tokens)
        sight = self._facts.sight
        pictures_bytes = sight.cache_bytes if sight else 0
        return self._facts.weights_bytes + rows_bytes + load.parked_bytes + pictures_bytes + load.kept_bytes

    def _reading_bytes(self, load: Load, chunk_tokens: int) -> int:
        """Activations of a pass that reads such a chunk."""
        return chunk_tokens * self._chunk_token_bytes(load.prompt_tokens) + self._beside_bytes(load)

    def _decoding_bytes(self, load: Load) -> int:
        return sum(group.rows * self._chunk_token_bytes(group.longest_tokens) for group in load.groups)

    def _beside_bytes(self, load: Load) -> int:
        """What rows take while a chunk is read in one pass with them."""
        return self._decoding_bytes(load) if self._facts.reads_beside else 0

    def _looking_bytes(self, load: Load) -> int:
        sight = self._facts.sight
        return sight.transient_bytes(load.picture_bytes) if sight and load.picture_bytes else 0

    def _chunk_token_bytes(self, context_tokens: int) -> int:
        """Activations of one token that is read, by the model or by its draft model: whichever are more."""
        readers = (self._facts, self._facts.draft) if self._facts.draft else (self._facts,)
        each_bytes = max(
            reader.transient_bytes_per_token + reader.transient_bytes_per_token_and_context * context_tokens
            for reader in readers
        )
        pads_rows = self._facts.pads_chunks and self._facts.reads_together
        return with_padding_rows(each_bytes) if pads_rows else each_bytes

    def _state_bytes(self, layers: Sequence[LayerState], tokens: int) -> int:
        step = self._facts.capacity_step_tokens
        capacity = -(-tokens // step) * step
        return sum(layer.held_bytes(capacity) for layer in layers)
