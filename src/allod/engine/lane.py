"""One class of work: who waits, the prompts that are read, and the rows that decode."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from allod.core.ids import SequenceId
from allod.core.step import Join
from allod.engine.memory import Group
from allod.engine.pacing import Beside
from allod.engine.queue import FairQueue
from allod.engine.sequence import Choice, Job, Phase

BEGINNING_TOKENS = 24
"""A row of a burst has begun with so many tokens; from then on it is held up no longer than any stream. On
two cores sixteen prompts of 120 tokens are read by then."""


@dataclass(slots=True)
class Lane:
    """The work of one priority.

    Attributes:
        queue: jobs that wait.
        group_of: the group of a row that begins with so many tokens.
        living: every choice that is neither finished nor cancelled.
        rows: choices whose rows the runner holds, in its batch or parked.
        readings: the jobs whose prompts are read or are about to join, in the order of their admission. All
            but the last are planned to their end.
    """

    queue: FairQueue
    group_of: Callable[[int], int]
    living: dict[SequenceId, Choice] = field(default_factory=dict[SequenceId, Choice])
    rows: dict[SequenceId, Choice] = field(default_factory=dict[SequenceId, Choice])
    readings: list[Job] = field(default_factory=list[Job])

    @property
    def is_idle(self) -> bool:
        """True when nothing waits or runs, and nothing is left to release."""
        return not self.living and not self.rows and not self.readings

    def put(self, job: Job) -> None:
        """Queue a job, and know its choices from now on."""
        self.queue.put(job)
        self._know(job)

    @property
    def spent(self) -> list[Choice]:
        """The rows that need no further step."""
        return [choice for choice in self.rows.values() if choice.is_spent]

    @property
    def forsaken(self) -> list[Job]:
        """The jobs whose prompts are read although nobody waits for them any more."""
        return [job for job in self.readings if not job.living]

    @property
    def planned(self) -> list[Job]:
        """The jobs that have nothing left to read."""
        return [job for job in self.readings if job.is_planned]

    @property
    def beside(self) -> Beside:
        """Who decodes beside the prompts that are read."""
        if not self.rows:
            return Beside.NOBODY
        flows = any(choice.flows for choice in self.rows.values())
        return Beside.STREAMS if flows else Beside.BEGINNERS

    def advance(self) -> None:
        """Plan one more token of each row, of which some are no beginners any more."""
        waits = bool(self.readings or self.queue)
        for choice in self.rows.values():
            choice.planned += 1
            choice.flows |= not waits or choice.planned > BEGINNING_TOKENS

    def enter(self, job: Job) -> Join:
        """Let a prompt that is planned to its end become rows."""
        join = job.join()
        self.rows.update((choice.sequence, choice) for choice in job.living)
        self.readings.remove(job)
        return join

    def release(self) -> list[SequenceId]:
        """Drop what needs no further step, and name it."""
        leaving = [choice.sequence for choice in self.spent]
        for sequence in leaving:
            del self.rows[sequence]
        for job in self.forsaken:
            leaving += job.held
            self.readings.remove(job)
        return leaving

    def occupied(self, more: Job | None = None) -> tuple[Group, ...]:
        """The rows admitted, and those of one more job, in groups.

        A prompt that nobody waits for any more counts until it is released.
        """
        admitted = list(self.rows.values())
        for job in self.readings:
            admitted += job.living or job.choices[:1]
        admitted += more.living if more else []
        lengths: defaultdict[int, list[int]] = defaultdict(list)
        for choice in admitted:
            lengths[self.group_of(len(choice.job.tokens))].append(choice.job.full_tokens)
        return tuple(Group(len(each), max(each)) for each in lengths.values())

    def is_landed(self) -> bool:
        """Whether no token of a row is still on its way."""
        return all(choice.planned == choice.generated for choice in self.rows.values())

    def give_up_youngest(self) -> list[SequenceId]:
        """Take back the job that was admitted last; it waits again, ahead of its tenant's others.

        Only for a lane that `is_landed`: what was said must be known to be read again.

        Returns:
            What the runner is to release.
        """
        if self.readings:
            job = self.readings.pop()
            held = job.held
        else:
            job = list(self.rows.values())[-1].job
            held = [choice.sequence for choice in job.living]
        for sequence in held:
            self.rows.pop(sequence, None)
        self.queue.give_back(job.tenant, job.cost_tokens - job.used_tokens)
        restarted = job.restarted()
        job.move(Phase.FINISHED)
        for again in reversed(restarted):
            self.queue.put(again, first=True)
            self._know(again)
        return held

    def _know(self, job: Job) -> None:
        self.living.update((choice.sequence, choice) for choice in job.choices)
