"""What the use cases need of a catalogue."""

from collections.abc import Sequence
from typing import Protocol

from allod.core.card import ModelCard


class CardSource(Protocol):
    """Something that knows which models exist."""

    def cards(self) -> Sequence[ModelCard]:
        """Every model, by name."""
        ...

    def named(self, name: str) -> ModelCard:
        """The card of one model.

        Raises:
            ModelNotFound: the name is not a key of the catalogue.
        """
        ...
