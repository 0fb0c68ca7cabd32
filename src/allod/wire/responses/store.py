"""What is kept of a response, and how it is shown again."""

from collections.abc import Sequence
from operator import itemgetter
from typing import cast

import msgspec

from allod.wire.pages import Page, page_body
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
_UNKNOWN_ITEM = "this response has no input item {}; send the id of one"


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


def item_list(items: Sequence[Json], page: Page) -> bytes:
    """A page of a list of items, which are given oldest first, as JSON.

    Raises:
        InvalidRequest: there is no such item to come after.
    """
    return page_body(items[::-1], page, itemgetter("id"), _UNKNOWN_ITEM)


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
