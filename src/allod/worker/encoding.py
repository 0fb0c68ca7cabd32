"""The loop of a worker that embeds: take commands, compute one batch, report; requests take turns.

All of it runs on the calling thread, which is the only one that touches MLX.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from allod.core.ids import TokenId
from allod.core.messages import (
    AnyCommand,
    Cancel,
    Drain,
    Embed,
    Embedded,
    Inspect,
    PrefillProgress,
    Prepare,
    Refused,
    Status,
    Stepped,
    Submit,
    Supply,
)
from allod.core.ports import Encoder
from allod.engine.settings import EngineSettings
from allod.worker.channel import Channel, Closed

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

    def next_batch(self) -> list[int]:
        """The rows to compute next; at least one."""
        longest = len(self.embed.rows[self.waiting[-1]])
        count = max(1, BATCH_TOKENS // longest)
        batch = self.waiting[-count:]
        del self.waiting[-count:]
        return batch

    def tokens(self, rows: Iterable[int]) -> int:
        return sum(len(self.embed.rows[row]) for row in rows)


class EncoderLoop:
    """Drives one encoder. Between two batches every request that waits gets its turn."""

    def __init__(self, channel: Channel, encoder: Encoder, settings: EngineSettings) -> None:
        self._channel = channel
        self._encoder = encoder
        self._settings = settings
        self._jobs: deque[_Job] = deque()
        self._draining = False
        self._open = True
        self._steps = 0

    def run(self) -> None:
        """Run until the gateway leaves, or until everything is done after a Drain."""
        while True:
            self._take_commands()
            if not self._open or (self._draining and not self._jobs):
                return
            if self._jobs:
                self._advance(self._jobs.popleft())

    def _advance(self, job: _Job) -> None:
        batch = job.next_batch()
        vectors = self._encoder.embed([job.embed.rows[row] for row in batch])
        job.vectors.update(zip(batch, vectors, strict=True))
        self._steps += 1
        if job.waiting:
            done, total = job.tokens(job.vectors), job.tokens(range(len(job.embed.rows)))
            progress = PrefillProgress(job.embed.request, done, total)
            self._channel.send(Stepped((), (progress,)))
            self._jobs.append(job)
        else:
            ordered = tuple(job.vectors[row] for row in range(len(job.embed.rows)))
            self._channel.send(Embedded(job.embed.request, ordered))

    def _take_commands(self) -> None:
        wait = not self._jobs and not self._draining
        while (command := self._channel.receive(wait=wait)) is not None:
            wait = False
            if isinstance(command, Closed):
                self._open = False
                return
            self._obey(command)

    def _obey(self, command: AnyCommand) -> None:
        match command:
            case Embed():
                self._accept(command)
            case Submit(request=request) | Prepare(request=request):
                self._channel.send(Refused(request, "invalid", _NO_TEXT))
            case Supply():
                pass
            case Cancel(sequences=sequences):
                gone = set(sequences)
                self._jobs = deque(job for job in self._jobs if not gone & set(job.embed.sequences))
            case Inspect():
                self._channel.send(self._status())
            case Drain():
                self._draining = True
            case _:
                assert_never(command)

    def _accept(self, embed: Embed) -> None:
        refused = self._refusal(embed)
        if refused is None:
            self._jobs.append(_Job.of(embed))
        else:
            self._channel.send(refused)

    def _refusal(self, embed: Embed) -> Refused | None:
        facts = self._encoder.facts
        if self._draining:
            return Refused(
                embed.request, "draining", "The model is being unloaded; ask again.", _RETRY_SECONDS
            )
        if len(self._jobs) >= self._settings.max_queued_requests:
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

    def _status(self) -> Status:
        return Status(
            rows=0,
            prefilling=min(1, len(self._jobs)),
            queued=max(0, len(self._jobs) - 1),
            queued_tokens=sum(job.tokens(job.waiting) for job in self._jobs),
            reserved_bytes=0,
            memory=self._encoder.memory(),
            steps=self._steps,
        )


def _within(row: tuple[TokenId, ...], vocabulary: int) -> bool:
    return min(row) >= 0 and max(row) < vocabulary
