"""What the device does next: admit, prefill, join, decode, release.

One step is in flight while the next is planned, so `plan` runs ahead of what is known: it moves
choices on as if every step worked, and `commit` later says which tokens came. A choice that turns out
to have ended is in at most one more step; the token it makes there is dropped.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from allod.core.ids import SequenceId
from allod.core.messages import Admitted, Emission, PrefillProgress, Refused, Stepped, Submit
from allod.core.step import Join, ModelFacts, Prefill, Sampled, StepPlan, StepResult
from allod.engine.admission import Admission
from allod.engine.drain import DrainRate
from allod.engine.memory import Load, MemoryModel
from allod.engine.pacing import PrefillPacer
from allod.engine.queue import FairQueue
from allod.engine.sequence import Choice, Job, Phase
from allod.engine.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How full the engine is.

    Attributes:
        rows: sequences in the decode batch.
        prefilling: prompts that are being read or about to join, 0 or 1.
        queued: jobs that wait.
        queued_tokens: prompt tokens that wait.
        reserved_bytes: KV state that admitted rows may grow to.
    """

    rows: int
    prefilling: int
    queued: int
    queued_tokens: int
    reserved_bytes: int


class Scheduler:
    """Plans the steps of one model.

    Args:
        facts: what was measured on the model.
        settings: scheduling limits.
    """

    def __init__(self, facts: ModelFacts, settings: EngineSettings) -> None:
        self._batchable = facts.batchable
        self._max_rows = settings.max_batch_rows if facts.batchable else 1
        self._memory = MemoryModel(facts, settings.max_prefill_chunk_tokens)
        self._admission = Admission(facts, settings, self._memory)
        self._queue = FairQueue(settings.max_queued_requests, settings.max_queued_tokens)
        self._drain = DrainRate()
        self._pacer = PrefillPacer(settings.max_prefill_chunk_tokens, settings.max_decode_stall_ms / 1000)
        self._tickets = 0
        self._living: dict[SequenceId, Choice] = {}
        self._rows: dict[SequenceId, Choice] = {}
        self._reading: Job | None = None
        self._chunks: deque[Job] = deque()

    @property
    def idle(self) -> bool:
        """True when nothing is queued, prefilling or decoding, and nothing is left to release."""
        return not self._living and not self._rows and self._reading is None

    def occupancy(self) -> Occupancy:
        """How full the engine is after the last plan."""
        rows, longest_tokens = self._occupied()
        return Occupancy(
            rows=len(self._rows),
            prefilling=int(self._reading is not None),
            queued=len(self._queue),
            queued_tokens=self._queue.tokens,
            reserved_bytes=self._memory.batch_bytes(rows, longest_tokens),
        )

    def submit(self, submit: Submit, now_seconds: float) -> Admitted | Refused:
        """Queue a request, or say why not."""
        if any(sequence in self._living for sequence in submit.sequences):
            return Refused(submit.request, "invalid", "n: a sequence id is already in use")
        max_tokens = self._admission.limit(submit)
        if isinstance(max_tokens, Refused):
            return max_tokens
        jobs = self._jobs(submit, max_tokens)
        if not self._queue.has_room(len(jobs), len(jobs) * len(submit.tokens)):
            return self._full(submit)
        if self.idle:
            self._drain.start(now_seconds)
        ahead = len(self._queue)
        for job in jobs:
            self._queue.put(job)
            self._living.update((choice.sequence, choice) for choice in job.choices)
        return Admitted(submit.request, max_tokens, ahead)

    def cancel(self, sequences: Sequence[SequenceId]) -> None:
        """Forget these sequences; what the runner holds of them is released by the next plan."""
        for sequence in sequences:
            choice = self._living.get(sequence)
            if choice is None:
                continue
            waits = choice.phase is Phase.QUEUED
            self._end(choice)
            if not choice.job.living:
                if waits:
                    self._queue.remove(choice.job)
                else:
                    self._settle(choice.job)

    def plan(self) -> StepPlan:
        """The next step. Empty when there is nothing to do before more is known."""
        release = self._release()
        join = self._join()
        for choice in self._rows.values():
            choice.planned += 1
        decode = tuple(self._rows)
        return StepPlan(release, join, decode, self._prefill(decodes=bool(decode)))

    def commit(self, plan: StepPlan, result: StepResult, now_seconds: float) -> Stepped:
        """Take in what a step produced. Tokens of sequences that are gone are dropped."""
        chunk_tokens = len(plan.prefill.tokens) if plan.prefill else 0
        self._pacer.observe(decodes=bool(plan.decode), chunk_tokens=chunk_tokens, seconds=result.seconds)
        emissions: list[Emission] = []
        for sampled in result.sampled:
            choice = self._living.get(sampled.sequence)
            if choice is not None:
                emissions.append(self._emit(choice, sampled, now_seconds))
        return Stepped(tuple(emissions), self._progress(plan.prefill))

    def _jobs(self, submit: Submit, max_tokens: int) -> list[Job]:
        """One job for the request, or one for each choice where rows cannot share a step."""
        choices = list(zip(submit.sequences, submit.samplings, strict=True))
        groups = [choices] if self._batchable else [[choice] for choice in choices]
        jobs: list[Job] = []
        for group in groups:
            self._tickets += 1
            stop = frozenset(submit.stop_tokens)
            job = Job(submit.request, submit.tenant, submit.tokens, max_tokens, stop, self._tickets)
            for sequence, sampling in group:
                job.add(sequence, sampling)
            jobs.append(job)
        return jobs

    def _full(self, submit: Submit) -> Refused:
        seconds = self._drain.seconds_for(self._queue.tokens)
        message = (
            f"{len(self._queue)} requests with {self._queue.tokens} prompt tokens are waiting, "
            f"and no more can. Try again in {seconds} seconds."
        )
        return Refused(submit.request, "queue_full", message, seconds)

    def _release(self) -> tuple[SequenceId, ...]:
        leaving = [sequence for sequence, choice in self._rows.items() if choice.is_spent]
        for sequence in leaving:
            del self._rows[sequence]
        if self._reading is not None and not self._reading.living:
            leaving.append(self._reading.state)
            self._reading = None
        return tuple(leaving)

    def _join(self) -> tuple[Join, ...]:
        """Let the prompt that is read join, and take up the next; a prompt of one token joins at once."""
        joins: list[Join] = []
        while True:
            if self._reading is None:
                self._reading = self._admit()
            job = self._reading
            if job is None or not job.is_planned:
                return tuple(joins)
            joins.append(job.join())
            self._rows.update((choice.sequence, choice) for choice in job.living)
            self._reading = None

    def _admit(self) -> Job | None:
        """Take the fair head of the queue if its rows and bytes fit; nobody overtakes it."""
        job = self._queue.head()
        if job is None:
            return None
        rows, longest_tokens = self._occupied()
        rows += len(job.living)
        load = Load(rows, max(longest_tokens, job.full_tokens), len(job.tokens))
        if rows > self._max_rows or not self._memory.fits(load):
            return None
        self._queue.take()
        job.chunk_cap_tokens = self._memory.chunk_tokens(load)
        job.move(Phase.READY if job.is_planned else Phase.PREFILLING)
        return job

    def _occupied(self) -> tuple[int, int]:
        """Rows admitted, and the longest that any of them can become."""
        admitted = list(self._rows.values())
        if self._reading is not None:
            admitted += self._reading.living
        return len(admitted), max((choice.job.full_tokens for choice in admitted), default=0)

    def _prefill(self, *, decodes: bool) -> Prefill | None:
        job = self._reading
        if job is None:
            return None
        self._chunks.append(job)
        most = self._pacer.chunk_tokens(decodes=decodes, cap_tokens=job.chunk_cap_tokens)
        return job.next_chunk(most)

    def _emit(self, choice: Choice, sampled: Sampled, now_seconds: float) -> Emission:
        finish = choice.accept(sampled.token)
        if finish is not None:
            self._end(choice)
            job = choice.job
            if not job.living:
                self._settle(job)
                self._drain.finish(job.used_tokens, now_seconds)
        scores = () if sampled.scores is None else (sampled.scores,)
        return Emission(choice.sequence, (sampled.token,), finish, scores)

    def _progress(self, prefill: Prefill | None) -> tuple[PrefillProgress, ...]:
        if prefill is None:
            return ()
        job = self._chunks.popleft()
        job.read_tokens += len(prefill.tokens)
        return (PrefillProgress(job.request, job.read_tokens, len(job.tokens)),) if job.living else ()

    def _end(self, choice: Choice) -> None:
        choice.move(Phase.FINISHED)
        del self._living[choice.sequence]

    def _settle(self, job: Job) -> None:
        self._queue.give_back(job.tenant, job.cost_tokens - job.used_tokens)
