"""The loop of a worker that makes pictures ready: take a file, decode it, lay it out for the model, answer.

It is a process of its own because files come from strangers and decoders have faults: one that crashes takes
neither the server nor a model with it. What was made stays for a while, since most pictures are asked for
twice: for their place in the prompt, and for what the tower reads.
"""

from allod.core.messages import MAX_FRAME_BYTES, Embed, Prepare, Prepared, Refused, Status, Submit
from allod.core.pictures import Digest, PictureRefused, PreparedPicture
from allod.core.ports import Preprocessor
from allod.worker.channel import Channel
from allod.worker.jobs import JobLoop

MOST_TENSOR_BYTES = MAX_FRAME_BYTES - 2**20
"""What passes between processes in one frame, beside what else is in it."""

_NOT_HERE = "this process prepares pictures and does nothing else"


class PictureLoop(JobLoop[Prepare]):
    """Drives one preprocessor, one picture at a time.

    Args:
        channel: to the gateway.
        preprocessor: of one model.
        kept_bytes: most bytes of tensors that stay.
    """

    def __init__(self, channel: Channel, preprocessor: Preprocessor, kept_bytes: int) -> None:
        super().__init__(channel)
        self._preprocessor = preprocessor
        self._kept_bytes = kept_bytes
        self._kept: dict[Digest, PreparedPicture] = {}

    def take(self, order: Submit | Embed | Prepare) -> None:
        """Put a picture into the line; see `JobLoop`."""
        if isinstance(order, Prepare):
            self.jobs.append(order)
        else:
            self.channel.send(Refused(order.request, "invalid", _NOT_HERE))

    def advance(self, job: Prepare) -> None:
        """Make a picture ready, or refuse it."""
        try:
            made = self._prepared(job)
        except PictureRefused as refusal:
            self.channel.send(Refused(job.request, "invalid", str(refusal)))
            return
        tensors = made.tensors if job.wants_tensors else ()
        self.channel.send(Prepared(job.request, made.tokens, made.tensor_bytes, tensors))

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

    def status(self) -> Status:
        """Pictures that wait; see `JobLoop`."""
        return Status(
            rows=0,
            prefilling=0,
            queued=len(self.jobs),
            queued_tokens=0,
            reserved_bytes=0,
            memory=self._preprocessor.memory(),
            steps=self.steps,
        )


def _require_frame(tensor_bytes: int) -> None:
    if tensor_bytes > MOST_TENSOR_BYTES:
        raise PictureRefused(
            f"takes {tensor_bytes / 2**20:.0f} MiB as the model reads it, and at most "
            f"{MOST_TENSOR_BYTES / 2**20:.0f} MiB pass between processes; send a smaller one, or ask for low "
            "detail"
        )
