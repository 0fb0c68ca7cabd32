"""Events to one whole answer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import msgspec

from allod.core.events import (
    ChoiceFinished,
    Event,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEvent,
    ToolCallFinished,
    ToolCallStarted,
)
from allod.wire.dialect import Header
from allod.wire.openai.shapes import chat_logprobs, completion_logprobs, head, usage_shape
from allod.wire.openai.tools import shape_of_call
from allod.wire.outcome import Outcome


@dataclass(slots=True)
class _Call:
    identifier: str
    name: str
    arguments: list[str] = field(default_factory=list[str])
    complete: bool = False


@dataclass(slots=True)
class _Choice:
    deltas: list[TextDelta] = field(default_factory=list[TextDelta])
    thoughts: list[str] = field(default_factory=list[str])
    calls: list[_Call] = field(default_factory=list[_Call])
    reason: FinishReason | None = None

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    def call(self, event: ToolCallEvent) -> None:
        """Take the next event of a call."""
        match event:
            case ToolCallStarted():
                self.calls.append(_Call(event.identifier, event.name))
            case ToolCallDelta():
                self.calls[event.index].arguments.append(event.arguments)
            case ToolCallFinished():
                self.calls[event.index].complete = True


class _Whole(ABC):
    """Gathers the events of one request."""

    def __init__(self, header: Header, prefix: str, kind: str) -> None:
        self._head = head(header, prefix, kind)
        self._choices = [_Choice() for _ in range(header.choices)]
        self._outcome = Outcome()

    def feed(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case TextDelta():
                self._choices[event.choice].deltas.append(event)
            case ReasoningDelta():
                self._choices[event.choice].thoughts.append(event.text)
            case ToolCallStarted() | ToolCallDelta() | ToolCallFinished():
                self._choices[event.choice].call(event)
            case ChoiceFinished():
                self._choices[event.choice].reason = event.reason
            case _:
                self._outcome.feed(event)

    def body(self) -> bytes:
        """The JSON answer.

        Raises:
            AllodError: the request failed.
            InternalFailure: the events ended without an end.
        """
        usage = self._outcome.usage()
        choices = [self._choice(index, choice) for index, choice in enumerate(self._choices)]
        return msgspec.json.encode(self._head | {"choices": choices, "usage": usage_shape(usage)})

    def _choice(self, index: int, choice: _Choice) -> dict[str, object]:
        said = self._said(choice)
        return {"index": index, **said, "finish_reason": choice.reason}

    @abstractmethod
    def _said(self, choice: _Choice) -> dict[str, object]: ...


class ChatWhole(_Whole):
    """An answer as a `chat.completion` object. Calls that were cut off are left out."""

    def __init__(self, header: Header) -> None:
        super().__init__(header, "chatcmpl-", "chat.completion")

    def _said(self, choice: _Choice) -> dict[str, object]:
        calls = [
            shape_of_call(call.identifier, call.name, "".join(call.arguments))
            for call in choice.calls
            if call.complete
        ]
        content = None if calls and not choice.text else choice.text
        message: dict[str, object] = {"role": "assistant", "content": content, "refusal": None}
        if choice.thoughts:
            message["reasoning_content"] = "".join(choice.thoughts)
        if calls:
            message["tool_calls"] = calls
        scores = (score for delta in choice.deltas for score in delta.scores)
        return {"message": message, "logprobs": chat_logprobs(scores)}


class CompletionWhole(_Whole):
    """An answer as a `text_completion` object."""

    def __init__(self, header: Header) -> None:
        super().__init__(header, "cmpl-", "text_completion")

    def _said(self, choice: _Choice) -> dict[str, object]:
        return {"text": choice.text, "logprobs": completion_logprobs(choice.deltas, 0)}
