"""The tree of what is kept, against a strict shelf that does what it says."""

from collections.abc import Sequence
from itertools import combinations

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from allod.core.ids import SequenceId, TenantId
from allod.core.step import Discard, Keep, LayerState, PrefixStep, Restore, Split
from allod.prefix.keys import Key, common
from allod.prefix.sizes import PrefixSizes
from allod.prefix.tree import PrefixTree
from allod.testing.history import START, History, Mark, folded
from allod.testing.models import tiny_facts
from allod.testing.prefixes import FakeShelf

FULL = LayerState("full", 1, bytes_per_token=10, fixed_bytes=0, window_tokens=None)
WINDOW = LayerState("sliding", 1, bytes_per_token=3, fixed_bytes=0, window_tokens=6)
RECURRENT = LayerState("recurrent", 1, bytes_per_token=0, fixed_bytes=40, window_tokens=None)
SOURCE = SequenceId(1)

KEYS = st.lists(st.integers(0, 2), min_size=1, max_size=24).map(tuple)
LEAST_SHARED = st.sampled_from([1, 2, 5, 16])
TENANTS = st.sampled_from([TenantId("a"), TenantId("b")])


def trail_of(key: Key) -> list[Mark]:
    trail = [START]
    for element in key:
        assert isinstance(element, int)
        digest = folded(trail[-1].digest, (element,))
        trail.append(Mark(digest, digest))
    return trail


def overlap(left: Key, right: Key) -> int:
    agreed = 0
    while agreed < min(len(left), len(right)) and left[agreed] == right[agreed]:
        agreed += 1
    return agreed


class TreeMachine(RuleBasedStateMachine):
    """Prompts are kept, found again and forgotten, in any order and any little room."""

    @initialize(
        layers=st.sampled_from([(FULL,), (FULL, WINDOW), (RECURRENT,)]),
        limit=st.integers(0, 900),
        least_shared=LEAST_SHARED,
    )
    def start(self, layers: tuple[LayerState, ...], limit: int, least_shared: int) -> None:
        self.limit, self.least_shared = limit, least_shared
        self.shelf = FakeShelf(tiny_facts(layers=layers))
        self.sizes = PrefixSizes.of(layers)
        self.tree = PrefixTree(self.sizes, lambda start, end: (end - start) * (1 + start / 10), least_shared)

    def obey(self, steps: Sequence[PrefixStep], trail: Sequence[Mark]) -> None:
        for step in steps:
            assert isinstance(step, Keep | Split | Discard)
            extra_bytes = 0
            if isinstance(step, Keep):
                self.shelf.keep(step, History(list(trail)))
            else:
                extra_bytes = self.shelf.obey(step)
            assert self.shelf.held_bytes + extra_bytes <= self.limit, "more is held than may be"

    @rule(tenant=TENANTS, key=KEYS)
    def keep(self, tenant: TenantId, key: Key) -> None:
        """What could be kept is found at once, wholly where there was room for all of it."""
        before = self.tree.walk(tenant, key).agreed
        self.obey(self.tree.keep(tenant, key, SOURCE, self.limit), trail_of(key))
        after = self.tree.walk(tenant, key)
        assert after.agreed >= before
        whole_bytes = self.sizes.segment_bytes(len(key)) + self.sizes.tip_bytes(len(key))
        if self.limit >= 3 * (whole_bytes + self.sizes.segment_bytes(24) + self.sizes.tip_bytes(24)):
            assert after.within(len(key), needs_tips=self.sizes.needs_tips)[0] == len(key)

    @rule(tenant=TENANTS, key=KEYS, limit=st.integers(0, 24))
    def go_on(self, tenant: TenantId, key: Key, limit: int) -> None:
        """What is found leads from the beginning of this very text to where it says, and no further."""
        walk = self.tree.walk(tenant, key)
        cached, path = walk.within(limit, needs_tips=self.sizes.needs_tips)
        assert walk.agreed - self.least_shared < walk.shared <= walk.agreed
        assert cached <= min(limit, walk.shared)
        if not self.sizes.needs_tips:
            assert cached == min(limit, walk.shared)
        if cached:
            parts = tuple((node.segment, min(node.end, cached) - node.start) for node in path)
            assert self.shelf.restored(Restore(SequenceId(9), parts)) == trail_of(key[:cached])
            self.tree.touch(path)

    @rule(tenant=TENANTS, key=KEYS, limit=st.integers(0, 900))
    def shrink(self, tenant: TenantId, key: Key, limit: int) -> None:
        """What is protected stays; the rest goes until the bytes are there."""
        path = self.tree.walk(tenant, key).path
        self.obey(self.tree.shrink(limit, path), ())
        assert self.tree.walk(tenant, key).path == path
        protected_bytes = sum(self.sizes.segment_bytes(len(node.elements)) for node in path)
        protected_bytes += sum(self.sizes.tip_bytes(node.end) for node in path if node.has_tip)
        assert self.tree.used_bytes <= max(limit, protected_bytes)

    @invariant()
    def books_are_right(self) -> None:
        if not hasattr(self, "tree"):
            return
        assert self.tree.used_bytes == self.shelf.held_bytes <= self.limit

    @invariant()
    def children_that_begin_alike_part_soon(self) -> None:
        if not hasattr(self, "tree"):
            return
        for node in self.tree.nodes():
            assert node.elements
            for first, alike in node.begun.items():
                assert alike
                for child in alike:
                    assert child.elements[0] == first
                    assert (child.parent, child.start) == (node, node.end)
                for left, right in combinations(alike, 2):
                    assert overlap(left.elements, right.elements) < self.least_shared


TreeMachine.TestCase.settings = hypothesis_settings(
    max_examples=min(80, hypothesis_settings().max_examples), stateful_step_count=40, deadline=None
)
TestTree = TreeMachine.TestCase


@given(KEYS, KEYS, st.integers(0, 24))
def test_common_counts_what_agrees(left: Key, right: Key, start: int):
    """It is the number of elements before the first that differs."""
    start = min(start, len(right))
    assert common(left, right, start) == overlap(left, right[start:])


@given(st.lists(KEYS, max_size=12), KEYS, LEAST_SHARED)
def test_with_room_the_longest_beginning_is_found(kept: list[Key], key: Key, least_shared: int):
    """What agrees is the longest beginning that the prompt shares with anything that was kept."""
    tree = PrefixTree(PrefixSizes(10), lambda start, end: end - start, least_shared)
    for each in kept:
        tree.keep(TenantId("a"), each, SOURCE, 10**9)
    assert tree.walk(TenantId("a"), key).agreed == max((overlap(each, key) for each in kept), default=0)
    assert tree.walk(TenantId("b"), key).agreed == 0
