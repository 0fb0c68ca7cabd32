"""The loop of a worker whose requests are jobs that wait in a line; the engine's loop does more.

All of it runs on the calling thread, which is the only one that touches MLX.
"""

from abc import ABC, abstractmethod
from collections import deque
from typing import Generic, Protocol, TypeVar, assert_never

from allod.core.ids import SequenceId
from allod.core.messages import AnyCommand, Cancel, Drain, Embed, Inspect, Prepare, Status, Submit, Supply
from allod.worker.channel import Channel


class Job(Protocol):
    """Something to do for a request."""

    @property
    def sequences(self) -> tuple[SequenceId, ...]:
        """What a Cancel names to take it out of the line."""
        ...


AnyJob = TypeVar("AnyJob", bound=Job)


class JobLoop(ABC, Generic[AnyJob]):
    """Takes commands, then works on the first job, in turns.

    Attributes:
        channel: to the gateway.
        jobs: those that wait, the next one first.
        draining: whether a Drain came: what is in the line is still done.
        steps: how often it worked on a job.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.jobs: deque[AnyJob] = deque()
        self.draining = False
        self.steps: int = 0

    def run(self) -> None:
        """Run until the gateway leaves, or until everything is done after a Drain."""
        while self.channel.obey_all(self._obey, wait=not self.jobs and not self.draining):
            if self.jobs:
                self.steps += 1
                self.advance(self.jobs.popleft())
            elif self.draining:
                return

    @abstractmethod
    def take(self, order: Submit | Embed | Prepare) -> None:
        """Put an order into the line, or refuse it."""

    @abstractmethod
    def advance(self, job: AnyJob) -> None:
        """Work on a job for a while; whoever is not done puts it back."""

    @abstractmethod
    def status(self) -> Status:
        """The worker's account of itself."""

    def _obey(self, command: AnyCommand) -> None:
        match command:
            case Submit() | Embed() | Prepare():
                self.take(command)
            case Supply():
                pass
            case Cancel(sequences=sequences):
                self.jobs = deque(job for job in self.jobs if set(sequences).isdisjoint(job.sequences))
            case Inspect():
                self.channel.send(self.status())
            case Drain():
                self.draining = True
            case _:
                assert_never(command)
