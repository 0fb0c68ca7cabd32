"""What kept states take, by kind of layer."""

from collections.abc import Sequence
from dataclasses import dataclass

from allod.core.step import LayerState


@dataclass(frozen=True, slots=True)
class PrefixSizes:
    """Bytes of kept segments and tips.

    Attributes:
        bytes_per_token: entries of the growing layers for one position.
        others: the layers whose state stands for one position only; none where no tips are needed.
    """

    bytes_per_token: int
    others: tuple[LayerState, ...] = ()

    @classmethod
    def of(cls, layers: Sequence[LayerState]) -> "PrefixSizes":
        """The sizes of a model with these layers."""
        growing = sum(layer.bytes_per_token for layer in layers if layer.is_growing)
        return cls(growing, tuple(layer for layer in layers if not layer.is_growing))

    @property
    def needs_tips(self) -> bool:
        """Whether a state can go on only where a tip is."""
        return bool(self.others)

    @property
    def cuts_tips(self) -> bool:
        """Whether a tip can be cut out of what was read beyond it: windows hold their last chunk whole."""
        return all(layer.window_tokens is not None for layer in self.others)

    def tip_bytes(self, position: int) -> int:
        """What the other layers hold once a prompt was read up to a position."""
        return sum(layer.held_bytes(position) for layer in self.others)

    def segment_bytes(self, tokens: int) -> int:
        """What the growing layers hold for so many positions."""
        return self.bytes_per_token * tokens
