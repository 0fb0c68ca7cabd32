"""A catalogue in memory."""

from collections.abc import Sequence

from allod.core.alias import Alias
from allod.core.card import ModelCard
from allod.core.errors import ModelNotFound


class MemoryCatalog:
    """What the use cases need of a catalogue, with cards and aliases given at the start."""

    def __init__(self, *cards: ModelCard, aliases: Sequence[Alias] = ()) -> None:
        self._cards = cards
        self._aliases = tuple(aliases)

    def cards(self) -> Sequence[ModelCard]:
        """Every card."""
        return self._cards

    def named(self, name: str) -> ModelCard:
        """The card of a model, by its name or an alias.

        Raises:
            ModelNotFound: the name is neither.
        """
        alias = self.alias(name)
        wanted = alias.model if alias else name
        for card in self._cards:
            if card.name == wanted:
                return card
        raise ModelNotFound(f"there is no model {name!r} here", param="model")

    def alias(self, name: str) -> Alias | None:
        """The alias of this name."""
        return next((alias for alias in self._aliases if alias.name == name), None)

    def other_names(self) -> Sequence[Alias]:
        """Every alias."""
        return self._aliases
