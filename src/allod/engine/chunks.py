"""What a step reads of prompts: a chunk of one, or the rest of one and what fits of those behind it.

A step costs something whatever it reads, and a prompt that is read beside others is there sooner. But one
that begins like those waits until they are read, and then goes on from what is kept of them.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from allod.core import shapes
from allod.core.messages import PrefillProgress
from allod.core.shapes import padded_chunk, whole_chunk
from allod.core.step import ModelFacts, Prefill, StepPlan
from allod.engine import pacing
from allod.engine.lane import Lane
from allod.engine.looking import Looking
from allod.engine.pacing import NOTHING, Beside, PrefillPacer, Spent
from allod.engine.prefixes import Prefixes
from allod.engine.sequence import Job

_ANY_TOKENS = 2**62


@dataclass(frozen=True, slots=True)
class _Flight:
    """Chunks on their way: whose they are, and who decodes in the same step."""

    jobs: tuple[Job, ...]
    beside: Beside


AdmitBeside = Callable[[int], Job | None]
"""Admits one more prompt to a step that reads so many tokens with it; None where none may be read."""


class Chunks:
    """Plans chunks, and knows whose are on their way.

    Args:
        facts: what was measured on the model.
        pacer: knows what a step may take.
        looking: plans what is done about pictures.
        prefixes: keeps what was read.
    """

    def __init__(self, facts: ModelFacts, pacer: PrefillPacer, looking: Looking, prefixes: Prefixes) -> None:
        self._pads = facts.pads_chunks
        self._least_tokens = shapes.LEAST_CHUNK_TOKENS if facts.pads_chunks else pacing.LEAST_CHUNK_TOKENS
        self._pacer = pacer
        self._looking = looking
        self._prefixes = prefixes
        self._flying: deque[_Flight] = deque()
        self._scores = facts.scores_chunks
        self._ended: list[Job] = []

    def read(self, plan: StepPlan, lane: Lane, admit: AdmitBeside) -> StepPlan:
        """A step that also gets the prompts of a lane on: by chunks, or by looking at a picture.

        Args:
            plan: the step so far.
            lane: whose first prompt is not planned to its end.
            admit: adds a prompt to the lane.
        """
        job = lane.readings[0]
        # What batch work does is kept short even alone: it is what an interactive newcomer waits for.
        beside = Beside.STREAMS if job.batch else lane.beside
        self._prefixes.keep_marks(job)
        forget = self._looking.ask(job)
        context_tokens = job.planned_tokens
        most_tokens = self._most(job, NOTHING, beside=beside)
        chunk = self._looking.chunk(job, most_tokens)
        if chunk is None:
            return replace(plan, forget=forget, encode=self._looking.encode(job, beside))
        chunks = [(job, chunk)]
        self._end(job, chunk, most_tokens)
        if not job.pictures:
            spent = self._spend(NOTHING, chunk, context_tokens)
            chunks += self._beside(spent, lane, admit, beside=beside)
        self._flying.append(_Flight(tuple(each for each, _ in chunks), beside))
        return replace(plan, forget=forget, prefill=tuple(each for _, each in chunks))

    def take_ended(self) -> list[Job]:
        """The jobs whose first tokens come of the chunks that were planned since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def observe(self, plan: StepPlan, seconds: float) -> None:
        """Learn from a step that came back."""
        tokens = [len(chunk.tokens) for chunk in plan.prefill]
        beside = Beside.STREAMS if plan.decode else Beside.NOBODY
        contexts: list[int] = []
        if tokens:
            beside = self._flying[0].beside
            contexts = [job.read_tokens for job in self._flying[0].jobs]
        before = sum(context * count for context, count in zip(contexts, tokens, strict=True))
        self._pacer.observe(
            beside=beside,
            chunk_tokens=sum(tokens),
            seconds=seconds,
            context_tokens=before // sum(tokens) if tokens else 0,
            prompts=len(tokens),
        )

    def progress(self, plan: StepPlan) -> tuple[PrefillProgress, ...]:
        """How far the prompts are that a step has read of."""
        if not plan.prefill:
            return ()
        jobs = self._flying.popleft().jobs
        for job, chunk in zip(jobs, plan.prefill, strict=True):
            job.read_tokens += len(chunk.tokens)
        return tuple(
            PrefillProgress(job.request, job.read_tokens, len(job.tokens))
            for job in jobs
            if job.living and not job.said_tokens
        )

    def _beside(
        self, spent: Spent, lane: Lane, admit: AdmitBeside, *, beside: Beside
    ) -> list[tuple[Job, Prefill]]:
        """The chunks of prompts that wait, as long as each is read to its end."""
        chunks: list[tuple[Job, Prefill]] = []
        while lane.readings[-1].is_planned and self._has_room(spent, beside=beside):
            job = admit(spent.tokens + self._least_tokens)
            if job is None:
                break
            if job.is_planned:  # all of it was kept
                continue
            context_tokens = job.planned_tokens
            most_tokens = self._most(job, spent, beside=beside)
            chunk = self._looking.chunk(job, most_tokens)
            assert chunk is not None  # it has no pictures
            chunks.append((job, chunk))
            self._end(job, chunk, most_tokens)
            spent = self._spend(spent, chunk, context_tokens)
        return chunks

    def _end(self, job: Job, chunk: Prefill, most_tokens: int) -> None:
        """Know whether a chunk ends a prompt and has room for the last token, which is read for the first."""
        if self._scores and job.is_planned and not job.pictures and len(chunk.tokens) < most_tokens:
            self._ended.append(job)

    def _has_room(self, spent: Spent, *, beside: Beside) -> bool:
        """Whether one more prompt could be read of, if nothing stood before it."""
        most = self._pacer.chunk_tokens(beside=beside, cap_tokens=_ANY_TOKENS, spent=spent)
        return most >= self._least_tokens

    def _most(self, job: Job, spent: Spent, *, beside: Beside) -> int:
        """The most tokens of a prompt's next chunk, beside what the step reads already."""
        most = self._pacer.chunk_tokens(
            beside=beside,
            cap_tokens=job.chunk_cap_tokens,
            context_tokens=job.planned_tokens,
            spent=spent,
            rest_tokens=len(job.tokens) - job.planned_tokens,
        )
        if spent.tokens:
            most = max(most, self._least_tokens)
        return whole_chunk(most) if self._pads else most

    def _spend(self, spent: Spent, chunk: Prefill, context_tokens: int) -> Spent:
        count = len(chunk.tokens)
        tokens = padded_chunk(count) if self._pads else count
        seconds = self._pacer.reading_seconds(context_tokens, context_tokens + count)
        return Spent(spent.tokens + tokens, spent.seconds + seconds)
