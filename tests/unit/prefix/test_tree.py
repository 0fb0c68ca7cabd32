"""What is kept in which pieces, and what is forgotten first."""

from math import log2

from allod.core.ids import SequenceId, TenantId
from allod.core.pictures import Digest, PictureSpan
from allod.core.step import Discard, Keep, Split
from allod.prefix.keys import Key, key_of, outside
from allod.prefix.sizes import PrefixSizes
from allod.prefix.tree import PrefixTree

TENANT = TenantId("t")
SOURCE = SequenceId(1)
ROOM = 10**9


def tree(each_bytes: int = 10) -> PrefixTree:
    return PrefixTree(PrefixSizes(each_bytes), lambda start, end: float(end - start))


def text(length: int, first: int = 0) -> Key:
    return (first, *range(1000, 1000 + length - 1))


def found(kept: PrefixTree, key: Key) -> int:
    return kept.walk(TENANT, key).agreed


def test_a_growing_conversation_stays_in_few_pieces_and_is_copied_few_times():
    """Of n turns, at most about log n pieces are there, and a token is copied as often."""
    kept, turns, turn_tokens = tree(), 100, 20
    copied = 0
    for turn in range(1, turns + 1):
        steps = kept.keep(TENANT, text(turn * turn_tokens), SOURCE, ROOM)
        copied += sum(step.end - step.start for step in steps if isinstance(step, Keep))
        assert len(list(kept.nodes())) <= 1 + log2(turn)
    assert copied <= turns * turn_tokens * (1 + log2(turns))
    assert kept.used_bytes == turns * turn_tokens * 10


def test_a_shared_beginning_is_kept_once():
    """Many prompts behind one long instruction cost the instruction once."""
    kept = tree()
    for number in range(20):
        kept.keep(TENANT, (*text(500), 5000 + number, 1, 2), SOURCE, ROOM)
    assert kept.used_bytes == 10 * (500 + 20 * 3)


def test_what_nobody_comes_back_for_goes_before_what_is_used():
    """One prompt after another that is never asked again does not push out a beginning that is."""
    kept, used = tree(), text(50)
    kept.keep(TENANT, used, SOURCE, 2000)
    for number in range(100):
        kept.keep(TENANT, text(30, first=10 + number), SOURCE, 2000)
        kept.touch(kept.walk(TENANT, used).path)
    assert found(kept, used) == 50


def test_what_is_used_no_more_goes_in_the_end():
    """Having been used often does not keep anything for ever."""
    kept, old = tree(), text(50)
    kept.keep(TENANT, old, SOURCE, 2000)
    for _ in range(20):
        kept.touch(kept.walk(TENANT, old).path)
    for number in range(2000):
        kept.keep(TENANT, text(30, first=10 + number), SOURCE, 2000)
    walk = kept.walk(TENANT, old)
    assert (walk.agreed, walk.was_lost) == (0, True)


def test_a_long_prompt_is_kept_as_far_as_there_is_room():
    """Its beginning serves, and what is there of it is not given up for its end."""
    kept = tree()
    kept.keep(TENANT, text(80), SOURCE, 500)
    assert found(kept, text(80)) == 50
    steps = kept.keep(TENANT, text(80), SOURCE, 500)
    assert steps == []


def test_forgetting_takes_ends_before_what_they_follow():
    """A piece that others follow outlives them: without it they would serve nobody."""
    kept = tree()
    kept.keep(TENANT, text(40), SOURCE, ROOM)
    kept.keep(TENANT, (*text(40), 1, 2, 3), SOURCE, ROOM)
    kept.keep(TENANT, (*text(40), 7, 8, 9), SOURCE, ROOM)
    steps = kept.shrink(400)
    assert sum(isinstance(step, Discard) for step in steps) == 2
    assert found(kept, text(40)) == 40


def test_pictures_are_told_apart_by_what_they_show():
    """The same tokens for two pictures are two texts, and a prompt never goes on within a picture."""
    red, blue = Digest(b"r" * 32), Digest(b"b" * 32)
    tokens = (1, 2, 9, 9, 9, 9, 3)
    first = key_of(tokens, [PictureSpan(2, 4, red, 0)])
    second = key_of(tokens, [PictureSpan(2, 4, blue, 0)])
    kept = tree()
    kept.keep(TENANT, first, SOURCE, ROOM)
    assert (found(kept, first), found(kept, second), found(kept, tokens)) == (7, 2, 2)
    assert [outside(place, [PictureSpan(2, 4, red, 0)]) for place in range(8)] == [0, 1, 2, 2, 2, 2, 6, 7]


def test_prompts_that_part_by_chance_are_not_cut_in_two():
    """What begins with the same few tokens behind an instruction has a piece of its own; more is shared."""
    kept = tree()
    for number in range(20):
        steps = kept.keep(TENANT, (*text(50), number % 3, number, *text(30, first=7)), SOURCE, ROOM)
        assert sum(isinstance(step, Split) for step in steps) == (number == 1)
    assert len(list(kept.nodes())) == 1 + 20
    walk = kept.walk(TENANT, (*text(50), 2, 5, *text(5, first=7), 99))
    assert (walk.agreed, walk.shared, walk.is_fork, walk.was_lost) == (57, 50, True, False)
    assert kept.walk(TENANT, (*text(50), 2, 5, *text(20, first=7), 99)).shared == 72
    assert kept.walk(TENANT, (*text(50), 2, 5)).shared == 52, "all that there is of a prompt is used"


def test_what_was_forgotten_beside_what_begins_alike_is_called_so():
    """A prompt is told from another of which only the first tokens are the same."""
    kept, first, second = tree(), text(50), (*text(5), *text(45, first=3))
    kept.keep(TENANT, first, SOURCE, ROOM)
    kept.keep(TENANT, second, SOURCE, ROOM)
    kept.touch(kept.walk(TENANT, second).path)
    kept.shrink(500)
    for asked, is_lost in ((first, True), ((*text(7), 1, 1, 1), False), (second, False)):
        assert kept.walk(TENANT, asked).was_lost == is_lost
