"""Turns of content blocks to messages of plain text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from allod.core.request import Message
from allod.core.tools import ToolCall
from allod.wire.anthropic.refusal import refused
from allod.wire.anthropic.schema import (
    Block,
    BlocksSource,
    DocumentBlock,
    DocumentPart,
    ForeignBlock,
    InputMessage,
    PlainTextSource,
    ResultBlock,
    SearchResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from allod.wire.openai.refusal import shown_name
from allod.wire.shape import json_text

THEIR_CALL = "toolu_"
OUR_CALL = "call_"

_ERROR = "Error: "

_PLACES: Mapping[str, str] = {
    "tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_result": "user",
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


def turn_messages(turns: Sequence[InputMessage]) -> Iterator[Message]:
    """The messages of all turns. A user's turn with tool results becomes one message for each, then its text.

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
        yield from _assistant(blocks) if turn.role == "assistant" else _told(here, turn, blocks, tools)


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
    if block.type == "image":
        return refused(here, "`image` blocks are not served yet: this server reads text only; leave it out")
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


def _told(
    here: str, turn: InputMessage, blocks: Sequence[Block], tools: Mapping[str, str]
) -> Iterator[Message]:
    """A turn of the user or of the system: what tools answered, then what is said."""
    for place, block in enumerate(blocks):
        if isinstance(block, ToolResultBlock):
            text = _result(f"{here}.{place}.content", block)
            identifier = our_call(block.tool_use_id)
            yield Message("tool", text, name=tools.get(block.tool_use_id), call_identifier=identifier)
    if turn.role == "system":
        yield from system_messages([block for block in blocks if isinstance(block, TextBlock)])
        return
    said = [_said(f"{here}.{place}", block) for place, block in enumerate(blocks) if _is_said(block)]
    if said or not blocks:
        yield Message("user", "\n".join(said))


def _is_said(block: Block) -> bool:
    return isinstance(block, TextBlock | DocumentBlock | SearchResultBlock)


def _result(here: str, block: ToolResultBlock) -> str:
    if isinstance(block.content, list):
        text = "\n".join(_said(f"{here}.{place}", part) for place, part in enumerate(block.content))
    else:
        text = block.content or ""
    return _ERROR + text if block.is_error else text


def _said(here: str, block: Block | ResultBlock | DocumentPart) -> str:
    match block:
        case TextBlock():
            return block.text
        case DocumentBlock():
            return _lines(block.title, block.context, _document(f"{here}.source", block))
        case SearchResultBlock():
            return _lines(block.title, block.source, *(part.text for part in block.content))
        case ForeignBlock():
            raise _not_served(here, block)
        case _:
            return ""


def _document(here: str, block: DocumentBlock) -> str:
    match block.source:
        case PlainTextSource(data=text):
            return text
        case BlocksSource(content=str(text)):
            return text
        case BlocksSource(content=list(parts)):
            return _lines(*(_said(f"{here}.content.{place}", part) for place, part in enumerate(parts)))
        case source:
            kind = shown_name(source.type)
            raise refused(
                here, f"documents of type `{kind}` are not served here; send one of type `text` or `content`"
            )


def _lines(*texts: str | None) -> str:
    return "\n".join(filter(None, texts))
