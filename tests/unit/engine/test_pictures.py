"""The shelf: what is promised, what is held, and what leaves first."""

from allod.core.pictures import Digest, PictureSpan, Sight
from allod.engine.pictures import PictureShelf, Stage

CACHE = 100


def span(number: int, *, tokens: int = 5, size: int = 30) -> PictureSpan:
    return PictureSpan(0, tokens, Digest(bytes([number] * 32)), size)


def shelf(cache_bytes: int = CACHE, *, whole_spans: bool = False) -> PictureShelf:
    return PictureShelf(Sight(0, 2, 1.0, 0.0, cache_bytes, whole_spans))


A, B, C, D = (span(number) for number in range(4))


def hold(at: PictureShelf, picture: PictureSpan) -> None:
    assert at.ask(picture, {picture.digest}) == []
    assert at.supply(picture.digest)


def see(at: PictureShelf, picture: PictureSpan) -> None:
    hold(at, picture)
    at.see(picture)


def test_a_picture_goes_from_asked_to_held_to_seen():
    """Tensors and features are promised together; once it is seen, the tensors' bytes are free again."""
    at = shelf()
    assert (at.stage(A.digest), at.used_bytes) == (None, 0)
    assert at.ask(A, {A.digest}) == []
    assert (at.stage(A.digest), at.used_bytes) == (Stage.ASKED, 40)
    assert at.supply(A.digest)
    assert (at.stage(A.digest), at.used_bytes) == (Stage.HELD, 40)
    assert not at.is_seen(A.digest)
    at.see(A)
    assert (at.stage(A.digest), at.used_bytes, at.seen_count) == (Stage.SEEN, 10, 1)
    assert at.is_seen(A.digest)


def test_only_what_was_asked_for_is_taken():
    """A picture that nobody asked for, or that is there already, is turned away."""
    at = shelf()
    assert not at.supply(A.digest)
    hold(at, A)
    assert not at.supply(A.digest)
    at.see(A)
    assert not at.supply(A.digest)
    assert at.used_bytes == 10


def test_what_was_withdrawn_takes_no_room():
    """A promise can be taken back; what is held or seen stays, for whoever asks next."""
    at = shelf()
    at.ask(A, {A.digest})
    at.withdraw(A.digest)
    assert (at.stage(A.digest), at.used_bytes) == (None, 0)
    assert not at.supply(A.digest)
    hold(at, B)
    see(at, C)
    for picture in (A, B, C):
        at.withdraw(picture.digest)
    assert (at.stage(B.digest), at.stage(C.digest)) == (Stage.HELD, Stage.SEEN)


def test_the_one_used_longest_ago_leaves_first():
    """As many leave as are needed, in that order, and they are named for the runner."""
    at = shelf(70)
    for picture in (A, B, C):
        see(at, picture)
    at.use(A.digest)
    assert at.ask(D, {D.digest}) == []
    assert at.supply(D.digest)
    big = span(9, tokens=5, size=40)
    assert at.ask(big, {big.digest}) == [B.digest, C.digest, A.digest, D.digest]


def test_no_more_leave_than_must():
    """What still fits beside the newcomer stays."""
    at = shelf(70)
    for picture in (A, B, C):
        see(at, picture)
    wide = span(9, tokens=5, size=40)
    assert at.ask(wide, {wide.digest}) == [A.digest]
    assert at.used_bytes == 70


def test_a_promise_that_leaves_is_not_named():
    """The runner holds nothing of what was only asked for, so there is nothing to forget."""
    at = shelf(40)
    at.ask(A, {A.digest})
    assert at.ask(B, {B.digest}) == []
    assert (at.stage(A.digest), at.used_bytes) == (None, 40)


def test_what_is_kept_does_not_leave():
    """Without room beside those that are kept, nothing is promised and nothing leaves."""
    at = shelf(70)
    hold(at, A)
    assert at.ask(B, {A.digest, B.digest}) is None
    assert (at.stage(A.digest), at.stage(B.digest), at.used_bytes) == (Stage.HELD, None, 40)
    at.see(A)
    assert at.ask(B, {A.digest, B.digest}) == []


def test_what_was_forgotten_while_it_was_looked_at_stays_forgotten():
    """The step in flight may finish a picture whose room was given away; asked for again, it must come."""
    at = shelf(40)
    hold(at, A)
    assert at.ask(B, {B.digest}) == [A.digest]
    at.see(A)
    assert at.stage(A.digest) is None
    at.withdraw(B.digest)
    assert at.ask(A, {A.digest}) == []
    at.see(A)
    assert (at.stage(A.digest), at.seen_count) == (Stage.ASKED, 0)


def test_seeing_twice_counts_once():
    """The step behind the last piece finds nothing left to do."""
    at = shelf()
    see(at, A)
    at.see(A)
    assert (at.used_bytes, at.seen_count) == (10, 1)


def test_whether_pictures_are_read_whole_is_the_models_own():
    """As its sight says; without sight there is nothing to read whole."""
    assert shelf(whole_spans=True).whole_spans
    assert not shelf().whole_spans
    assert not PictureShelf(None).whole_spans
