"""All the scheduler can ask of a runner, and all a runner can answer.

One step: keep parts of states, release states, forget pictures, put rows aside, take such rows back, start
states from what was kept, let prefilled rows join the decode batch, decode one token for every row of the
batch, run chunks of prompts or look at a picture for a while. The order is that of the fields of
`StepPlan`.

What is kept of a state are segments: the entries that its full-attention layers hold for some positions. What
its other layers hold (a window, a recurrent state) stands for one position only, the state's last: a segment
may have that at its end as its tip.
"""

from bisect import bisect_left
from dataclasses import dataclass

import msgspec

from allod.core.blocks import Load, Store
from allod.core.drafts import Draft, Guess
from allod.core.ids import SegmentId, SequenceId, TokenId
from allod.core.pictures import Digest, Sight
from allod.core.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Join:
    """Turn the prefilled state of `state` into one decode row per sequence (`n` > 1 forks it).

    Attributes:
        state: the sequence whose prompt was prefilled; its state is consumed. A prompt of one token
            has no state yet: the runner starts from an empty one.
        sequences: the rows that enter the batch, with their sampling.
        last_token: the prompt's last token, which the first decode step reads.
        prompt: the whole prompt, for penalties that look at it; empty when no row needs it.
        grammar: what the answers must follow (`Submit.grammar`); empty for free text.
        said: what the one row of this join said before it was given up. These tokens are part of what was
            prefilled, behind the prompt (the last of them is `last_token`); `prompt` is without them.
            To the row's sampler and grammar they are its answer so far.
        stop_tokens: with a grammar, the tokens that may come when it is complete.
    """

    state: SequenceId
    sequences: tuple[tuple[SequenceId, Sampling], ...]
    last_token: TokenId
    prompt: tuple[TokenId, ...]
    grammar: str = ""
    said: tuple[TokenId, ...] = ()
    stop_tokens: tuple[TokenId, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A part of a picture within a chunk: what stands at these tokens is the picture, not its tokens.

    Attributes:
        digest: which picture; it has been looked at.
        start: index of the part's first token in the chunk.
        offset: index of that token in the picture's span.
        length: how many tokens of the span are in the chunk.
    """

    digest: Digest
    start: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Prefill:
    """Run these prompt tokens into the state of `state`, which is created when it does not exist."""

    state: SequenceId
    tokens: tuple[TokenId, ...]
    pictures: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class Encode:
    """Look at a picture for a while; when all is seen, its features are kept until they are forgotten.

    Attributes:
        digest: which picture; its tensors have been received, and it is not forgotten.
        tokens: the tokens of its span.
        seconds: for how long at most; the first piece of the work is done in any case. A piece is
            a block of the vision tower or less.
    """

    digest: Digest
    tokens: tuple[TokenId, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Keep:
    """Copy what a state or a row holds for positions `start` to `end`, as it is before the step.

    Attributes:
        segment: its name from now on; with `start == end`, a segment that ends there and has no tip yet.
        source: a prompt that is read, a row, or a parked row. It has read at least `end` tokens.
        start: index of the first position.
        end: index after the last one.
        tip: also keep what other layers hold. The source has then read exactly `end` tokens; or, where these
            layers are windows, it has read the last of them and more in its last chunk.
    """

    segment: SegmentId
    source: SequenceId
    start: int
    end: int
    tip: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """Make two segments of one, which is then gone; its tip goes with the tail.

    Attributes:
        segment: which one.
        tokens: how many of its positions make the head; neither none nor all.
    """

    segment: SegmentId
    tokens: int
    head: SegmentId
    tail: SegmentId


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget a segment, or its tip alone."""

    segment: SegmentId
    tip_only: bool = False


@dataclass(frozen=True, slots=True)
class Restore:
    """Start a state as if its prompt had been read up to here.

    Attributes:
        state: which does not exist.
        parts: segments that follow one another from position 0 on, and how many positions of each are used:
            all but of the last. Where layers need a tip, the last is used whole and has one.
    """

    state: SequenceId
    parts: tuple[tuple[SegmentId, int], ...]


PrefixStep = Keep | Split | Discard | Restore | Store | Load


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step.

    Attributes:
        keep: what is done about segments while all rows and states are still there, in this order.
        release: rows, parked rows and states to forget; a prefill may start such an id anew.
        forget: pictures to forget, whatever is held of them.
        park: rows that leave the batch but keep all they have: state, sampler, and the last token,
            which may still be on its way. A token of the step in flight is still collected.
        resume: parked rows that enter the batch again and go on as if they had never left.
        restore: what is done about segments once room was made, in this order.
        prefill: the chunks that are read, each of another prompt.
        keep_read: what is done about segments once these are read, in this order.
        join: states that become rows: those that were read before this step, and those that its chunks end.
        decode: every row of the batch after all that.
        drafts: of one or more of the rows, where the step does nothing else and no other is on its way. The
            next step is launched when this one is collected. Beside other rows only where the model
            `reads_beside`.
        guess: of the only row; one that says something is to the step what a draft is, and there is no draft
            beside it. One that only reads may be in a step behind another, which reads no prompt.
        encode: the picture that is looked at; a step has chunks or this, not both.
    """

    keep: tuple[PrefixStep, ...] = ()
    release: tuple[SequenceId, ...] = ()
    forget: tuple[Digest, ...] = ()
    park: tuple[SequenceId, ...] = ()
    resume: tuple[SequenceId, ...] = ()
    restore: tuple[PrefixStep, ...] = ()
    keep_read: tuple[PrefixStep, ...] = ()
    join: tuple[Join, ...] = ()
    decode: tuple[SequenceId, ...] = ()
    drafts: tuple[Draft, ...] = ()
    guess: Guess | None = None
    prefill: tuple[Prefill, ...] = ()
    encode: Encode | None = None

    @property
    def drafted_tokens(self) -> int:
        """How many tokens rows read behind their last ones."""
        return sum(len(draft.tokens) for draft in self.drafts) + (self.guess.length if self.guess else 0)

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to launch."""
        kept = self.keep or self.restore
        moved = self.release or self.forget or self.park or self.resume or self.join
        return not (kept or moved or self.decode or self.prefill or self.encode)


class Scores(msgspec.Struct, frozen=True):
    """Log probabilities of one generated token: the chosen one's, and (id, logprob) alternatives."""

    chosen: float
    alternatives: tuple[tuple[TokenId, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Sampled:
    """The token one row produced in a step.

    Attributes:
        cut: the row's grammar could not be followed any further, so that its answer ends unfinished.
    """

    sequence: SequenceId
    token: TokenId
    scores: Scores | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """How far a picture is.

    Attributes:
        digest: which picture.
        pieces_done: how many pieces this step did; none where it was seen already.
        pieces_left: how many are left; 0 when it is seen.
    """

    digest: Digest
    pieces_done: int
    pieces_left: int


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step produced.

    Attributes:
        sampled: one entry per row of the plan's `decode`, in that order; of a row with a draft, one for each
            token that it said.
        seconds: how long the device was busy with this step, waiting for earlier steps excluded.
        encoded: what became of the plan's `encode`.
    """

    sampled: tuple[Sampled, ...]
    seconds: float
    encoded: Encoded | None = None


class LayerState(msgspec.Struct, frozen=True):
    """KV bytes of one kind of layer, summed over the layers of that kind."""

    kind: str
    layers: int
    bytes_per_token: int
    fixed_bytes: int
    window_tokens: int | None

    @property
    def is_growing(self) -> bool:
        """Whether its entries stand each for a position, so that any part of them can be kept."""
        return self.kind == "full"

    def held_bytes(self, tokens: int) -> int:
        """What a sequence of so many tokens holds."""
        kept = tokens if self.window_tokens is None else min(tokens, self.window_tokens)
        return self.fixed_bytes + self.bytes_per_token * kept


class DraftFacts(msgspec.Struct, frozen=True):
    """What the draft model beside a model needs, and takes.

    Attributes:
        weights_bytes: of the model's, what are the draft model's.
        layers: its KV state by layer kind.
        transient_bytes_per_token: see `ModelFacts`.
        transient_bytes_per_token_and_context: see `ModelFacts`.
        context_tokens: the longest text that it can read.
        reading_seconds_per_token: what a token of a long chunk took.
        saying_seconds: what saying one token took.
    """

    weights_bytes: int
    layers: tuple[LayerState, ...]
    transient_bytes_per_token: int
    transient_bytes_per_token_and_context: int
    context_tokens: int
    reading_seconds_per_token: float
    saying_seconds: float


class ModelFacts(msgspec.Struct, frozen=True):
    """What a loaded model needs and can do, measured on it.

    Attributes:
        weights_bytes: MLX's active bytes after loading, those of its draft model among them.
        budget_bytes: most bytes this worker may hold.
        layers: KV state by layer kind.
        capacity_step_tokens: KV buffers grow in multiples of this.
        transient_bytes_per_token: activations of one prefilled token, live for one layer.
        transient_bytes_per_token_and_context: attention scores of one prefilled token per token of
            context, where the device does not fuse them; 0 where it does.
        context_tokens: the checkpoint's limit.
        vocabulary: number of scored token ids.
        batchable: rows may share a step.
        alone_because: why rows are served one at a time; empty when batchable.
        compute: the form the weights compute in, in words.
        device: the device, in words.
        sight: what pictures cost; None for a model that does not see.
        blind_because: why a model that could see does not; empty else.
        unkept_because: why states cannot be kept for other prompts; empty when they can.
        unstored_because: why what is kept cannot be turned into bytes and back; empty when it can.
        undrafted_because: why rows cannot be given drafts; empty when they can.
        draft: the draft model beside it; None where there is none.
        unpaired_because: why the draft model it was paired with is not there; empty else.
        pads_chunks: chunks of a prompt are brought to few lengths (`shapes`); others cost more.
        reads_together: chunks of several prompts can be read as one.
        scores_chunks: a prompt's last chunk scores its first token too, so that it should join in that step.
        reads_beside: chunks are read in one pass with the rows that decode, which holds activations of both;
            drafts of several rows too.
        group_bounds_tokens: rows decode in groups by the length of their prompts, each padded for itself: the
            longest of each group but the last. Empty where all are padded to the longest.
        chunk_tokens: length of a chunk that was read to see what it takes; 0 where none was.
        chunk_seconds: what it took.
    """

    weights_bytes: int
    budget_bytes: int
    layers: tuple[LayerState, ...]
    capacity_step_tokens: int
    transient_bytes_per_token: int
    transient_bytes_per_token_and_context: int
    context_tokens: int
    vocabulary: int
    batchable: bool
    alone_because: str
    compute: str
    device: str
    sight: Sight | None = None
    blind_because: str = ""
    unkept_because: str = ""
    unstored_because: str = ""
    undrafted_because: str = ""
    draft: DraftFacts | None = None
    unpaired_because: str = ""
    pads_chunks: bool = False
    reads_together: bool = False
    scores_chunks: bool = False
    reads_beside: bool = False
    group_bounds_tokens: tuple[int, ...] = ()
    chunk_tokens: int = 0
    chunk_seconds: float = 0.0

    def group_of(self, tokens: int) -> int:
        """The group of a row that begins behind a prompt of so many tokens."""
        return bisect_left(self.group_bounds_tokens, tokens)


class MemoryReading(msgspec.Struct, frozen=True):
    """MLX's own counters, in bytes."""

    active_bytes: int
    cached_bytes: int
    peak_bytes: int
