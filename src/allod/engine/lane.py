"""One class of work: who waits, the prompt that is read, and the rows that decode."""

from dataclasses import dataclass, field

from allod.core.ids import SequenceId
from allod.engine.queue import FairQueue
from allod.engine.sequence import Choice, Job, Phase


@dataclass(slots=True)
class Lane:
    """The work of one priority.

    Attributes:
        queue: jobs that wait.
        living: every choice that is neither finished nor cancelled.
        rows: choices whose rows the runner holds, in its batch or parked.
        reading: the job whose prompt is read or is about to join.
    """

    queue: FairQueue
    living: dict[SequenceId, Choice] = field(default_factory=dict[SequenceId, Choice])
    rows: dict[SequenceId, Choice] = field(default_factory=dict[SequenceId, Choice])
    reading: Job | None = None

    @property
    def is_idle(self) -> bool:
        """True when nothing waits or runs, and nothing is left to release."""
        return not self.living and not self.rows and self.reading is None

    def put(self, job: Job) -> None:
        """Queue a job, and know its choices from now on."""
        self.queue.put(job)
        self._know(job)

    @property
    def spent(self) -> list[Choice]:
        """The rows that need no further step."""
        return [choice for choice in self.rows.values() if choice.is_spent]

    @property
    def forsaken(self) -> Job | None:
        """The job whose prompt is read although nobody waits for it any more."""
        job = self.reading
        return None if job is None or job.living else job

    def release(self) -> list[SequenceId]:
        """Drop what needs no further step, and name it."""
        leaving = [choice.sequence for choice in self.spent]
        for sequence in leaving:
            del self.rows[sequence]
        if self.forsaken is not None:
            leaving += self.forsaken.held
            self.reading = None
        return leaving

    def occupied(self) -> tuple[int, int]:
        """Rows admitted, and the longest that any of them can become.

        A prompt that nobody waits for any more counts until it is released.
        """
        admitted = list(self.rows.values())
        if self.reading is not None:
            admitted += self.reading.living or self.reading.choices[:1]
        return len(admitted), max((choice.job.full_tokens for choice in admitted), default=0)

    def is_landed(self) -> bool:
        """Whether no token of a row is still on its way."""
        return all(choice.planned == choice.generated for choice in self.rows.values())

    def give_up_youngest(self) -> list[SequenceId]:
        """Take back the job that was admitted last; it waits again, ahead of its tenant's others.

        Only for a lane that `is_landed`: what was said must be known to be read again.

        Returns:
            What the runner is to release.
        """
        if self.reading is not None:
            job, held = self.reading, self.reading.held
            self.reading = None
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
