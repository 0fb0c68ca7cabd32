"""List the models that can be asked for, and where each one is."""

from allod.core.card import ModelCard
from allod.core.hosting import HostedModel
from allod.core.ids import ModelName
from allod.core.ports import ModelHost
from allod.service.catalog import CardSource

Listed = tuple[ModelCard, HostedModel | None]
"""A model of the catalogue, and its worker where it has had one since the start."""


class ModelService:
    """The catalogue, seen together with what is in memory."""

    def __init__(self, catalog: CardSource, host: ModelHost) -> None:
        self._catalog = catalog
        self._host = host

    def all(self) -> tuple[Listed, ...]:
        """Every model of the catalogue, loaded or not; answers at once."""
        hosted = {model.name: model for model in self._host.hosted()}
        return tuple((card, hosted.get(card.name)) for card in self._catalog.cards())

    def aliases(self) -> tuple[tuple[str, Listed], ...]:
        """Every alias that is one name, with the model that answers it, where that is here."""
        known = {listed[0].name: listed for listed in self.all()}
        plain = (alias for alias in self._catalog.other_names() if not alias.is_pattern)
        return tuple((alias.name, known[alias.model]) for alias in plain if alias.model in known)

    def one(self, name: str) -> Listed:
        """One model.

        Raises:
            ModelNotFound: the name is not a key of the catalogue.
        """
        card = self._catalog.named(name)
        return card, next((model for model in self._host.hosted() if model.name == card.name), None)

    def default(self) -> ModelName | None:
        """The model to use when a request names none: the only one that generates text, else nothing."""
        names = [card.name for card in self._catalog.cards() if card.purpose == "text"]
        return names[0] if len(names) == 1 else None
