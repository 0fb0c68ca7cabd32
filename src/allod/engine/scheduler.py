"""What the device does next: admit, prefill, join, decode, release.

One step is in flight while the next is planned, so `plan` runs ahead of what is known: it moves
choices on as if every step worked, and `commit` later says which tokens came. A choice that turns out
to have ended is in at most one more step; the token it makes there is dropped.

Prompts are read beside the rows that decode, in chunks that do not hold them up; where several wait and
are short, a step reads several. One with pictures is read up to the first that was not looked at. What its
tower reads is asked for (`take_wanted`), a picture ahead of the reading; looking goes on in pieces.

Work has two lanes. While anything lives in the interactive lane, the batch lane gets no step: its rows
are parked, and its prompts rest between chunks. Interactive work that needs their bytes gets them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from allod.core.ids import SequenceId
from allod.core.messages import Admitted, Emission, Refused, Stepped, Submit, Wanted
from allod.core.pictures import Digest
from allod.core.ports import Archive
from allod.core.step import Join, ModelFacts, PrefixStep, Sampled, StepPlan, StepResult
from allod.engine.admission import Admission
from allod.engine.chunks import Chunks
from allod.engine.drain import DrainRate
from allod.engine.lane import Lane
from allod.engine.looking import Looking
from allod.engine.memory import Load, MemoryModel
from allod.engine.pacing import Beside, PrefillPacer
from allod.engine.prefixes import Prefixes
from allod.engine.queue import FairQueue
from allod.engine.sequence import Choice, Job, Phase
from allod.engine.settings import EngineSettings
from allod.engine.speculation import Speculation

_UNSQUEEZED_TOKENS = 512
"""Down to chunks of this size, memory is left to what is kept; for larger ones some of it is forgotten."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How full the engine is.

    Attributes:
        rows: sequences in the decode batch.
        prefilling: prompts that are being read or about to join.
        queued: jobs that wait.
        queued_tokens: prompt tokens that wait.
        reserved_bytes: KV state that admitted rows may grow to, parked ones included.
        parked: sequences that are kept out of the decode batch.
        picture_bytes: tensors and features of pictures that are held or promised.
        seen_pictures: how many pictures were looked at, from the start.
        prefix_bytes: what is kept of prompts and answers to be read again.
        looked_up: tokens that were looked up as drafts for rows from the start, and those that they said.
        guessed: the same of the draft model's.
    """

    rows: int
    prefilling: int
    queued: int
    queued_tokens: int
    reserved_bytes: int
    parked: int = 0
    picture_bytes: int = 0
    seen_pictures: int = 0
    prefix_bytes: int = 0
    looked_up: tuple[int, int] = (0, 0)
    guessed: tuple[int, int] = (0, 0)


class Scheduler:
    """Plans the steps of one model.

    Args:
        facts: what was measured on the model.
        settings: scheduling limits.
        archive: where what was read of prompts outlives the process; None where it does not.
    """

    def __init__(self, facts: ModelFacts, settings: EngineSettings, archive: Archive | None = None) -> None:
        self._batchable = facts.batchable
        self._max_rows = settings.max_batch_rows if facts.batchable else 1
        self._memory = MemoryModel(facts, settings.max_prefill_chunk_tokens)
        self._admission = Admission(facts, settings, self._memory)
        self._interactive, self._batch = (
            Lane(FairQueue(settings.max_queued_requests, settings.max_queued_tokens), facts.group_of)
            for _ in range(2)
        )
        self._running = self._interactive
        self._drain = DrainRate()
        self._pacer = PrefillPacer(settings.max_prefill_chunk_tokens, settings.max_decode_stall_ms / 1000)
        if facts.chunk_tokens:
            tokens, seconds = facts.chunk_tokens, facts.chunk_seconds
            self._pacer.observe(beside=Beside.NOBODY, chunk_tokens=tokens, seconds=seconds)
        self._looking = Looking(facts.sight, self._pacer)
        self._speculation = Speculation(
            facts, self._pacer, self._beside_rows_tokens, is_wanted=settings.speculation == "auto"
        )
        self._prefixes = Prefixes(facts, settings, self._pacer, self._spare_bytes, archive)
        self._chunks = Chunks(facts, self._pacer, self._looking, self._prefixes)
        self._tickets = 0
        self._flights = 0

    @property
    def idle(self) -> bool:
        """True when nothing is queued, prefilling or decoding, and nothing is left to release."""
        return all(lane.is_idle for lane in self._lanes)

    @property
    def waits(self) -> bool:
        """True when the prompt that is read goes on with a picture that was asked for and is not there."""
        return any(self._looking.waits(job) for job in self._running.readings)

    def take_wanted(self) -> list[Wanted]:
        """The pictures that the plans so far found missing; each is named once."""
        return self._looking.take_wanted()

    def supply(self, digest: Digest) -> bool:
        """What a tower reads of a picture is there; False when nobody waits for it."""
        return self._looking.supply(digest)

    def occupancy(self) -> Occupancy:
        """How full the engine is after the last plan."""
        return Occupancy(
            rows=len(self._running.rows),
            prefilling=sum(len(lane.readings) for lane in self._lanes),
            queued=sum(len(lane.queue) for lane in self._lanes),
            queued_tokens=sum(lane.queue.tokens for lane in self._lanes),
            reserved_bytes=self._reserved_bytes(),
            parked=sum(len(lane.rows) for lane in self._lanes if lane is not self._running),
            picture_bytes=self._looking.held_bytes,
            seen_pictures=self._looking.seen_count,
            prefix_bytes=self._prefixes.used_bytes,
            looked_up=self._speculation.looked_up,
            guessed=self._speculation.guessed,
        )

    def submit(self, submit: Submit, now_seconds: float) -> Admitted | Refused:
        """Queue a request, or say why not."""
        if any(self._choice(sequence) for sequence in submit.sequences):
            return Refused(submit.request, "invalid", "n: a sequence id is already in use")
        max_tokens = self._admission.limit(submit)
        if isinstance(max_tokens, Refused):
            return max_tokens
        lane = self._batch if submit.batch else self._interactive
        jobs = self._jobs(submit, max_tokens)
        if not lane.queue.has_room(len(jobs), len(jobs) * len(submit.tokens)):
            return self._full(submit, lane.queue)
        if self.idle:
            self._drain.start(now_seconds)
        ahead = len(lane.queue)
        for job in jobs:
            lane.put(job)
        return Admitted(submit.request, max_tokens, ahead, self._prefixes.match(submit))

    def cancel(self, sequences: Sequence[SequenceId]) -> None:
        """Forget these sequences; what the runner holds of them is released by the next plan."""
        for sequence in sequences:
            choice = self._choice(sequence)
            if choice is None:
                continue
            waits = choice.phase is Phase.QUEUED
            self._end(choice)
            if not choice.job.living:
                if waits:
                    self._lane(choice.job).queue.remove(choice.job)
                else:
                    self._settle(choice.job)

    def plan(self) -> StepPlan:
        """The next step. Empty when there is nothing to do before more is known."""
        if self._speculation.is_flying or self._speculation.waits(self._decoding()):
            return StepPlan()
        keep = self._keep_leaving()
        release = [sequence for lane in self._lanes for sequence in lane.release()]
        before, self._running = self._running, self._interactive if self._interactive.living else self._batch
        is_turn = self._running is not before
        if is_turn:
            self._make_room_for_chunks()
        # A lane that is not running is parked, and one that stops running has rows only if it is the batch's.
        resume = tuple(self._running.rows) if is_turn else ()
        join = self._join(release)
        park = tuple(before.rows) if is_turn else ()
        self._running.advance()
        plan = StepPlan(keep=keep, park=park, resume=resume, join=join, decode=tuple(self._running.rows))
        if self._running.readings:
            plan = self._chunks.read(plan, self._running, lambda spent: self._admit_beside(spent, release))
        restore = self._prefixes.take()
        plan = self._join_read(plan)
        plan = replace(plan, release=tuple(release), restore=restore)
        plan = self._speculation.add(plan, self._decoding(), is_first=not self._flights)
        self._flights += not plan.is_empty
        return plan

    def commit(self, plan: StepPlan, result: StepResult, now_seconds: float) -> Stepped:
        """Take in what a step produced. Tokens of sequences that are gone are dropped."""
        self._flights -= 1
        self._learn(plan, result)
        emissions: list[Emission] = []
        for sampled in result.sampled:
            choice = self._choice(sampled.sequence)
            if choice is not None:
                emissions.append(self._emit(choice, sampled, now_seconds))
        return Stepped(tuple(emissions), self._prefixes.resumed(plan) + self._chunks.progress(plan))

    def _decoding(self) -> list[Choice]:
        """The choices that decode, where that is all there is: nobody waits, and no row is yet to leave."""
        rows = list(self._running.rows.values())
        living = sum(len(lane.living) for lane in self._lanes)
        is_all = living == len(rows) == sum(len(lane.rows) for lane in self._lanes)
        return rows if is_all and all(row.is_living for row in rows) else []

    def _learn(self, plan: StepPlan, result: StepResult) -> None:
        """What the step cost, and what it saw."""
        if self._speculation.observe(plan, result, self._decoding()):
            return
        if result.encoded is None or not self._looking.commit(result.encoded):
            self._chunks.observe(plan, result.seconds)

    def _jobs(self, submit: Submit, max_tokens: int) -> list[Job]:
        """One job for the request, or one for each choice where rows cannot share a step."""
        choices = list(zip(submit.sequences, submit.samplings, strict=True))
        groups = [choices] if self._batchable else [[choice] for choice in choices]
        jobs: list[Job] = []
        for group in groups:
            self._tickets += 1
            stop = frozenset(submit.stop_tokens)
            job = Job(
                submit.request, submit.tenant, submit.tokens, max_tokens, stop, self._tickets, submit.batch
            )
            job.grammar, job.pictures, job.boundaries = submit.grammar, submit.pictures, submit.boundaries
            for sequence, sampling in group:
                job.add(sequence, sampling)
            jobs.append(job)
        return jobs

    def _full(self, submit: Submit, queue: FairQueue) -> Refused:
        seconds = self._drain.seconds_for(queue.tokens)
        message = (
            f"{len(queue)} requests with {queue.tokens} prompt tokens are waiting, "
            f"and no more can. Try again in {seconds} seconds."
        )
        return Refused(submit.request, "queue_full", message, seconds)

    def _join(self, release: list[SequenceId]) -> tuple[Join, ...]:
        """Let the prompts that were read join, and take up the next; a prompt of one token joins at once."""
        lane = self._running
        joins: list[Join] = []
        while True:
            joins += map(self._enter, lane.planned)
            if lane.readings or self._admit(release) is None:
                return tuple(joins)

    def _join_read(self, plan: StepPlan) -> StepPlan:
        """A step that also lets those join whose prompts its chunks end, and say their first tokens."""
        joins: list[Join] = []
        for job in self._chunks.take_ended():
            joins.append(self._enter(job))
            for choice in job.living:
                choice.planned += 1
        rows, keep_read = tuple(self._running.rows), self._prefixes.take()
        return replace(plan, keep_read=keep_read, join=(*plan.join, *joins), decode=rows) if joins else plan

    def _enter(self, job: Job) -> Join:
        """Let a prompt that is planned to its end become rows, and keep what was read of it."""
        self._prefixes.keep_reading(job)
        return self._running.enter(job)

    def _admit_beside(self, chunk_tokens: int, release: list[SequenceId]) -> Job | None:
        """Admit the next prompt to a step that reads others, unless it gains from waiting for these.

        Args:
            chunk_tokens: for how many the step must have room.
            release: what the runner is to release in this step.
        """
        job, readings = self._running.queue.head(), self._running.readings
        if job is None or job.pictures or job.is_planned or self._prefixes.gains_by_waiting(job, readings):
            return None
        return self._admit(release, chunk_tokens)

    def _admit(self, release: list[SequenceId], chunk_tokens: int = 0) -> Job | None:
        """Take the fair head of the queue if its rows and bytes fit; nobody overtakes it."""
        job, lane = self._running.queue.head(), self._running
        if job is None:
            return None
        load = self._load(job)
        if load.rows > self._max_rows or not self._memory.fits(load):
            return None
        if not self._makes_room(load, release):
            return None
        load = self._beside_parked(load)
        if self._memory.chunk_tokens(load) < chunk_tokens:
            return None
        lane.queue.take()
        self._admit_beside_kept(job, load, chunk_tokens)
        job.move(Phase.READY if job.is_planned else Phase.PREFILLING)
        lane.readings.append(job)
        return job

    def _load(self, job: Job | None) -> Load:
        """What all takes that was admitted to the lane that runs, with one more job."""
        jobs = [*self._running.readings, *([job] if job else [])]
        return replace(
            self._memory.load_of([span for each in jobs for span in each.pictures]),
            groups=self._running.occupied(job),
            prompt_tokens=max((len(each.tokens) for each in jobs), default=0),
        )

    def _admit_beside_kept(self, job: Job, load: Load, least_tokens: int) -> None:
        """Let a job go on from what is kept, of which enough is forgotten for the job and its chunks."""
        chunk_tokens = max(least_tokens, min(_UNSQUEEZED_TOKENS, self._memory.chunk_tokens(load)))
        spare_bytes = self._memory.spare_bytes(load, chunk_tokens)
        self._prefixes.shrink(spare_bytes, job)
        self._prefixes.resume(job, spare_bytes, self._running.beside)
        job.chunk_cap_tokens = self._memory.chunk_tokens(replace(load, kept_bytes=self._prefixes.used_bytes))

    def _spare_bytes(self) -> int:
        """What all that is admitted leaves of the budget, whatever it may still come to need."""
        chunk_tokens = max((job.chunk_cap_tokens for job in self._running.readings), default=0)
        load = self._load(None)
        return self._memory.spare_bytes(self._beside_parked(load), chunk_tokens)

    def _reserved_bytes(self) -> int:
        rows_bytes = sum(self._memory.batch_bytes(lane.occupied()) for lane in self._lanes)
        return rows_bytes + self._memory.draft_bytes(self._load(None).longest_tokens)

    def _beside_rows_tokens(self, choices: Sequence[Choice]) -> int:
        """How many tokens may be read at once beside rows that decode, and behind them."""
        longest = max(choice.job.full_tokens for choice in choices)
        load = replace(self._load(None), prompt_tokens=longest)
        return self._memory.chunk_tokens(replace(load, kept_bytes=self._prefixes.used_bytes))

    def _make_room_for_chunks(self) -> None:
        """Forget what was kept where a prompt rested whose chunks were promised these bytes."""
        for job in self._running.readings:
            self._prefixes.shrink(max(0, self._spare_bytes()), job)

    def _keep_leaving(self) -> tuple[PrefixStep, ...]:
        """Keep what those leave who need no further step."""
        for lane in self._lanes:
            for choice in lane.spent:
                self._prefixes.keep_row(choice)
            for job in lane.forsaken:
                self._prefixes.keep_reading(job)
        return self._prefixes.take()

    def _makes_room(self, load: Load, release: list[SequenceId]) -> bool:
        """Whether a load that fits by itself fits beside what is parked, which is given up as needed."""
        while not self._memory.fits(self._beside_parked(load)):
            if not self._batch.is_landed():
                return False
            release += self._batch.give_up_youngest()
        return True

    def _beside_parked(self, load: Load) -> Load:
        parked = [lane.occupied() for lane in self._lanes if lane is not self._running]
        return replace(load, parked_bytes=sum(self._memory.batch_bytes(each) for each in parked))

    def _emit(self, choice: Choice, sampled: Sampled, now_seconds: float) -> Emission:
        finish = choice.accept(sampled.token)
        if finish == "stop" and sampled.cut:
            finish = "length"
        if finish is not None:
            self._end(choice)
            job = choice.job
            if not job.living:
                self._settle(job)
                self._drain.finish(job.used_tokens, now_seconds)
        scores = () if sampled.scores is None else (sampled.scores,)
        return Emission(choice.sequence, (sampled.token,), finish, scores)

    @property
    def _lanes(self) -> tuple[Lane, Lane]:
        return self._interactive, self._batch

    def _lane(self, job: Job) -> Lane:
        return self._batch if job.batch else self._interactive

    def _choice(self, sequence: SequenceId) -> Choice | None:
        return self._interactive.living.get(sequence) or self._batch.living.get(sequence)

    def _end(self, choice: Choice) -> None:
        choice.move(Phase.FINISHED)
        del self._lane(choice.job).living[choice.sequence]
        if not choice.job.living:
            self._looking.withdraw(choice.job)

    def _settle(self, job: Job) -> None:
        self._lane(job).queue.give_back(job.tenant, job.cost_tokens - job.used_tokens)
