"""What crosses between gateway and worker: Commands in, Reports out.

Frozen structs, framed as a 4-byte big-endian length and a msgpack body. Token ids cross; text does
not. A step is one frame, however many rows it has.
"""

import struct
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from allod.core.ids import RequestId, SequenceId, TenantId, TokenId
from allod.core.pictures import Digest, PictureSpan, Tensor
from allod.core.prefixes import PrefixMatch
from allod.core.sampling import Sampling
from allod.core.step import MemoryReading, ModelFacts, Scores

MAX_FRAME_BYTES = 256 * 2**20
_HEADER = struct.Struct(">I")


class Command(msgspec.Struct, frozen=True, tag_field="t"):
    """Gateway to worker."""


class Submit(Command, frozen=True, tag="submit"):
    """Generate for this prompt: one sequence per sampling.

    Attributes:
        max_tokens: None means as many as the worker's default allows.
        grammar: what the answer must follow, as llguidance's JSON form of a grammar; empty for free text.
        batch: True lets everything that is not batch work go first.
        pictures: which tokens stand for pictures, in order. What the vision tower is to read of them comes
            when the worker asks for it (`Wanted`, then `Supply`).
        boundaries: positions at which other prompts may part from this one, such as where messages begin.
    """

    request: RequestId
    sequences: tuple[SequenceId, ...]
    samplings: tuple[Sampling, ...]
    tokens: tuple[TokenId, ...]
    max_tokens: int | None
    stop_tokens: tuple[TokenId, ...]
    tenant: TenantId
    grammar: str = ""
    batch: bool = False
    pictures: tuple[PictureSpan, ...] = ()
    boundaries: tuple[int, ...] = ()


class Supply(Command, frozen=True, tag="supply"):
    """What a vision tower reads of a picture that was wanted. One that nobody wants any more is dropped."""

    digest: Digest
    tensors: tuple[Tensor, ...]


class Prepare(Command, frozen=True, tag="prepare"):
    """Make of a picture's file what a model reads; its one sequence is what a Cancel names.

    Attributes:
        digest: over all that follows.
        file: the bytes of the file.
        form: what the prompt holds for a picture, such as `<|vision_start|><|image_pad|><|vision_end|>`.
        max_pixels: a larger picture is made smaller.
        wants_tensors: False asks for the tokens alone.
    """

    request: RequestId
    sequences: tuple[SequenceId, ...]
    digest: Digest
    file: bytes
    form: str
    max_pixels: int
    wants_tensors: bool


class Embed(Command, frozen=True, tag="embed"):
    """Make one vector of each row of tokens; its one sequence is what a Cancel names."""

    request: RequestId
    sequences: tuple[SequenceId, ...]
    rows: tuple[tuple[TokenId, ...], ...]


class Cancel(Command, frozen=True, tag="cancel"):
    """Forget these sequences, wherever they are. Unknown ids are ignored."""

    sequences: tuple[SequenceId, ...]


class Inspect(Command, frozen=True, tag="inspect"):
    """Answer with a Status report."""


class Drain(Command, frozen=True, tag="drain"):
    """Finish what was submitted, then exit 0."""


class Report(msgspec.Struct, frozen=True, tag_field="t"):
    """Worker to gateway."""


class Loading(Report, frozen=True, tag="loading"):
    """The worker is busy with a stage of loading; fraction is None where it cannot be told."""

    stage: str
    fraction: float | None = None


class Ready(Report, frozen=True, tag="ready"):
    """The model is loaded and checked. Commands sent before are answered from now on."""

    facts: ModelFacts


class LoadFailed(Report, frozen=True, tag="load_failed"):
    """The model cannot be loaded; the worker exits after this."""

    message: str


class Admitted(Report, frozen=True, tag="admitted"):
    """A submission was taken into the queue.

    `max_tokens` is the limit that will be obeyed; `queued_ahead` counts requests before this one; `prefix` is
    what would be reused of the prompt if it were read now, None where nothing is ever kept.
    """

    request: RequestId
    max_tokens: int
    queued_ahead: int
    prefix: PrefixMatch | None = None


class Refused(Report, frozen=True, tag="refused"):
    """A submission was not taken.

    Attributes:
        reason: `context`, `memory` and `picture` are final, `queue_full` and `draining` are not.
        message: a sentence with the numbers.
        retry_after_seconds: for `queue_full`, from the measured drain rate.
        picture: for `picture`, which of the prompt's pictures is at fault, in their order.
    """

    request: RequestId
    reason: str
    message: str
    retry_after_seconds: int | None = None
    picture: int | None = None


class Emission(msgspec.Struct, frozen=True, array_like=True):
    """Tokens one sequence produced in a step; `finish` is `stop` or `length` at the end, else None.

    `scores` has one entry per token when log probabilities were asked for, else it is empty.
    """

    sequence: SequenceId
    tokens: tuple[TokenId, ...]
    finish: str | None = None
    scores: tuple[Scores, ...] = ()


class PrefillProgress(msgspec.Struct, frozen=True, array_like=True):
    """How far the prompt of a request is; `cached_tokens` of it were not read again, where it says so."""

    request: RequestId
    done_tokens: int
    total_tokens: int
    cached_tokens: int = 0


class Stepped(Report, frozen=True, tag="stepped"):
    """One engine step: everything that came out of it."""

    emissions: tuple[Emission, ...]
    progress: tuple[PrefillProgress, ...] = ()


class Wanted(Report, frozen=True, tag="wanted"):
    """To go on with a request, the worker needs what its tower is to read of these pictures."""

    request: RequestId
    digests: tuple[Digest, ...]


class Prepared(Report, frozen=True, tag="prepared"):
    """A picture as a model reads it.

    Attributes:
        tokens: what the picture's form becomes.
        tensor_bytes: size of the tensors together.
        tensors: empty unless they were asked for.
    """

    request: RequestId
    tokens: tuple[TokenId, ...]
    tensor_bytes: int
    tensors: tuple[Tensor, ...] = ()


class Embedded(Report, frozen=True, tag="embedded"):
    """The vectors of an Embed, in the order of its rows: unit length, little-endian float32."""

    request: RequestId
    vectors: tuple[bytes, ...]


class Status(Report, frozen=True, tag="status"):
    """The worker's own account of itself.

    Attributes:
        parked: rows of batch work that wait for interactive work to end.
        picture_bytes: tensors and features of pictures that are held or promised.
        seen_pictures: how many pictures were looked at since the start; one that is still known is not.
        prefix_bytes: what is kept of prompts and answers.
        disk_bytes: what is kept of them on disk.
        drafted_tokens: tokens that rows were given as drafts since the start.
        accepted_tokens: those of them that the rows said.
        guessed_tokens: of the drafted ones, those that a draft model made.
        accepted_guessed_tokens: of these, those that the rows said.
    """

    rows: int
    prefilling: int
    queued: int
    queued_tokens: int
    reserved_bytes: int
    memory: MemoryReading
    steps: int
    parked: int = 0
    picture_bytes: int = 0
    seen_pictures: int = 0
    prefix_bytes: int = 0
    disk_bytes: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    guessed_tokens: int = 0
    accepted_guessed_tokens: int = 0


AnyCommand = Submit | Supply | Prepare | Embed | Cancel | Inspect | Drain
AnyReport = (
    Loading | Ready | LoadFailed | Admitted | Refused | Stepped | Wanted | Prepared | Embedded | Status
)

Kind = TypeVar("Kind")

_encoder = msgspec.msgpack.Encoder()


def encode(message: Command | Report) -> bytes:
    """One frame: length and body."""
    body = _encoder.encode(message)
    return _HEADER.pack(len(body)) + body


class FrameDecoder(Generic[Kind]):
    """Bytes in any cut -> whole messages of one union (`AnyCommand` or `AnyReport`)."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Kind]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Kind]:
        """Yield every message completed by these bytes.

        Raises:
            ValueError: a frame is larger than MAX_FRAME_BYTES or does not decode.
        """
        self._buffer += data
        buffer = self._buffer
        while len(buffer) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(buffer)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"frame of {length} bytes exceeds {MAX_FRAME_BYTES}")
            end = _HEADER.size + length
            if len(buffer) < end:
                return
            with memoryview(buffer) as view:
                body = bytes(view[_HEADER.size : end])
            del buffer[:end]
            yield self._decoder.decode(body)

    def flush(self) -> int:
        """Bytes of an unfinished frame that are left."""
        return len(self._buffer)


def command_decoder() -> FrameDecoder[AnyCommand]:
    """A decoder for the worker's side."""
    return FrameDecoder(msgspec.msgpack.Decoder(AnyCommand))


def report_decoder() -> FrameDecoder[AnyReport]:
    """A decoder for the gateway's side."""
    return FrameDecoder(msgspec.msgpack.Decoder(AnyReport))
