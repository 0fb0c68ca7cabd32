"""What is kept of a response, and how it is shown again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import msgspec

from allod.core.errors import InvalidRequest
from allod.wire.openai.refusal import refused, shown_name
from allod.wire.responses.shapes import Json, input_id

_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "custom_tool_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call_output": "fco",
    "reasoning": "rs",
    "compaction": "cmp",
}
_MAX_PAGE = 100


class StoredResponse(msgspec.Struct, frozen=True):
    """A response that ended, with what it was asked.

    Attributes:
        previous: the response it continues.
        input: the items that were new in its request, as JSON.
        response: the response object, as JSON.
    """

    previous: str | None
    input: msgspec.Raw
    response: msgspec.Raw

    def items(self) -> list[Json]:
        """What a response that continues this one sees of it: its input, then its output."""
        response = msgspec.json.decode(self.response, type=dict[str, object])
        return [*self.input_items(), *cast("list[Json]", response["output"])]

    def input_items(self) -> list[Json]:
        """The items that were new in its request."""
        return msgspec.json.decode(self.input, type=list[dict[str, object]])


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted.

    Attributes:
        limit: at most so many items.
        order: oldest or newest first.
        after: the id of the item before the first one wanted.
    """

    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


def understood_page(query: Mapping[str, str]) -> Page:
    """The page that a query string asks for.

    Raises:
        InvalidRequest: a value is none of those there are; names it.
    """
    limit, order = query.get("limit", "20"), query.get("order", "desc")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= _MAX_PAGE):
        raise refused("limit", f"got {shown_name(limit)}; send an integer from 1 to {_MAX_PAGE}")
    if order not in ("asc", "desc"):
        raise refused("order", f"got {shown_name(order)}; send asc or desc")
    return Page(int(limit), "asc" if order == "asc" else "desc", query.get("after"))


def item_list(items: Sequence[Json], page: Page) -> bytes:
    """A page of a list of items, as JSON.

    Raises:
        InvalidRequest: there is no such item to come after.
    """
    ordered = list(items) if page.order == "asc" else list(reversed(items))
    start = 0
    if page.after is not None:
        places = [place for place, item in enumerate(ordered) if item["id"] == page.after]
        if not places:
            raise _no_such_item(page.after)
        start = places[0] + 1
    shown = ordered[start : start + page.limit]
    return msgspec.json.encode(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": start + len(shown) < len(ordered),
        }
    )


def deleted(identifier: str) -> bytes:
    """What DELETE says."""
    return msgspec.json.encode({"id": identifier, "object": "response", "deleted": True})


def input_shape(item: Json, identifier: str, index: int) -> Json:
    """An input item as the API shows it: with an id, a type, a status, and content as parts."""
    kind = str(item.get("type") or "message")
    shape = {**item, "type": kind}
    if not isinstance(item.get("id"), str):
        shape["id"] = input_id(_PREFIXES.get(kind, "item"), identifier, index)
    if kind != "compaction" and item.get("status") is None:
        shape["status"] = "completed"
    content = item.get("content")
    if kind == "message" and isinstance(content, str):
        assistant = item.get("role") == "assistant"
        shape["content"] = [
            {"type": "output_text", "text": content, "annotations": []}
            if assistant
            else {"type": "input_text", "text": content}
        ]
    return shape


def _no_such_item(identifier: str) -> InvalidRequest:
    return refused("after", f"this response has no input item {shown_name(identifier)}; send the id of one")
