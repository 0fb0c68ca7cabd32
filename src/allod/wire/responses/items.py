"""Items to messages: what a conversation looks like to a chat template.

Consecutive items of the assistant (reasoning, messages, calls) are one turn. A call that was cut off
was never made, so it is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from allod.core.errors import InvalidRequest, refused
from allod.core.pictures import Gallery, Picture, joined_pieces
from allod.core.request import Message
from allod.core.tools import ToolCall
from allod.wire.pictures import ADDRESS_WANTED, detail_of, hung, source_of
from allod.wire.refusal import shown_name
from allod.wire.responses.item_schema import (
    PARTS_WANTED,
    CompactionItem,
    CustomCallItem,
    CustomOutputItem,
    ForeignItem,
    ForeignPart,
    FunctionCallItem,
    FunctionOutputItem,
    ImagePart,
    Item,
    MessageItem,
    Part,
    ReasoningItem,
    ReferenceItem,
    RefusalPart,
    TextPart,
)
from allod.wire.responses.sealed import unseal
from allod.wire.shape import json_text

_NOT_YET = {"input_file": "files", "input_audio": "sounds"}
_SUMMARY = "This is a summary of the conversation before this message:\n\n"


@dataclass(slots=True)
class _Turn:
    """One turn of the assistant, as it is put together."""

    texts: list[str] = field(default_factory=list[str])
    thoughts: list[str] = field(default_factory=list[str])
    calls: list[ToolCall] = field(default_factory=list[ToolCall])

    def message(self) -> Message | None:
        """The turn; None when nothing was said, thought or called."""
        if not (self.texts or self.thoughts or self.calls):
            return None
        return Message(
            "assistant",
            "\n".join(self.texts),
            tool_calls=tuple(self.calls),
            reasoning="\n".join(self.thoughts) or None,
        )


class _Fold:
    """Items in, messages and pictures out."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.gallery = Gallery()
        self._turn = _Turn()
        self._names: dict[str, str] = {}

    def add(self, item: Item, here: str) -> None:
        match item:
            case MessageItem(role="assistant"):
                self._turn.texts.append(_text(item.content, f"{here}.content"))
            case MessageItem():
                gallery = self.gallery if item.role == "user" else None
                self._say(Message(item.role, _text(item.content, f"{here}.content", gallery)))
            case ReasoningItem():
                self._turn.thoughts.extend(filter(None, [_thought(item)]))
            case CompactionItem():
                self._say(Message("user", _SUMMARY + _summary(item, here)))
            case ReferenceItem():
                raise unknown_item(item.id, f"{here}.id")
            case _:
                self._about_call(item, here)

    def _about_call(
        self,
        item: FunctionCallItem | FunctionOutputItem | CustomCallItem | CustomOutputItem | ForeignItem,
        here: str,
    ) -> None:
        match item:
            case FunctionCallItem(status="incomplete") | ForeignItem():
                pass
            case FunctionCallItem():
                self._call(item.call_id, item.name, item.arguments)
            case CustomCallItem():
                self._call(item.call_id, item.name, json_text({"input": item.input}))
            case FunctionOutputItem() | CustomOutputItem():
                text = _text(item.output, f"{here}.output", self.gallery)
                name = self._names.get(item.call_id)
                self._say(Message("tool", text, name, call_identifier=item.call_id))

    def flush(self) -> None:
        turn, self._turn = self._turn.message(), _Turn()
        if turn is not None:
            self.messages.append(turn)

    def _say(self, message: Message) -> None:
        self.flush()
        self.messages.append(message)

    def _call(self, identifier: str, name: str, arguments: str) -> None:
        self._names[identifier] = name
        self._turn.calls.append(ToolCall(identifier, name, arguments))


def messages_of(
    instructions: str | None, history: Sequence[Item], items: Sequence[Item]
) -> tuple[tuple[Message, ...], tuple[Picture, ...]]:
    """The conversation: instructions, what earlier responses hold, what this request adds; and its pictures.

    Templates want somebody to answer: where nobody but the system speaks, an empty user turn follows.

    Raises:
        InvalidRequest: an item cannot be understood; names it.
    """
    fold = _Fold()
    for item in history:
        fold.add(item, "previous_response_id")
    for index, item in enumerate(items):
        fold.add(item, f"input[{index}]")
    fold.flush()
    leading = () if instructions is None else (Message("system", instructions),)
    if all(message.role in ("system", "developer") for message in fold.messages):
        fold.messages.append(Message("user", ""))
    return (*leading, *fold.messages), tuple(fold.gallery.pictures)


def ignored_items(items: Sequence[Item]) -> Iterator[str]:
    """Names of the items that are left out of the conversation."""
    for item in items:
        if isinstance(item, ForeignItem):
            yield f"input.{shown_name(item.type)}"


def unknown_item(identifier: str, param: str) -> InvalidRequest:
    """The refusal of a reference to nothing."""
    return refused(
        param,
        f"no stored response of yours has an item {shown_name(identifier)}; "
        "send the item itself, or the id of an item of a response that was created with store: true",
    )


def _text(content: str | list[Part], here: str, gallery: Gallery | None = None) -> str:
    """Content as text; the gallery takes its pictures, and without one there may be none."""
    if isinstance(content, str):
        return content
    return joined_pieces([_piece(part, f"{here}[{index}]", gallery) for index, part in enumerate(content)])


def _piece(part: Part, here: str, gallery: Gallery | None) -> str:
    match part:
        case TextPart():
            return part.text
        case RefusalPart():
            return part.refusal
        case ImagePart():
            if gallery is None:
                raise refused(
                    here, "is an image; send it in a message of the user or in the output of a function call"
                )
            return hung(gallery, _picture(part, here))
        case ForeignPart():
            served = _NOT_YET.get(part.type)
            problem = (
                f"{served} are not served yet"
                if served
                else f"got a part of type {shown_name(part.type)}, which is not known here"
            )
            raise refused(here, f"{problem}; send {PARTS_WANTED}")


def _picture(part: ImagePart, here: str) -> Picture:
    if part.file_id is not None:
        raise refused(f"{here}.file_id", f"files are not looked at; send image_url instead: {ADDRESS_WANTED}")
    field = f"{here}.image_url"
    if part.image_url is None:
        raise refused(field, f"is missing; send {ADDRESS_WANTED}")
    return Picture(source_of(part.image_url, field), field, detail_of(part.detail))


def _thought(item: ReasoningItem) -> str:
    """What was thought, in full where that is known, else its summary."""
    sealed = unseal("reasoning", item.encrypted_content) if item.encrypted_content else None
    return (
        "\n".join(part.text for part in item.content or ())
        or sealed
        or "\n".join(part.text for part in item.summary or ())
    )


def _summary(item: CompactionItem, here: str) -> str:
    summary = unseal("compaction", item.encrypted_content)
    if summary is None:
        raise refused(
            f"{here}.encrypted_content",
            "was not made by POST /v1/responses/compact of this server, so nobody here can read it; "
            "send the items that it stands for",
        )
    return summary
