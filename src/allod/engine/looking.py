"""Looking at the pictures of the prompt that is read: what is asked for, when a tower works, and how long."""

from collections import deque

from allod.core.ids import TokenId
from allod.core.messages import Wanted
from allod.core.pictures import Digest, PictureSpan, Sight
from allod.core.step import Encode, Encoded, Prefill
from allod.engine.pacing import Beside, PrefillPacer
from allod.engine.pictures import PictureShelf, Stage
from allod.engine.sequence import Job


class Looking:
    """Plans what is done about pictures.

    Args:
        sight: what pictures cost; None for a model that does not see.
        pacer: knows what a step may take.
    """

    def __init__(self, sight: Sight | None, pacer: PrefillPacer) -> None:
        self._shelf = PictureShelf(sight)
        self._pacer = pacer
        self._wanted: list[Wanted] = []
        self._flying: deque[PictureSpan] = deque()

    @property
    def held_bytes(self) -> int:
        """Tensors and features that are held or promised."""
        return self._shelf.used_bytes

    @property
    def seen_count(self) -> int:
        """How many pictures were looked at, from the start."""
        return self._shelf.seen_count

    def take_wanted(self) -> list[Wanted]:
        """The pictures that were found missing; each is named once."""
        wanted, self._wanted = self._wanted, []
        return wanted

    def supply(self, digest: Digest) -> bool:
        """What a tower reads of a picture is there; False when nobody waits for it."""
        return self._shelf.supply(digest)

    def waits(self, job: Job) -> bool:
        """Whether a prompt goes on with a picture that was asked for and is not there."""
        unread = job.unread_pictures
        return bool(unread) and self._shelf.stage(unread[0].digest) is Stage.ASKED

    def withdraw(self, job: Job) -> None:
        """Nobody waits for this prompt any more."""
        for span in job.unread_pictures:
            self._shelf.withdraw(span.digest)

    def ask(self, job: Job) -> tuple[Digest, ...]:
        """Ask for the picture that is read next, and for the one after it, to be on its way meanwhile.

        Returns:
            The pictures that the runner is to forget for them.
        """
        missing: list[Digest] = []
        leaving: list[Digest] = []
        kept: set[Digest] = set()
        ahead = job.unread_pictures[:2]
        for span in ahead:
            self._shelf.use(span.digest)
        for span in ahead:
            kept.add(span.digest)
            if self._shelf.stage(span.digest) is None:
                gone = self._shelf.ask(span, kept)
                if gone is None:
                    break
                leaving += gone
                missing.append(span.digest)
        if missing:
            self._wanted.append(Wanted(job.request, tuple(missing)))
        return tuple(leaving)

    def chunk(self, job: Job, most_tokens: int) -> Prefill | None:
        """The next part of a prompt; None where a picture comes first that was not looked at."""
        return job.next_chunk(most_tokens, self._shelf.is_seen, whole_spans=self._shelf.whole_spans)

    def encode(self, job: Job, beside: Beside) -> Encode | None:
        """Go on looking at the picture that a prompt goes on with, if its tensors are there."""
        span = next(iter(job.unread_pictures), None)
        if span is None or self._shelf.stage(span.digest) is not Stage.HELD:
            return None
        self._flying.append(span)
        tokens: tuple[TokenId, ...] = job.tokens[span.start : span.end]
        return Encode(span.digest, tokens, self._pacer.room_seconds(beside))

    def commit(self, encoded: Encoded) -> bool:
        """Take in how far a picture is; False when its step had nothing left to do for it."""
        span = self._flying.popleft()
        if not encoded.pieces_left:
            self._shelf.see(span)
        return encoded.pieces_done > 0
