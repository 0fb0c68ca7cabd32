"""Pairing a model with a smaller one that drafts for it: both must mean the same by a token.

A wrong pairing could not make a wrong answer, since the model has the last word on each token, but one
without a common vocabulary could never be right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import msgspec

from allod.core.card import ModelCard
from allod.core.errors import ConfigurationError
from allod.core.ids import ModelName
from allod.registry.card import added_tokens
from allod.registry.catalog import Catalog
from allod.registry.jsonfile import child, integer, read_object
from allod.registry.policy import TOKENIZER_FILE

_MOST_OTHER_TOKENS = 128
"""So many may be known to one of the two alone: marks for pictures or tools that the other was not taught."""

_WORTHWHILE_SHARE = 0.5
_WAY_OUT = "take a smaller model of the same family and generation"


@dataclass(frozen=True, slots=True)
class Pairing:
    """What became of a pairing.

    Attributes:
        card: of the model, as it is now.
        warning: why it may not be of use; empty where nothing speaks against it.
    """

    card: ModelCard
    warning: str = ""


def pair(catalog: Catalog, name: str, draft: str) -> Pairing:
    """Let a model draft for another from its next load on.

    Args:
        catalog: has both.
        name: the model's key.
        draft: the draft model's key.

    Raises:
        ModelNotFound: one of them is not here.
        ConfigurationError: they cannot work together; says why, and what would.
    """
    card, other = catalog.card(name), catalog.card(draft)
    for each in (card, other):
        if each.purpose != "text":
            raise ConfigurationError(f"{each.name} embeds text and generates none; {_WAY_OUT}")
    difference = _difference(_tokens(catalog, card), _tokens(catalog, other))
    if difference:
        raise ConfigurationError(
            f"{other.name} has another vocabulary than {card.name}: {difference}; {_WAY_OUT}"
        )
    paired = msgspec.structs.replace(card, draft=other.name)
    catalog.change(paired)
    return Pairing(paired, _doubt(card, other))


def unpair(catalog: Catalog, name: str) -> ModelCard:
    """Let nobody draft for a model.

    Raises:
        ModelNotFound: it is not here.
    """
    card = msgspec.structs.replace(catalog.card(name), draft=None)
    catalog.change(card)
    return card


def forget_draft(catalog: Catalog, draft: str) -> tuple[ModelName, ...]:
    """Unpair all models that a model drafts for, which leaves; their names."""
    names = tuple(card.name for card in catalog.cards() if card.draft == draft)
    for name in names:
        unpair(catalog, name)
    return names


def _doubt(card: ModelCard, draft: ModelCard) -> str:
    if draft.weights_bytes <= _WORTHWHILE_SHARE * card.weights_bytes:
        return ""
    return (
        f"{draft.name} has {draft.weights_bytes / card.weights_bytes:.0%} of the weights of {card.name}, "
        "and will hardly make it faster; where it does not, it is not used"
    )


def _tokens(catalog: Catalog, card: ModelCard) -> Mapping[int, str]:
    """The tokens of a model by their ids."""
    path = catalog.folder(card) / TOKENIZER_FILE
    vocabulary = child(read_object(path), "model").get("vocab")
    if isinstance(vocabulary, list):  # of a unigram model: pieces with their scores
        pieces = cast("list[list[object]]", vocabulary)
        found = {place: str(piece[0]) for place, piece in enumerate(pieces)}
    else:
        places = cast("dict[str, object]", vocabulary or {}).items()
        found = {number: text for text, place in places if (number := integer(place)) is not None}
    return {**found, **{place: text for text, place in added_tokens(path).items()}}


def _difference(tokens: Mapping[int, str], others: Mapping[int, str]) -> str:
    """What keeps the tokens of two models apart, in words; empty where they are the same in what matters."""
    sizes = f"{len(others)} tokens and {len(tokens)}"
    both = sorted(tokens.keys() & others.keys())
    place = next((place for place in both if tokens[place] != others[place]), None)
    if place is not None:
        return f"{sizes}, and token {place} is {others[place]!r} in one and {tokens[place]!r} in the other"
    alone = len(tokens.keys() ^ others.keys())
    return f"{sizes}, of which only one has {alone}" if alone > _MOST_OTHER_TOKENS else ""
