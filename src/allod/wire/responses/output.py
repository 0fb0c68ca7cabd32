"""Output items while they are made, each with the events that tell of it."""

from abc import ABC, abstractmethod

from allod.core.events import ScoredToken
from allod.wire.responses.sealed import seal
from allod.wire.responses.shapes import Json, item_id, logprob_shapes, text_part


class OpenItem(ABC):
    """An output item that is still being made.

    Args:
        prefix: what its id starts with.
        response: the identifier of its response, without a prefix.
        index: its place in the output.
    """

    def __init__(self, prefix: str, response: str, index: int) -> None:
        self._id = item_id(prefix, response, index)
        self._index = index

    @abstractmethod
    def item(self, status: str) -> Json:
        """The item as it is now."""

    def opening(self) -> list[Json]:
        """The events that introduce it."""
        return [self._whole("response.output_item.added", "in_progress")]

    def closing(self, *, complete: bool) -> list[Json]:
        """The events that conclude it; incomplete means that it was cut off."""
        return [self._whole("response.output_item.done", "completed" if complete else "incomplete")]

    def _whole(self, kind: str, status: str) -> Json:
        return {"type": kind, "output_index": self._index, "item": self.item(status)}

    def _event(self, kind: str, fields: Json) -> Json:
        return {"type": kind, "item_id": self._id, "output_index": self._index, **fields}


class _Written(OpenItem):
    """An item with one part of text."""

    kind: str

    def __init__(self, prefix: str, response: str, index: int) -> None:
        super().__init__(prefix, response, index)
        self._pieces: list[str] = []
        self._logprobs: list[Json] = []
        self._begun = False

    def opening(self) -> list[Json]:
        """The item without its part, then the part."""
        added = super().opening()
        self._begun = True
        return [*added, self._about_part("content_part.added", {"part": self._part("", [])})]

    def closing(self, *, complete: bool) -> list[Json]:
        """The text, the part, the item."""
        text = "".join(self._pieces)
        return [
            self._about_part(f"{self.kind}.done", {"text": text, **self._scores(self._logprobs)}),
            self._about_part("content_part.done", {"part": self._part(text, self._logprobs)}),
            *super().closing(complete=complete),
        ]

    def write(self, text: str, scores: tuple[ScoredToken, ...] = ()) -> list[Json]:
        """More text."""
        logprobs = logprob_shapes(scores)
        self._pieces.append(text)
        self._logprobs.extend(logprobs)
        return [self._more(text, logprobs)]

    def take(self, text: str) -> None:
        """More text, whose event is written by another: see `pattern`."""
        self._pieces.append(text)

    def pattern(self, text: str) -> Json:
        """The event of more text without log probabilities."""
        return self._more(text, [])

    def _more(self, text: str, logprobs: list[Json]) -> Json:
        return self._about_part(f"{self.kind}.delta", {"delta": text, **self._scores(logprobs)})

    def _parts(self) -> list[Json]:
        return [self._part("".join(self._pieces), self._logprobs)] if self._begun else []

    def _about_part(self, kind: str, fields: Json) -> Json:
        return self._event(f"response.{kind}", {"content_index": 0, **fields})

    @abstractmethod
    def _part(self, text: str, logprobs: list[Json]) -> Json: ...

    @abstractmethod
    def _scores(self, logprobs: list[Json]) -> Json: ...


class OpenMessage(_Written):
    """What the model says."""

    kind = "output_text"

    def __init__(self, response: str, index: int) -> None:
        super().__init__("msg", response, index)

    def item(self, status: str) -> Json:
        """The message as it is now."""
        return {
            "id": self._id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": self._parts(),
        }

    def _part(self, text: str, logprobs: list[Json]) -> Json:
        return text_part(text, list(logprobs))

    def _scores(self, logprobs: list[Json]) -> Json:
        return {"logprobs": list(logprobs)}


class OpenReasoning(_Written):
    """What the model thinks."""

    kind = "reasoning_text"

    def __init__(self, response: str, index: int, *, sealed: bool) -> None:
        super().__init__("rs", response, index)
        self._sealed = sealed

    def item(self, status: str) -> Json:
        """The reasoning as it is now; sealed too, where that was asked for."""
        item: Json = {
            "id": self._id,
            "type": "reasoning",
            "status": status,
            "summary": [],
            "content": self._parts(),
        }
        if self._sealed and status != "in_progress":
            item["encrypted_content"] = seal("reasoning", "".join(self._pieces))
        return item

    def _part(self, text: str, logprobs: list[Json]) -> Json:
        return {"type": "reasoning_text", "text": text}

    def _scores(self, logprobs: list[Json]) -> Json:
        return {}


class OpenCall(OpenItem):
    """A function that the model calls."""

    def __init__(self, response: str, index: int, call_id: str, name: str) -> None:
        super().__init__("fc", response, index)
        self._call_id = call_id
        self._name = name
        self._pieces: list[str] = []

    def item(self, status: str) -> Json:
        """The call as it is now."""
        return {
            "id": self._id,
            "type": "function_call",
            "status": status,
            "call_id": self._call_id,
            "name": self._name,
            "arguments": "".join(self._pieces),
        }

    def write(self, arguments: str) -> list[Json]:
        """More of the arguments."""
        self._pieces.append(arguments)
        return [self._event("response.function_call_arguments.delta", {"delta": arguments})]

    def closing(self, *, complete: bool) -> list[Json]:
        """The arguments, the item. Arguments that were cut off are never said to be done."""
        done = self._event("response.function_call_arguments.done", {"arguments": "".join(self._pieces)})
        return [*([done] if complete else []), *super().closing(complete=complete)]
