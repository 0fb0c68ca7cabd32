"""Pictures without pixels: to a FakeRunner a picture is numbers that come from its digest.

So a scheduler that shows a row the wrong picture, or a part of it in the wrong place, gets other tokens.
"""

from collections.abc import Iterable, Sequence

from allod.core.ids import TokenId
from allod.core.pictures import Digest, PictureSpan, Sight, Tensor
from allod.core.step import Encode, Encoded, Prefill, Shown
from allod.testing.contract import require

PIECES = 5
"""Pieces that looking at any picture takes."""


def seen_as(tokens: Sequence[TokenId], pictures: Iterable[PictureSpan]) -> list[int]:
    """A prompt as a row reads it: numbers of pictures in the place of their tokens."""
    numbers = list(tokens)
    for span in pictures:
        numbers[span.start : span.end] = [_number(span.digest, offset) for offset in range(span.length)]
    return numbers


def shown_in(pictures: Iterable[PictureSpan], start: int, end: int) -> tuple[Shown, ...]:
    """What a chunk of a prompt, from `start` to `end`, shows of its pictures."""
    return tuple(
        Shown(
            span.digest,
            max(span.start, start) - start,
            max(span.start, start) - span.start,
            min(span.end, end) - max(span.start, start),
        )
        for span in pictures
        if span.start < end and start < span.end
    )


def _number(digest: Digest, offset: int) -> int:
    return 10_000 + digest[offset % len(digest)] * 1000 + offset


class FakeGallery:
    """What a FakeRunner holds of pictures.

    Attributes:
        seen_count: how many pictures were looked at.
    """

    def __init__(self, sight: Sight | None) -> None:
        self.seen_count = 0
        self._sight = sight
        self._tensors: dict[Digest, int] = {}
        self._left: dict[Digest, int] = {}
        self._seen: dict[Digest, tuple[TokenId, ...]] = {}

    @property
    def held_bytes(self) -> int:
        """Tensors and features."""
        each_bytes = self._sight.feature_bytes_per_token if self._sight else 0
        seen_tokens = sum(map(len, self._seen.values()))
        return sum(self._tensors.values()) + seen_tokens * each_bytes

    def receive(self, digest: Digest, tensors: Sequence[Tensor]) -> None:
        """Take what a tower reads of a picture."""
        require(self._sight is not None, "a picture comes to a model that does not see")
        require(digest not in self._tensors and digest not in self._seen, "a picture comes twice")
        self._tensors[digest] = sum(len(tensor.data) for tensor in tensors)
        self._left[digest] = PIECES
        self._require_room()

    def forget(self, digests: Iterable[Digest]) -> None:
        """Drop all that is held of some pictures."""
        for digest in digests:
            require(digest in self._tensors or digest in self._seen, "an unknown picture is forgotten")
            for place in (self._tensors, self._left, self._seen):
                place.pop(digest, None)

    def look(self, encode: Encode, piece_seconds: float) -> Encoded:
        """Do as many pieces as the time allows, at least one."""
        require(encode.seconds >= 0, "less than no time to look")
        if encode.digest in self._seen:
            return Encoded(encode.digest, 0, 0)
        require(encode.digest in self._tensors, "a picture is looked at of which nothing was received")
        done = min(max(1, int(encode.seconds / piece_seconds)), self._left[encode.digest])
        self._left[encode.digest] -= done
        left = self._left[encode.digest]
        if not left:
            del self._tensors[encode.digest], self._left[encode.digest]
            self._seen[encode.digest] = encode.tokens
            self.seen_count += 1
            self._require_room()
        return Encoded(encode.digest, done, left)

    def transient_bytes(self, encode: Encode) -> int:
        """What looking takes for the time being."""
        return self._sight.transient_bytes(self._tensors.get(encode.digest, 0)) if self._sight else 0

    def laid_over(self, prefill: Prefill) -> list[int]:
        """A chunk as a row reads it."""
        numbers = list(prefill.tokens)
        for part in prefill.pictures:
            self._require_part(prefill, part)
            own = range(part.offset, part.offset + part.length)
            numbers[part.start : part.start + part.length] = [_number(part.digest, each) for each in own]
        return numbers

    def _require_part(self, prefill: Prefill, part: Shown) -> None:
        require(part.digest in self._seen, "a picture is read that was not looked at")
        whole = self._seen[part.digest]
        standing = prefill.tokens[part.start : part.start + part.length]
        is_same = part.length > 0 and standing == whole[part.offset : part.offset + part.length]
        require(is_same, "a part of a picture stands where other tokens are")
        may_be_cut = self._sight is None or not self._sight.whole_spans
        require(may_be_cut or part.length == len(whole), "a picture is cut that must be read in one chunk")

    def _require_room(self) -> None:
        most = self._sight.cache_bytes if self._sight else 0
        require(self.held_bytes <= most, f"pictures hold {self.held_bytes} of {most} bytes")
