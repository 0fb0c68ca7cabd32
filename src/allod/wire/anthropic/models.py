"""The catalogue as Anthropic's list of models."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from allod.core.card import ModelCard
from allod.core.errors import refused
from allod.core.hosting import HostedModel
from allod.wire.openai.models import context_tokens
from allod.wire.refusal import shown_name

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000

Listed = tuple[ModelCard, HostedModel | None]
Body = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of the list is asked for: at most so many, after or before the model named."""

    limit: int = DEFAULT_LIMIT
    after: str | None = None
    before: str | None = None


def decode_page(query: Mapping[str, str]) -> Page:
    """The page that a query asks for.

    Raises:
        InvalidRequest: a parameter is wrong.
    """
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= len(str(MAX_LIMIT))):
        raise refused("limit", "Input should be a valid integer")
    if not 1 <= int(limit) <= MAX_LIMIT:
        raise refused("limit", f"Input should be from 1 to {MAX_LIMIT}")
    after, before = query.get("after_id") or None, query.get("before_id") or None
    if after and before:
        raise refused("before_id", "before_id and after_id cannot both be given")
    return Page(int(limit), after, before)


def model_body(card: ModelCard, hosted: HostedModel | None, name: str | None = None) -> dict[str, object]:
    """One model, under an alias of it if `name` is one. `max_input_tokens` is what this machine serves."""
    context = context_tokens(card, hosted)
    return {
        "type": "model",
        "id": name or card.name,
        "display_name": name or card.name,
        "created_at": datetime.fromtimestamp(card.created, UTC),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }


def model_list(models: Iterable[Listed], aliases: Iterable[tuple[str, Listed]], page: Page) -> bytes:
    """Body of GET /v1/models for clients that speak Anthropic; aliases are models like others.

    Raises:
        InvalidRequest: the page starts at a model that is not in the list.
    """
    bodies = [model_body(card, hosted) for card, hosted in models]
    bodies += [model_body(card, hosted, name) for name, (card, hosted) in aliases]
    shown, has_more = _cut(bodies, page)
    return msgspec.json.encode(
        {
            "data": shown,
            "has_more": has_more,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
        }
    )


def _cut(bodies: Sequence[Body], page: Page) -> tuple[Sequence[Body], bool]:
    """The part of the list that a page shows, and whether more lies beyond it."""
    if page.before is not None:
        ahead = bodies[: _place(bodies, page.before, "before_id")]
        return ahead[-page.limit :], len(ahead) > page.limit
    rest = bodies if page.after is None else bodies[_place(bodies, page.after, "after_id") + 1 :]
    return rest[: page.limit], len(rest) > page.limit


def _place(bodies: Sequence[Body], name: str, field: str) -> int:
    for place, body in enumerate(bodies):
        if body["id"] == name:
            return place
    raise refused(field, f"there is no model '{shown_name(name)}' in the list")
