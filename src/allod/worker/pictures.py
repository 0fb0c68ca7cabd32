"""The loop of a worker that makes pictures ready: take a file, decode it, lay it out for the model, answer.

It is a process of its own because files come from strangers and decoders have faults: one that crashes takes
neither the server nor a model with it. What was made stays for a while, since most pictures are asked for
twice: for their place in the prompt, and for what the tower reads.
"""

from collections import deque
from typing import assert_never

from allod.core.messages import (
    MAX_FRAME_BYTES,
    AnyCommand,
    Cancel,
    Drain,
    Embed,
    Inspect,
    Prepare,
    Prepared,
    Refused,
    Status,
    Submit,
    Supply,
)
from allod.core.pictures import Digest, PictureRefused, PreparedPicture
from allod.core.ports import Preprocessor
from allod.worker.channel import Channel, Closed

MOST_TENSOR_BYTES = MAX_FRAME_BYTES - 2**20
"""What passes between processes in one frame, beside what else is in it."""

_NOT_HERE = "this process prepares pictures and does nothing else"


class PictureLoop:
    """Drives one preprocessor, one picture at a time.

    Args:
        channel: to the gateway.
        preprocessor: of one model.
        kept_bytes: most bytes of tensors that stay.
    """

    def __init__(self, channel: Channel, preprocessor: Preprocessor, kept_bytes: int) -> None:
        self._channel = channel
        self._preprocessor = preprocessor
        self._kept_bytes = kept_bytes
        self._kept: dict[Digest, PreparedPicture] = {}
        self._jobs: deque[Prepare] = deque()
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
                self._answer(self._jobs.popleft())

    def _answer(self, job: Prepare) -> None:
        self._steps += 1
        try:
            made = self._prepared(job)
        except PictureRefused as refusal:
            self._channel.send(Refused(job.request, "invalid", str(refusal)))
            return
        tensors = made.tensors if job.wants_tensors else ()
        self._channel.send(Prepared(job.request, made.tokens, made.tensor_bytes, tensors))

    def _prepared(self, job: Prepare) -> PreparedPicture:
        made = self._kept.pop(job.digest, None)
        if made is None:
            made = self._preprocessor.prepare(job.file, job.form, job.max_pixels)
            _require_frame(made.tensor_bytes)
        self._kept[job.digest] = made
        while (
            len(self._kept) > 1 and sum(each.tensor_bytes for each in self._kept.values()) > self._kept_bytes
        ):
            del self._kept[next(iter(self._kept))]
        return made

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
            case Prepare():
                self._jobs.append(command)
            case Submit(request=request) | Embed(request=request):
                self._channel.send(Refused(request, "invalid", _NOT_HERE))
            case Cancel(sequences=sequences):
                gone = set(sequences)
                self._jobs = deque(job for job in self._jobs if not gone & set(job.sequences))
            case Inspect():
                self._channel.send(self._status())
            case Drain():
                self._draining = True
            case Supply():
                pass
            case _:
                assert_never(command)

    def _status(self) -> Status:
        return Status(
            rows=0,
            prefilling=0,
            queued=len(self._jobs),
            queued_tokens=0,
            reserved_bytes=0,
            memory=self._preprocessor.memory(),
            steps=self._steps,
        )


def _require_frame(tensor_bytes: int) -> None:
    if tensor_bytes > MOST_TENSOR_BYTES:
        raise PictureRefused(
            f"takes {tensor_bytes / 2**20:.0f} MiB as the model reads it, and at most "
            f"{MOST_TENSOR_BYTES / 2**20:.0f} MiB pass between processes; send a smaller one, or ask for low "
            "detail"
        )
