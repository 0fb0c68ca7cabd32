"""Events to one whole answer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from allod.core.errors import AllodError, InternalFailure
from allod.core.events import ChoiceFinished, Event, Failed, Finished, FinishReason, TextDelta
from allod.core.usage import Usage
from allod.wire.openai.shapes import Header, chat_logprobs, completion_logprobs, head, usage_shape


@dataclass(slots=True)
class _Choice:
    deltas: list[TextDelta] = field(default_factory=list[TextDelta])
    reason: FinishReason | None = None

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)


class _Whole(ABC):
    """Gathers the events of one request."""

    def __init__(self, header: Header, kind: str) -> None:
        self._head = head(header, kind)
        self._choices = [_Choice() for _ in range(header.choices)]
        self._usage: Usage | None = None
        self._error: AllodError | None = None

    def feed(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case TextDelta():
                self._choices[event.choice].deltas.append(event)
            case ChoiceFinished():
                self._choices[event.choice].reason = event.reason
            case Finished():
                self._usage = event.usage
            case Failed():
                self._error = event.error
            case _:
                pass

    def body(self) -> bytes:
        """The JSON answer.

        Raises:
            AllodError: the request failed.
            InternalFailure: the events ended without an end.
        """
        if self._error is not None:
            raise self._error
        if self._usage is None:
            raise InternalFailure("the answer broke off before it was complete")
        choices = [self._choice(index, choice) for index, choice in enumerate(self._choices)]
        return msgspec.json.encode(self._head | {"choices": choices, "usage": usage_shape(self._usage)})

    def _choice(self, index: int, choice: _Choice) -> dict[str, object]:
        said = self._said(choice.text, choice.deltas)
        return {"index": index, **said, "finish_reason": choice.reason}

    @abstractmethod
    def _said(self, text: str, deltas: Sequence[TextDelta]) -> dict[str, object]: ...


class ChatWhole(_Whole):
    """An answer as a `chat.completion` object."""

    def __init__(self, header: Header) -> None:
        super().__init__(header, "chat.completion")

    def _said(self, text: str, deltas: Sequence[TextDelta]) -> dict[str, object]:
        message = {"role": "assistant", "content": text, "refusal": None}
        scores = (score for delta in deltas for score in delta.scores)
        return {"message": message, "logprobs": chat_logprobs(scores)}


class CompletionWhole(_Whole):
    """An answer as a `text_completion` object."""

    def __init__(self, header: Header) -> None:
        super().__init__(header, "text_completion")

    def _said(self, text: str, deltas: Sequence[TextDelta]) -> dict[str, object]:
        return {"text": text, "logprobs": completion_logprobs(deltas, 0)}
