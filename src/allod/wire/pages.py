"""Pages of lists, as OpenAI's cursor does them: `after`, `limit`, `order`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from allod.core.errors import refused
from allod.wire.refusal import shown_name

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that is asked for."""

    limit: int
    order: Literal["asc", "desc"]
    after: str | None


def understood_page(query: Mapping[str, str], *, default: int, most: int) -> Page:
    """The page that a query string asks for.

    Raises:
        InvalidRequest: a value is none of those there are; names it.
    """
    limit, order = query.get("limit", str(default)), query.get("order", "desc")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= most):
        raise refused("limit", f"got {shown_name(limit)}; send an integer from 1 to {most}")
    if order not in ("asc", "desc"):
        raise refused("order", f"got {shown_name(order)}; send asc or desc")
    return Page(int(limit), "asc" if order == "asc" else "desc", query.get("after"))


def page_body(
    newest_first: Sequence[Item],
    page: Page,
    id_of: Callable[[Item], object],
    unknown: str = "got {}, which is not in the list; send an id of it",
) -> bytes:
    """A page, as JSON.

    Args:
        newest_first: the whole list.
        page: the part of it that is wanted.
        id_of: the id of an item, unique in the list.
        unknown: what is said of an id to come after that the list does not have.

    Raises:
        InvalidRequest: the list has no such item to come after.
    """
    ordered = list(newest_first if page.order == "desc" else reversed(newest_first))
    start = 0
    if page.after is not None:
        names = list(map(id_of, ordered))
        if page.after not in names:
            raise refused("after", unknown.format(shown_name(page.after)))
        start = names.index(page.after) + 1
    shown = ordered[start : start + page.limit]
    return msgspec.json.encode(
        {
            "object": "list",
            "data": shown,
            "first_id": id_of(shown[0]) if shown else None,
            "last_id": id_of(shown[-1]) if shown else None,
            "has_more": start + page.limit < len(ordered),
        }
    )
