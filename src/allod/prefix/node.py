"""One kept segment, and where it stands among the others."""

from dataclasses import dataclass, field

from allod.core.ids import SegmentId
from allod.prefix.keys import Element, Key

ROOT = SegmentId(0)
"""What a tree starts from; it names no segment of a runner."""


@dataclass(slots=True, eq=False)
class Node:
    """A segment that was kept.

    Attributes:
        segment: its name.
        elements: what stands at its positions.
        start: index of its first position.
        parent: what comes before it; None for the root of a tree.
        children: what comes after it, by their first elements. No two begin alike.
        has_tip: a state can go on behind it, in models that need a tip for that.
        hits: how often a prompt went this way, when it was kept included.
        resumed: how often one went on from its end.
        floor: what the tree had forgotten last when a prompt last went this way; see `PrefixTree`.
        lost: first elements of children that were forgotten.
    """

    segment: SegmentId
    elements: Key
    start: int
    parent: "Node | None" = None
    children: "dict[Element, Node]" = field(default_factory=dict[Element, "Node"])
    has_tip: bool = False
    hits: int = 0
    resumed: int = 0
    floor: float = 0.0
    lost: set[Element] = field(default_factory=set[Element])

    @property
    def end(self) -> int:
        """Index after its last position."""
        return self.start + len(self.elements)

    @property
    def is_leaf(self) -> bool:
        """Whether nothing kept comes after it; the root is none."""
        return not self.children and self.parent is not None

    def adopt(self, child: "Node") -> None:
        """Put a child in its place."""
        child.parent = self
        self.children[child.elements[0]] = child
        self.lost.discard(child.elements[0])

    def leave(self) -> None:
        """Step out of the tree; the parent remembers that something was there."""
        assert self.parent is not None
        del self.parent.children[self.elements[0]]
        self.parent.lost.add(self.elements[0])
