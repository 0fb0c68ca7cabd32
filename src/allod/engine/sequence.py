"""One request inside the engine: a job, its choices, and the phases a choice goes through.

A job is what is prefilled and joined together. Usually that is a whole request; where rows cannot
share a step, every choice of a request is a job of its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Literal

from allod.core.ids import RequestId, SequenceId, TenantId, TokenId
from allod.core.pictures import Digest, PictureSpan
from allod.core.sampling import Sampling
from allod.core.step import Join, Prefill, Shown
from allod.engine.trail import Trail
from allod.prefix.keys import outside

Finish = Literal["stop", "length"]


class Phase(Enum):
    """Where a choice is. `READY` means: its prompt is planned, the next plan joins it."""

    QUEUED = auto()
    PREFILLING = auto()
    READY = auto()
    DECODING = auto()
    FINISHED = auto()


MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.QUEUED: frozenset({Phase.PREFILLING, Phase.READY, Phase.FINISHED}),
    Phase.PREFILLING: frozenset({Phase.READY, Phase.FINISHED}),
    Phase.READY: frozenset({Phase.DECODING, Phase.FINISHED}),
    Phase.DECODING: frozenset({Phase.FINISHED}),
    Phase.FINISHED: frozenset(),
}


@dataclass(slots=True, eq=False)
class Choice:
    """One answer in the making, and one row of the batch while it decodes.

    Attributes:
        sequence: its id.
        job: what it was submitted with.
        sampling: how its tokens are chosen.
        phase: where it is; only `move` changes it.
        planned: decode steps planned; runs ahead of `generated` by the step in flight.
        said: tokens that came back.
        flows: whether its reader is used to tokens that come one after the other.
        trail: where its text may go on; None until somebody asks.
    """

    sequence: SequenceId
    job: "Job"
    sampling: Sampling
    phase: Phase = Phase.QUEUED
    planned: int = 0
    said: list[TokenId] = field(default_factory=list[TokenId])
    flows: bool = False
    trail: Trail | None = None

    @property
    def generated(self) -> int:
        """How many tokens came back."""
        return len(self.said)

    def move(self, to: Phase) -> None:
        """Change the phase.

        Raises:
            RuntimeError: the table has no such move.
        """
        if to not in MOVES[self.phase]:
            raise RuntimeError(f"sequence {self.sequence} cannot move from {self.phase.name} to {to.name}")
        self.phase = to

    @property
    def is_living(self) -> bool:
        """True until it finished or was cancelled."""
        return self.phase is not Phase.FINISHED

    @property
    def is_spent(self) -> bool:
        """True when its row has no further step to run, although a token may still be in flight."""
        return self.phase is Phase.FINISHED or self.planned >= self.job.max_tokens

    def accept(self, token: TokenId) -> Finish | None:
        """Count one token; says why the choice ends with it, if it does."""
        self.said.append(token)
        if token in self.job.stop_tokens:
            return "stop"
        return "length" if self.generated >= self.job.max_tokens else None


@dataclass(slots=True, eq=False)
class Job:
    """One prompt and the choices that continue it.

    Attributes:
        request: the client request it belongs to.
        tenant: who pays for it.
        tokens: the prompt; where the job was given up and is started again, what was said is its end.
        max_tokens: most tokens of each choice.
        stop_tokens: ids that end a choice.
        ticket: place in the order of submission.
        batch: it runs only while no interactive work is there.
        grammar: what every choice must follow; empty for free text.
        pictures: which of the tokens stand for pictures, in order.
        boundaries: where messages begin, at which other prompts may part from this one.
        said_tokens: how many of the last `tokens` were said before the job was given up.
        chunk_cap_tokens: largest prefill chunk that the memory left at admission allows.
        planned_tokens: prompt tokens handed to the runner.
        read_tokens: prompt tokens the runner is known to have read.
        marks: where what was read is kept, because others may go on there.
        stops: whether a chunk ends at each of them.
        choices: filled by `add`.
    """

    request: RequestId
    tenant: TenantId
    tokens: tuple[TokenId, ...]
    max_tokens: int
    stop_tokens: frozenset[TokenId]
    ticket: int
    batch: bool = False
    grammar: str = ""
    pictures: tuple[PictureSpan, ...] = ()
    boundaries: tuple[int, ...] = ()
    said_tokens: int = 0
    chunk_cap_tokens: int = 0
    planned_tokens: int = 0
    read_tokens: int = 0
    marks: set[int] = field(default_factory=set[int])
    stops: bool = True
    choices: list[Choice] = field(default_factory=list[Choice])

    def add(self, sequence: SequenceId, sampling: Sampling) -> Choice:
        """Add one choice."""
        choice = Choice(sequence, self, sampling)
        self.choices.append(choice)
        return choice

    @property
    def state(self) -> SequenceId:
        """The id under which the prompt is prefilled, even after that choice was cancelled."""
        return self.choices[0].sequence

    @property
    def held(self) -> list[SequenceId]:
        """What the runner has of it before it joins: nothing, while a picture comes first and is not seen."""
        return [self.state] if self.planned_tokens else []

    @property
    def living(self) -> list[Choice]:
        """Choices that are neither finished nor cancelled."""
        return [choice for choice in self.choices if choice.is_living]

    @property
    def full_tokens(self) -> int:
        """Longest a row of this job can become."""
        return len(self.tokens) + self.max_tokens

    @property
    def cost_tokens(self) -> int:
        """Most tokens it can use: the prompt, and the full length of every choice."""
        return len(self.tokens) + len(self.choices) * self.max_tokens

    @property
    def used_tokens(self) -> int:
        """Tokens it did use so far."""
        return self.planned_tokens + sum(choice.generated for choice in self.choices)

    @property
    def is_planned(self) -> bool:
        """True when all of the prompt that is prefilled is planned; the last token is decode's."""
        return self.planned_tokens >= len(self.tokens) - 1

    def move(self, to: Phase) -> None:
        """Move every living choice."""
        for choice in self.living:
            choice.move(to)

    def resume(self, cached_tokens: int) -> None:
        """So many of its tokens are there already."""
        self.planned_tokens = self.read_tokens = cached_tokens

    def keep_at(self, positions: Iterable[int], after: int, *, stops: bool) -> None:
        """Keep what was read at those of the positions that come after another and are in no picture.

        Args:
            positions: where.
            after: only behind this one.
            stops: a chunk ends there; else it may go on.
        """
        last = len(self.tokens) - 1
        self.stops = stops
        self.marks = {outside(each, self.pictures) for each in positions}
        self.marks = {each for each in self.marks if after < each < last}

    def take_marks(self) -> list[int]:
        """The positions to keep that were reached since the last call, in order."""
        reached = sorted(mark for mark in self.marks if mark <= self.planned_tokens)
        self.marks.difference_update(reached)
        return reached

    @property
    def unread_pictures(self) -> tuple[PictureSpan, ...]:
        """The pictures that are not wholly planned yet."""
        return tuple(span for span in self.pictures if span.end > self.planned_tokens)

    def next_chunk(
        self, most_tokens: int, is_seen: Callable[[Digest], bool] | None = None, *, whole_spans: bool = False
    ) -> Prefill | None:
        """Plan the next part of the prompt; READY when it was the last.

        Args:
            most_tokens: of the chunk.
            is_seen: whether a picture was looked at; others are not read. None when none was.
            whole_spans: a picture is read in one chunk, which may be longer for it.

        Returns:
            None when the next token is of a picture that was not looked at.
        """
        start = self.planned_tokens
        stops = [mark for mark in self.marks if mark > start] if self.stops else []
        until = min(stops, default=len(self.tokens) - 1)
        end = self._chunk_end(min(start + most_tokens, until), is_seen, whole_spans)
        if end == start < len(self.tokens) - 1:
            return None
        shown = tuple(
            _shown(span, start, end) for span in self.pictures if span.start < end and start < span.end
        )
        self.planned_tokens = end
        if self.is_planned:
            self.move(Phase.READY)
        return Prefill(self.state, self.tokens[start:end], shown)

    def _chunk_end(self, end: int, is_seen: Callable[[Digest], bool] | None, whole_spans: bool) -> int:
        start = self.planned_tokens
        for span in self.unread_pictures:
            if span.start >= end:
                break
            if is_seen is None or not is_seen(span.digest):
                return max(start, span.start)
            if whole_spans and span.end > end:
                return span.start if span.start > start else span.end
        return end

    def join(self) -> Join:
        """Plan the rows of all living choices."""
        living = self.living
        prompt_tokens = len(self.tokens) - self.said_tokens
        prompt, said = self.tokens[:prompt_tokens], self.tokens[prompt_tokens:]
        self.planned_tokens = len(self.tokens)
        self.move(Phase.DECODING)
        return Join(
            state=self.state,
            sequences=tuple((choice.sequence, choice.sampling) for choice in living),
            last_token=self.tokens[-1],
            prompt=prompt if any(choice.sampling.needs_history for choice in living) else (),
            grammar=self.grammar,
            said=said,
            stop_tokens=tuple(sorted(self.stop_tokens)) if self.grammar else (),
        )

    def restarted(self) -> "list[Job]":
        """The jobs that make what is left of this one, once the runner has forgotten it.

        Before it joined that is the same job anew. After, every choice has gone its own way and goes on
        from a prompt of its own, so that no token is generated twice.
        """
        living = self.living
        groups = [[choice] for choice in living] if self.has_joined else [living]
        return [self._again(group) for group in groups]

    @property
    def has_joined(self) -> bool:
        """True once its choices are rows."""
        return self.planned_tokens == len(self.tokens)

    def _again(self, choices: list[Choice]) -> "Job":
        said = choices[0].said
        again = replace(
            self,
            tokens=(*self.tokens, *said),
            max_tokens=self.max_tokens - len(said),
            said_tokens=self.said_tokens + len(said),
            planned_tokens=0,
            read_tokens=0,
            marks=set(),
            choices=[],
        )
        for choice in choices:
            again.add(choice.sequence, choice.sampling)
        return again


def _shown(span: PictureSpan, start: int, end: int) -> Shown:
    """What of a picture is in the chunk of these tokens."""
    first, last = max(span.start, start), min(span.end, end)
    return Shown(span.digest, first - start, first - span.start, last - first)
