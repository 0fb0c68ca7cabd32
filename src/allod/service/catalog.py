"""What the use cases need of a catalogue."""

from collections.abc import Sequence
from typing import Protocol

from allod.core.alias import Alias
from allod.core.card import ModelCard


class CardSource(Protocol):
    """Something that knows which models exist."""

    def cards(self) -> Sequence[ModelCard]:
        """Every model, by name."""
        ...

    def named(self, name: str) -> ModelCard:
        """The card of one model, by its key or an alias.

        Raises:
            ModelNotFound: the name is neither.
        """
        ...

    def alias(self, name: str) -> Alias | None:
        """The alias that a name is, unless it is a model's own."""
        ...

    def other_names(self) -> Sequence[Alias]:
        """Every alias."""
        ...
