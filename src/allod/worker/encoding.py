"""The loop of a worker that embeds: take commands, compute one batch, report; requests take turns."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from allod.core.ids import SequenceId, TokenId
from allod.core.messages import Embed, Embedded, PrefillProgress, Prepare, Refused, Status, Stepped, Submit
from allod.core.ports import Encoder
from allod.engine.settings import EngineSettings
from allod.worker.channel import Channel
from allod.worker.jobs import JobLoop

BATCH_TOKENS = 8192
"""Most tokens of a batch, padding included."""

_NO_TEXT = "model: this model embeds text and generates none; ask one that generates"
_RETRY_SECONDS = 1


@dataclass(eq=False, slots=True)
class _Job:
    """One request and its vectors so far. Rows of like length share a batch, the longest come first."""

    embed: Embed
    waiting: list[int]
    vectors: dict[int, bytes] = field(default_factory=dict[int, bytes])

    @classmethod
    def of(cls, embed: Embed) -> "_Job":
        return cls(embed, sorted(range(len(embed.rows)), key=lambda row: len(embed.rows[row])))

    @property
    def sequences(self) -> tuple[SequenceId, ...]:
        return self.embed.sequences

    def next_batch(self) -> list[int]:
        """The rows to compute next; at least one."""
        longest = len(self.embed.rows[self.waiting[-1]])
        count = max(1, BATCH_TOKENS // longest)
        batch = self.waiting[-count:]
        del self.waiting[-count:]
        return batch

    def tokens(self, rows: Iterable[int]) -> int:
        return sum(len(self.embed.rows[row]) for row in rows)


class EncoderLoop(JobLoop[_Job]):
    """Drives one encoder. Between two batches every request that waits gets its turn."""

    def __init__(self, channel: Channel, encoder: Encoder, settings: EngineSettings) -> None:
        super().__init__(channel)
        self._encoder = encoder
        self._settings = settings

    def take(self, order: Submit | Embed | Prepare) -> None:
        """Put rows into the line, or refuse them; see `JobLoop`."""
        if not isinstance(order, Embed):
            self.channel.send(Refused(order.request, "invalid", _NO_TEXT))
        elif refused := self._refusal(order):
            self.channel.send(refused)
        else:
            self.jobs.append(_Job.of(order))

    def advance(self, job: _Job) -> None:
        """Compute one batch; what is left of the job goes to the end of the line."""
        batch = job.next_batch()
        vectors = self._encoder.embed([job.embed.rows[row] for row in batch])
        job.vectors.update(zip(batch, vectors, strict=True))
        if job.waiting:
            done, total = job.tokens(job.vectors), job.tokens(range(len(job.embed.rows)))
            progress = PrefillProgress(job.embed.request, done, total)
            self.channel.send(Stepped((), (progress,)))
            self.jobs.append(job)
        else:
            ordered = tuple(job.vectors[row] for row in range(len(job.embed.rows)))
            self.channel.send(Embedded(job.embed.request, ordered))

    def _refusal(self, embed: Embed) -> Refused | None:
        facts = self._encoder.facts
        if self.draining:
            return Refused(
                embed.request, "draining", "The model is being unloaded; ask again.", _RETRY_SECONDS
            )
        if len(self.jobs) >= self._settings.max_queued_requests:
            return Refused(embed.request, "queue_full", "Too many requests wait; ask again.", _RETRY_SECONDS)
        if not embed.rows or not all(embed.rows):
            return Refused(embed.request, "invalid", "input: a row has no tokens; send at least one")
        if max(map(len, embed.rows)) > facts.context_tokens:
            return Refused(
                embed.request, "context", f"input: a row has more than {facts.context_tokens} tokens"
            )
        if not all(_within(row, facts.vocabulary) for row in embed.rows):
            return Refused(embed.request, "invalid", f"input: token ids run from 0 to {facts.vocabulary - 1}")
        return None

    def status(self) -> Status:
        """Requests that wait; see `JobLoop`."""
        return Status(
            rows=0,
            prefilling=min(1, len(self.jobs)),
            queued=max(0, len(self.jobs) - 1),
            queued_tokens=sum(job.tokens(job.waiting) for job in self.jobs),
            reserved_bytes=0,
            memory=self._encoder.memory(),
            steps=self.steps,
        )


def _within(row: tuple[TokenId, ...], vocabulary: int) -> bool:
    return min(row) >= 0 and max(row) < vocabulary
