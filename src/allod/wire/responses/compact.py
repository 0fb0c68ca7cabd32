"""POST /v1/responses/compact: a conversation as what the user said and a summary of the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from allod.core.events import Event, TextDelta
from allod.core.request import Conversation, GenerationRequest, Message
from allod.wire.dialect import Decoded, Envelope, Header
from allod.wire.openai.request import model_of, validated
from allod.wire.outcome import Outcome
from allod.wire.responses.item_schema import Item, MessageItem
from allod.wire.responses.items import messages_of
from allod.wire.responses.request import Known, as_items, input_items, require_sound
from allod.wire.responses.schema import CompactRequest
from allod.wire.responses.sealed import seal
from allod.wire.responses.shapes import Echo, Json, item_id, response_id, usage_shape
from allod.wire.responses.store import input_shape
from allod.wire.responses.stream import ResponseStream

_TASK = (
    "Summarise this conversation so that another assistant can go on with it without having seen it. "
    "The user's own messages will be kept, so leave them out. State what was decided and done, which files, "
    "names and values matter, what the tools returned that is still needed, and what is left to do. "
    "Answer with the summary alone."
)
"""What the model is asked to do with a conversation that has grown too long."""


@dataclass(frozen=True, slots=True)
class UnderstoodCompaction:
    """A body that was read.

    Attributes:
        asked: the body.
        items: the items of its input.
    """

    asked: CompactRequest
    items: tuple[Item, ...]

    @property
    def previous(self) -> str | None:
        """The response whose conversation is compacted."""
        return self.asked.previous_response_id


def understood_compaction(body: bytes) -> UnderstoodCompaction:
    """Read a body.

    Raises:
        InvalidRequest: it is wrong; names the field.
    """
    asked = validated(CompactRequest, body)
    require_sound(asked)
    return UnderstoodCompaction(asked, input_items(asked.input))


def decoded_compaction(read: UnderstoodCompaction, envelope: Envelope, known: Known) -> Decoded:
    """A body together with its history.

    Raises:
        InvalidRequest: an item cannot be understood, or the model is missing; names the field.
    """
    history = as_items(known.history)
    messages, pictures = messages_of(read.asked.instructions, history, read.items)
    request = GenerationRequest(
        request=envelope.request,
        model=model_of(read.asked.model, envelope),
        source=Conversation((*messages, Message("user", _TASK)), thinking=False, pictures=pictures),
        tenant=envelope.tenant,
    )
    kept = [item for item in (*history, *read.items) if isinstance(item, MessageItem) and item.role == "user"]
    return Decoded(
        requests=(request,),
        stream=False,
        encoder=partial(ResponseStream, echo=Echo({})),
        collector=partial(CompactionWhole, kept=kept),
    )


class CompactionWhole:
    """A `response.compaction` object: the user's messages as they were, then the summary, sealed."""

    def __init__(self, header: Header, kept: Sequence[MessageItem]) -> None:
        self._header = header
        self._kept = kept
        self._pieces: list[str] = []
        self._outcome = Outcome()

    def feed(self, event: Event) -> None:
        """Take the next event."""
        if isinstance(event, TextDelta):
            self._pieces.append(event.text)
        self._outcome.feed(event)

    def body(self) -> bytes:
        """The JSON answer.

        Raises:
            AllodError: the request failed.
            InternalFailure: the events ended without an end.
        """
        usage = self._outcome.usage()
        identifier = self._header.identifier
        output: list[Json] = [
            input_shape(item.model_dump(mode="json", exclude_unset=True), identifier, index)
            for index, item in enumerate(self._kept)
        ]
        summary = "".join(self._pieces).strip()
        output.append(
            {
                "id": item_id("cmp", identifier, len(output)),
                "type": "compaction",
                "encrypted_content": seal("compaction", summary),
            }
        )
        return msgspec.json.encode(
            {
                "id": response_id(identifier),
                "object": "response.compaction",
                "created_at": self._header.created,
                "output": output,
                "usage": usage_shape(usage),
            }
        )
