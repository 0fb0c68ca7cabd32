"""Turns of content blocks to messages of plain text, with marks where images stand."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from allod.core.errors import refused
from allod.core.pictures import Gallery, Picture, joined_pieces
from allod.core.request import Message
from allod.core.tools import ToolCall
from allod.wire.anthropic.schema import (
    AddressSource,
    Block,
    BlocksSource,
    DocumentBlock,
    DocumentPart,
    EncodedSource,
    ForeignBlock,
    ImageBlock,
    InputMessage,
    PlainTextSource,
    ResultBlock,
    SearchResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from allod.wire.data_uri import base64_bytes
from allod.wire.pictures import hung, source_of
from allod.wire.refusal import shown_name
from allod.wire.shape import json_text

THEIR_CALL = "toolu_"
OUR_CALL = "call_"

_ERROR = "Error: "

_PLACES: Mapping[str, str] = {
    "tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_result": "user",
    "image": "user",
    "document": "user",
    "search_result": "user",
}
"""The one role in whose turns a type of block may stand; text may stand in all."""


def our_call(identifier: str) -> str:
    """A call's id as the house writes it; ids that are not in Anthropic's form stay as they are."""
    return OUR_CALL + identifier.removeprefix(THEIR_CALL) if identifier.startswith(THEIR_CALL) else identifier


def their_call(identifier: str) -> str:
    """A call's id as Anthropic's clients expect it."""
    return THEIR_CALL + identifier.removeprefix(OUR_CALL) if identifier.startswith(OUR_CALL) else identifier


def system_messages(system: str | Sequence[TextBlock] | None) -> Iterator[Message]:
    """One system message for each text that says something.

    A leading line in which a client accounts for itself is left out: it holds a number that changes
    with every request, so nothing behind it could ever be found in the prefix cache.
    """
    texts = [system] if isinstance(system, str) else [block.text for block in system or ()]
    for text in texts:
        if text:
            yield Message("system", text)


def turn_messages(turns: Sequence[InputMessage], gallery: Gallery) -> Iterator[Message]:
    """The messages of all turns. A user's turn with tool results becomes one message for each, then its text.

    Args:
        turns: what was sent.
        gallery: takes the pictures, in the order in which the messages have them.

    Raises:
        InvalidRequest: a block is not served, or stands where none of its type may.
    """
    tools: dict[str, str] = {}
    for index, turn in enumerate(turns):
        here = f"messages.{index}.content"
        blocks = turn.content
        if isinstance(blocks, str):
            yield from _plain(turn.role, blocks)
            continue
        for place, block in enumerate(blocks):
            _check_place(f"{here}.{place}", turn, block)
        tools |= {block.id: block.name for block in blocks if isinstance(block, ToolUseBlock)}
        if turn.role == "assistant":
            yield from _assistant(blocks)
        else:
            yield from _Told(here, tools, gallery).messages(turn.role, blocks)


def _plain(role: str, text: str) -> Iterator[Message]:
    match role:
        case "system":
            yield from system_messages(text)
        case "assistant":
            yield Message("assistant", text)
        case _:
            yield Message("user", text)


def _check_place(here: str, turn: InputMessage, block: Block) -> None:
    if isinstance(block, ForeignBlock):
        raise _not_served(here, block)
    role = _PLACES.get(block.type)
    if role is not None and role != turn.role:
        raise refused(here, f"`{block.type}` blocks can only be in `{role}` messages")


def _not_served(here: str, block: ForeignBlock) -> Exception:
    name = shown_name(block.type)
    return refused(here, f"blocks of type `{name}` are not served here; send their content as `text` blocks")


def _assistant(blocks: Iterable[Block]) -> Iterator[Message]:
    """An answer that was sent back: pieces are joined as they came, without anything between them."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for block in blocks:
        match block:
            case TextBlock():
                texts.append(block.text)
            case ThinkingBlock():
                thoughts.append(block.thinking)
            case ToolUseBlock():
                calls.append(ToolCall(our_call(block.id), block.name, json_text(block.input)))
            case _:
                pass
    yield Message("assistant", "".join(texts), tool_calls=tuple(calls), reasoning="".join(thoughts) or None)


class _Told:
    """Reads a turn of the user or of the system.

    Args:
        here: where its blocks stand.
        tools: names of the tools that were called, by the ids of the calls.
        gallery: takes its pictures.
    """

    def __init__(self, here: str, tools: Mapping[str, str], gallery: Gallery) -> None:
        self._here = here
        self._tools = tools
        self._gallery = gallery

    def messages(self, role: str, blocks: Sequence[Block]) -> Iterator[Message]:
        """What tools answered, then what is said."""
        for place, block in enumerate(blocks):
            if isinstance(block, ToolResultBlock):
                text = self._result(f"{self._here}.{place}.content", block)
                name = self._tools.get(block.tool_use_id)
                yield Message("tool", text, name=name, call_identifier=our_call(block.tool_use_id))
        if role == "system":
            yield from system_messages([block for block in blocks if isinstance(block, TextBlock)])
            return
        said = [
            self._said(f"{self._here}.{place}", block)
            for place, block in enumerate(blocks)
            if not isinstance(block, ToolResultBlock)
        ]
        if said or not blocks:
            yield Message("user", joined_pieces(said))

    def _result(self, here: str, block: ToolResultBlock) -> str:
        content = block.content
        text = joined_pieces(self._all(here, content)) if isinstance(content, list) else content or ""
        return _ERROR + text if block.is_error else text

    def _all(self, here: str, blocks: Sequence[ResultBlock | DocumentPart]) -> list[str]:
        return [self._said(f"{here}.{place}", block) for place, block in enumerate(blocks)]

    def _said(self, here: str, block: Block | ResultBlock | DocumentPart) -> str:
        match block:
            case TextBlock():
                return block.text
            case ImageBlock():
                return hung(self._gallery, _picture(f"{here}.source", block))
            case DocumentBlock():
                return _lines(block.title, block.context, self._document(f"{here}.source", block))
            case SearchResultBlock():
                return _lines(block.title, block.source, *(part.text for part in block.content))
            case ForeignBlock():
                raise _not_served(here, block)
            case _:
                return ""

    def _document(self, here: str, block: DocumentBlock) -> str:
        match block.source:
            case PlainTextSource(data=text):
                return text
            case BlocksSource(content=str(text)):
                return text
            case BlocksSource(content=list(parts)):
                return joined_pieces(list(filter(None, self._all(f"{here}.content", parts))))
            case source:
                raise _source_not_served(here, "documents", source.type, "`text` or `content`")


def _picture(here: str, block: ImageBlock) -> Picture:
    match block.source:
        case EncodedSource(data=data):
            field = f"{here}.data"
            return Picture(base64_bytes(data, field), field)
        case AddressSource(url=url):
            field = f"{here}.url"
            return Picture(source_of(url, field), field)
        case source:
            raise _source_not_served(here, "images", source.type, "`base64` or `url`")


def _source_not_served(here: str, what: str, kind: str, served: str) -> Exception:
    return refused(
        here, f"{what} of type `{shown_name(kind)}` are not served here; send one of type {served}"
    )


def _lines(*texts: str | None) -> str:
    return "\n".join(filter(None, texts))
