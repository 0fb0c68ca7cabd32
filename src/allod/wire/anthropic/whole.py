"""Events to one whole message."""

from dataclasses import dataclass, field

import msgspec

from allod.core.events import (
    ChoiceFinished,
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEvent,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.wire.anthropic.shapes import Signature, ending, head, usage_shape
from allod.wire.anthropic.turns import their_call
from allod.wire.dialect import Header
from allod.wire.outcome import Outcome


@dataclass(slots=True)
class _Block:
    """A block in the making: text, thinking, or the arguments of `call`, which is whole or not yet."""

    call: ToolCallStarted | None = None
    thinking: bool = False
    pieces: list[str] = field(default_factory=list[str])
    complete: bool = False


def count_body(prompt_tokens: int) -> bytes:
    """The answer to a count."""
    return msgspec.json.encode({"input_tokens": prompt_tokens})


class MessageWhole:
    """An answer as a `message` object. A call that was cut off is left out."""

    def __init__(self, header: Header) -> None:
        self._head = head(header)
        self._blocks: list[_Block] = []
        self._end: ChoiceFinished | None = None
        self._outcome = Outcome()

    def feed(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case TextDelta() | ReasoningDelta():
                self._say(event.text, thinking=isinstance(event, ReasoningDelta))
            case ToolCallStarted() | ToolCallDelta() | ToolCallFinished():
                self._call(event)
            case ChoiceFinished():
                self._end = event
            case _:
                self._outcome.feed(event)

    def body(self) -> bytes:
        """The JSON answer.

        Raises:
            AllodError: the request failed.
            InternalFailure: the events ended without an end.
        """
        usage = self._outcome.usage()
        content = [_shape(block) for block in self._blocks if block.call is None or block.complete]
        rest = ending(self._end) | {"usage": usage_shape(usage)}
        return msgspec.json.encode(self._head | {"content": content} | rest)

    def _call(self, event: ToolCallEvent) -> None:
        match event:
            case ToolCallStarted():
                self._blocks.append(_Block(call=event))
            case ToolCallDelta():
                self._blocks[-1].pieces.append(event.arguments)
            case ToolCallFinished():
                self._blocks[-1].complete = True

    def _say(self, text: str, *, thinking: bool) -> None:
        if not text:
            return
        last = self._blocks[-1] if self._blocks else None
        if last is None or last.call is not None or last.thinking != thinking:
            last = _Block(thinking=thinking)
            self._blocks.append(last)
        last.pieces.append(text)


def _shape(block: _Block) -> dict[str, object]:
    text = "".join(block.pieces)
    if block.call is not None:
        name, identifier = block.call.name, their_call(block.call.identifier)
        return {"type": "tool_use", "id": identifier, "name": name, "input": msgspec.Raw(text.encode())}
    if not block.thinking:
        return {"type": "text", "text": text}
    signature = Signature()
    signature.feed(text)
    return {"type": "thinking", "thinking": text, "signature": signature.text()}
