"""What is kept of prompts, as trees of their tokens: one for each tenant, so that none learns of another's.

What is forgotten first is what is cheapest to read again for the bytes that it frees: the rule is
GreedyDual-Size-Frequency (Cherkasova 1998, HPL-98-69R1). A node is worth `floor + hits * seconds / bytes`;
what is worth least is forgotten, and its worth is the floor of whatever is used from then on, so that what
nobody comes back for sinks.

Prompts that go the same way share nodes. Two that part soon behind a node agree by chance, in the first digit
of a name: what they would share is less than what cutting a node in two costs, so that each has its own.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from allod.core.ids import SegmentId, SequenceId, TenantId
from allod.core.step import Discard, Keep, PrefixStep, Split
from allod.prefix.keys import Key, common
from allod.prefix.node import ROOT, Node
from allod.prefix.sizes import PrefixSizes

Seconds = Callable[[int, int], float]
"""What reading the positions from the first number to the second takes."""

LEAST_SHARED_TOKENS = 16
"""Of a node that prompts share a part of: to read fewer again costs less than to cut it."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How far a prompt goes along what is kept.

    Attributes:
        path: the nodes it agrees with, the last of them perhaps only at its beginning.
        agreed: index of the first position where it does not.
        shared: as far as it is worth going on from: to there, or to the start of a node of which only a few
            positions agree.
        is_fork: something else is kept that goes on from there.
        was_lost: what would come next was kept once.
    """

    path: tuple[Node, ...]
    agreed: int
    shared: int
    is_fork: bool
    was_lost: bool

    def within(self, limit: int, *, needs_tips: bool) -> "tuple[int, tuple[Node, ...]]":
        """Where a state can go on, at most at a limit, and the nodes that lead there."""
        nodes = list(self.path)
        end = min(self.shared, limit)
        while nodes and (nodes[-1].start >= end or (needs_tips and not _resumes(nodes[-1], end))):
            nodes.pop()
        if not nodes:
            return 0, ()
        return (nodes[-1].end if needs_tips else end), tuple(nodes)


def _resumes(node: Node, end: int) -> bool:
    return node.has_tip and node.end <= end


@dataclass(slots=True)
class _Keeping:
    """One call's share of the tree's work.

    Attributes:
        source: what holds what is kept.
        limit_bytes: most bytes that may be used.
        path: nodes that must stay.
        merges: whether the source has the positions of nodes before what is new as well.
        steps: what the runner is to do so far.
    """

    source: SequenceId
    limit_bytes: int
    path: set[Node]
    merges: bool = True
    steps: list[PrefixStep] = field(default_factory=list[PrefixStep])


class PrefixTree:
    """Decides what is kept; the steps it returns are for the runner, in their order.

    Args:
        sizes: bytes of what is kept.
        seconds: what reading takes.
        least_shared_tokens: children of a node agree in fewer positions; 1 shares whatever agrees.

    Attributes:
        used_bytes: of all that is kept.
    """

    def __init__(
        self, sizes: PrefixSizes, seconds: Seconds, least_shared_tokens: int = LEAST_SHARED_TOKENS
    ) -> None:
        self.used_bytes = 0
        self._least_shared = least_shared_tokens
        self._sizes = sizes
        self._seconds = seconds
        self._roots: dict[TenantId, Node] = {}
        self._names = (SegmentId(number) for number in count(ROOT + 1))
        self._floor = 0.0

    def nodes(self) -> Iterator[Node]:
        """Every node but the roots, parents first."""
        stack = [child for root in self._roots.values() for child in root.children]
        while stack:
            node = stack.pop()
            yield node
            stack += node.children

    def walk(self, tenant: TenantId, key: Key) -> Walk:
        """How far a prompt goes along what is kept for its tenant."""
        root = self._roots.get(tenant)
        if root is None:
            return Walk((), 0, 0, is_fork=False, was_lost=False)
        last, agreed = _furthest(root, key)
        is_within = agreed < last.end
        if agreed == len(key) or (is_within and agreed - last.start >= self._least_shared):
            return Walk(last.path, agreed, agreed, is_fork=True, was_lost=False)
        before = last.parent if is_within else last  # what a piece of its own would stand behind
        assert before is not None
        was_lost = before.has_lost(key, self._least_shared)
        return Walk(last.path, agreed, before.end, bool(before.begun), was_lost)

    def touch(self, path: Sequence[Node]) -> None:
        """A prompt went this way, and goes on from the last of these nodes."""
        for node in path:
            node.hits += 1
            node.floor = self._floor
        path[-1].resumed += 1

    def keep(
        self, tenant: TenantId, key: Key, source: SequenceId, limit_bytes: int, *, merges: bool = True
    ) -> list[PrefixStep]:
        """Keep all that a source has read, as far as it is not kept already.

        Args:
            tenant: whose it is.
            key: what the source has read.
            source: a prompt that is read, or a row.
            limit_bytes: most bytes that may be used at any time.
            merges: whether the source has what is kept already as well, so that pieces can become one.

        Returns:
            What the runner is to do; nothing where there is no room.
        """
        walk = self.walk(tenant, key)
        if walk.agreed == len(key) and self._is_held(walk):
            return []
        keeping = _Keeping(source, limit_bytes, set(walk.path), merges)
        last = walk.path[-1] if walk.path else None
        if walk.shared < walk.agreed:
            keeping.path.discard(walk.path[-1])
            last = walk.path[-1].parent
        elif last is not None and last.end > walk.agreed:
            last = self._split(last, walk.agreed, keeping)
            if last is None:
                return []
        if walk.agreed < len(key):
            self._add_leaf(last or self._root(tenant), key, keeping)
        elif last is not None:
            self._add_tip(last, keeping)
        return keeping.steps

    def shrink(self, limit_bytes: int, protected: Collection[Node] = ()) -> list[PrefixStep]:
        """Forget what is worth least until no more bytes than this are used, or only protected ones."""
        keeping = _Keeping(SequenceId(0), limit_bytes, set(protected))
        self._forget_until(limit_bytes, keeping)
        return keeping.steps

    def _is_held(self, walk: Walk) -> bool:
        if not self._sizes.needs_tips:
            return True
        return bool(walk.path) and walk.path[-1].has_tip and walk.path[-1].end == walk.agreed

    def _root(self, tenant: TenantId) -> Node:
        return self._roots.setdefault(tenant, Node(ROOT, (), 0))

    def _split(self, node: Node, position: int, keeping: "_Keeping") -> Node | None:
        """Cut a node in two at a position within it; returns the head, or None where there is no room.

        Both halves are copies, or forgetting one of them would free nothing.
        """
        if not self._make_room(self._sizes.segment_bytes(len(node.elements)), keeping):
            return None
        parent, tokens = node.leave(), position - node.start
        head = Node(next(self._names), node.elements[:tokens], node.start, hits=node.hits, floor=node.floor)
        tail = Node(next(self._names), node.elements[tokens:], position, has_tip=node.has_tip)
        tail.hits, tail.floor, tail.lost, tail.begun = node.hits, node.floor, node.lost, node.begun
        tail.resumed = node.resumed
        for child in tail.children:
            child.parent = tail
        parent.adopt(head, self._least_shared)
        head.adopt(tail, self._least_shared)
        keeping.steps.append(Split(node.segment, tokens, head.segment, tail.segment))
        keeping.path.discard(node)
        keeping.path.add(head)
        return head

    def _add_tip(self, node: Node, keeping: "_Keeping") -> None:
        size_bytes = self._sizes.tip_bytes(node.end)
        if self._make_room(size_bytes, keeping):
            node.has_tip = True
            self.used_bytes += size_bytes
            keeping.steps.append(Keep(node.segment, keeping.source, node.end, node.end, tip=True))

    def _add_leaf(self, parent: Node, key: Key, keeping: "_Keeping") -> None:
        """Keep what comes behind a node, together with the nodes before it that are worth merging."""
        needs_tip = self._sizes.needs_tips
        merged = [] if needs_tip or not keeping.merges else self._mergeable(parent, len(key))
        start = merged[-1].start if merged else parent.end
        if merged and self.used_bytes + self._sizes.segment_bytes(len(key) - start) > keeping.limit_bytes:
            merged, start = [], parent.end
        end = len(key) if needs_tip else min(len(key), start + self._fitting(keeping))
        leaf = Node(SegmentId(0), key[start:end], start, has_tip=needs_tip, hits=1, floor=self._floor)
        if not leaf.elements or not self._make_room(self._bytes_of(leaf), keeping):
            return
        leaf.segment = next(self._names)
        keeping.steps.append(Keep(leaf.segment, keeping.source, start, end, tip=needs_tip))
        self.used_bytes += self._bytes_of(leaf)
        for node in merged:
            parent = node.leave()
            leaf.hits = max(leaf.hits, node.hits)
            self._let_go(node, keeping.steps)
        parent.adopt(leaf, self._least_shared)

    def _fitting(self, keeping: "_Keeping") -> int:
        """How many positions could be kept beside the path they follow; the first of a prompt serve most."""
        spare_bytes = keeping.limit_bytes - sum(map(self._bytes_of, keeping.path))
        return max(0, spare_bytes) // max(1, self._sizes.bytes_per_token)

    def _mergeable(self, node: Node, end: int) -> list[Node]:
        """The nodes up from this one that a leaf behind it takes in: those no longer than what is new.

        So a conversation of many turns is kept in few pieces, and each position is copied few times. With
        tips, nodes end where a state can go on, and stay apart.
        """
        merged: list[Node] = []
        while node.parent is not None and len(list(node.children)) == len(merged[-1:]):
            if len(node.elements) > end - node.end:
                break
            merged.append(node)
            node = node.parent
        return merged

    def _make_room(self, size_bytes: int, keeping: "_Keeping") -> bool:
        """Forget until so many more bytes fit; False, and nothing is forgotten, where they cannot."""
        path_bytes = sum(map(self._bytes_of, keeping.path))
        if path_bytes + size_bytes > keeping.limit_bytes:
            return False
        self._forget_until(keeping.limit_bytes - size_bytes, keeping)
        return True

    def _forget_until(self, limit_bytes: int, keeping: "_Keeping") -> None:
        while self.used_bytes > limit_bytes:
            victim = min(self._victims(keeping.path), key=lambda found: found[0], default=None)
            if victim is None:
                return
            self._floor, node, tip_only = victim
            if tip_only:
                node.has_tip = False
                self.used_bytes -= self._sizes.tip_bytes(node.end)
                keeping.steps.append(Discard(node.segment, tip_only=True))
            else:
                self._forget(node, keeping.steps)

    def _victims(self, protected: Collection[Node]) -> Iterator[tuple[float, Node, bool]]:
        """What can be forgotten next, and what it is worth: leaves, and tips of other nodes."""
        for node in self.nodes():
            if node in protected:
                continue
            seconds = node.hits * self._seconds(node.start, node.end)
            if node.is_leaf:
                yield node.floor + seconds / max(1, self._bytes_of(node)), node, False
            elif node.has_tip:
                yield node.floor + seconds / max(1, self._sizes.tip_bytes(node.end)), node, True

    def _bytes_of(self, node: Node) -> int:
        tip_bytes = self._sizes.tip_bytes(node.end) if node.has_tip else 0
        return self._sizes.segment_bytes(len(node.elements)) + tip_bytes

    def _forget(self, node: Node, steps: list[PrefixStep]) -> None:
        node.leave().lose(node, self._least_shared)
        self._let_go(node, steps)

    def _let_go(self, node: Node, steps: list[PrefixStep]) -> None:
        self.used_bytes -= self._bytes_of(node)
        steps.append(Discard(node.segment))


def _furthest(root: Node, key: Key) -> tuple[Node, int]:
    """The node that a prompt agrees with to the furthest position, and that position.

    Where several children begin alike, each is looked at.
    """
    last, agreed = root, 0
    open_nodes = [root]
    while open_nodes:
        node = open_nodes.pop()
        for child in node.begun.get(key[node.end], ()) if node.end < len(key) else ():
            end = node.end + common(child.elements, key, node.end)
            if end > agreed or (end == agreed and end == child.end):
                last, agreed = child, end
            if end == child.end:
                open_nodes.append(child)
    return last, agreed
