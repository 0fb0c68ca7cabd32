"""One kept segment, and where it stands among the others."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from allod.core.ids import SegmentId
from allod.prefix.keys import Element, Key

ROOT = SegmentId(0)
"""What a tree starts from; it names no segment of a runner."""

MOST_LOST = 4096
"""Names of forgotten children that a node remembers; then it starts anew."""


@dataclass(slots=True, eq=False)
class Node:
    """A segment that was kept.

    Attributes:
        segment: its name.
        elements: what stands at its positions.
        start: index of its first position.
        parent: what comes before it; None for the root of a tree.
        begun: what comes after it, by first elements. Those that begin alike soon part; see `PrefixTree`.
        has_tip: a state can go on behind it, in models that need a tip for that.
        hits: how often a prompt went this way, when it was kept included.
        resumed: how often one went on from its end.
        floor: what the tree had forgotten last when a prompt last went this way; see `PrefixTree`.
        lost: first elements of children that were forgotten, as many as tell them apart.
    """

    segment: SegmentId
    elements: Key
    start: int
    parent: "Node | None" = None
    begun: "dict[Element, list[Node]]" = field(default_factory=dict[Element, list["Node"]])
    has_tip: bool = False
    hits: int = 0
    resumed: int = 0
    floor: float = 0.0
    lost: set[Key] = field(default_factory=set[Key])

    @property
    def end(self) -> int:
        """Index after its last position."""
        return self.start + len(self.elements)

    @property
    def is_leaf(self) -> bool:
        """Whether nothing kept comes after it; the root is none."""
        return not self.begun and self.parent is not None

    @property
    def children(self) -> "Iterator[Node]":
        """All that comes after it."""
        return (child for alike in self.begun.values() for child in alike)

    @property
    def path(self) -> "tuple[Node, ...]":
        """The nodes that lead here from the root, which is none of them, and this one."""
        nodes: list[Node] = []
        node = self
        while node.parent is not None:
            nodes.append(node)
            node = node.parent
        return tuple(reversed(nodes))

    def adopt(self, child: "Node", told_by: int) -> None:
        """Put a child in its place; so many of its first elements tell it from others."""
        child.parent = self
        self.begun.setdefault(child.elements[0], []).append(child)
        self.lost.discard(child.elements[:told_by])

    def leave(self) -> "Node":
        """Step out of the tree; returns where it was."""
        parent, first = self.parent, self.elements[0]
        assert parent is not None
        parent.begun[first].remove(self)
        if not parent.begun[first]:
            del parent.begun[first]
        return parent

    def lose(self, child: "Node", told_by: int) -> None:
        """Remember a child that was forgotten."""
        if len(self.lost) >= MOST_LOST:
            self.lost.clear()
        self.lost.add(child.elements[:told_by])

    def has_lost(self, key: Key, told_by: int) -> bool:
        """Whether what a prompt goes on with behind it was kept once."""
        return any(key[self.end : self.end + length] in self.lost for length in range(1, told_by + 1))
