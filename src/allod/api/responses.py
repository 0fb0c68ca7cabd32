"""The routes of the Responses API: decode, call the service, encode."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from allod.api.access import tenant_of
from allod.api.body import off_loop
from allod.api.generate import Generator
from allod.api.json_answer import json_answer
from allod.core.errors import InvalidRequest
from allod.core.events import Accepted, Event, Finished
from allod.core.usage import Timings, Usage
from allod.service.chat import ChatService
from allod.service.models import ModelService
from allod.service.responses import Chain, Entry, ResponseService
from allod.wire.dialect import Decoded, Envelope, Header
from allod.wire.openai.request import model_of
from allod.wire.pages import understood_page
from allod.wire.responses.compact import decoded_compaction, understood_compaction
from allod.wire.responses.request import Known, Understood, prepared, stored_input, understood
from allod.wire.responses.shapes import Echo, Json, response_id
from allod.wire.responses.store import StoredResponse, deleted, item_list
from allod.wire.responses.whole import ResponseWhole

_USUAL_ITEMS = 20
_MOST_ITEMS = 100
_NOWHERE: Mapping[str, Chain] = {}


@dataclass(frozen=True, slots=True)
class Turn:
    """A response that is about to be made.

    Attributes:
        decoded: its request.
        echo: what the response repeats of it.
        header: the head of the answer.
        events: what the answer is made of; nothing runs before the first one is asked for.
        chain: what it continues.
        entry: what is kept of it.
    """

    decoded: Decoded
    echo: Echo
    header: Header
    events: AsyncIterator[Event]
    chain: Chain
    entry: Entry


class ResponseMaker:
    """From a body that was read to a response that can be made, whatever it comes over."""

    def __init__(self, generator: Generator, models: ModelService, responses: ResponseService) -> None:
        self._generator = generator
        self._models = models
        self._responses = responses

    async def begin(
        self,
        read: Understood,
        envelope: Envelope,
        near: Mapping[str, Chain],
        *,
        length: int,
        silent: bool = False,
    ) -> Turn:
        """Fetch what the body refers to, and open the answer.

        Args:
            read: the body.
            envelope: what comes with it.
            near: responses that the caller remembers by itself.
            length: of the body, in bytes.
            silent: nothing is generated; the response is there to be continued.

        Raises:
            AllodError: it refers to what is not there, or cannot be understood.
        """
        chain, known = await self._known(read, envelope, near)
        ready = await off_loop(length, lambda: prepared(read, envelope, known))
        header, events = self._generator.open(ready.decoded)
        if silent:
            events = _silence()
        entry = Entry(
            identifier=response_id(header.identifier),
            tenant=envelope.tenant,
            created=header.created,
            previous=read.previous,
            input=await off_loop(
                length, lambda: msgspec.json.encode(stored_input(read, known, header.identifier))
            ),
        )
        if read.stored:
            events = self._responses.kept(events, ResponseWhole(header, ready.echo), entry)
        return Turn(ready.decoded, ready.echo, header, events, chain, entry)

    async def _known(
        self, read: Understood, envelope: Envelope, near: Mapping[str, Chain]
    ) -> tuple[Chain, Known]:
        chain = await self._responses.chain(read.previous, envelope.tenant, near)
        history = items_of(chain)
        present = {item.get("id") for item in history}
        absent = [item for item in read.references if item not in present]
        card, _ = self._models.one(model_of(read.asked.model, envelope))
        referenced = await self._responses.referenced(absent, envelope.tenant)
        return chain, Known(history, referenced, card.sampling)


class ResponsesRoutes:
    """Handlers of `/v1/responses/...`."""

    def __init__(
        self,
        generator: Generator,
        models: ModelService,
        responses: ResponseService,
        chat: ChatService,
    ) -> None:
        self._generator = generator
        self._responses = responses
        self._chat = chat
        self._maker = ResponseMaker(generator, models, responses)

    async def create(self, request: Request) -> Response:
        """Make a response."""
        body, envelope = await self._generator.read(request)
        read = await off_loop(len(body), lambda: understood(body))
        turn = await self._maker.begin(read, envelope, _NOWHERE, length=len(body))
        return self._generator.respond(turn.decoded, turn.header, turn.events)

    async def compact(self, request: Request) -> Response:
        """Make a conversation short."""
        body, envelope = await self._generator.read(request)
        read = await off_loop(len(body), lambda: understood_compaction(body))
        chain = await self._responses.chain(read.previous, envelope.tenant, _NOWHERE)
        decoded = await off_loop(
            len(body), lambda: decoded_compaction(read, envelope, Known(items_of(chain)))
        )
        return self._generator.answer(decoded)

    async def input_tokens(self, request: Request) -> Response:
        """Count the tokens of the prompt that a body would be answered from."""
        body, envelope = await self._generator.read(request)
        read = await off_loop(len(body), lambda: understood(body))
        turn = await self._maker.begin(read, envelope, _NOWHERE, length=len(body))
        count = await self._chat.count(turn.decoded.requests[0])
        return json_answer(msgspec.json.encode({"object": "response.input_tokens", "input_tokens": count}))

    async def get(self, request: Request, response_id: str) -> Response:
        """A stored response."""
        if request.query_params.get("stream", "false") not in ("false", "0"):
            raise InvalidRequest(
                "stream: a stored response is not streamed again; leave the parameter out", param="stream"
            )
        return _shown(await self._responses.get(response_id, tenant_of(request.scope)))

    async def delete(self, request: Request, response_id: str) -> Response:
        """Forget a stored response."""
        await self._responses.delete(response_id, tenant_of(request.scope))
        return json_answer(deleted(response_id))

    async def cancel(self, request: Request, response_id: str) -> Response:
        """Break off a response that is on its way."""
        return _shown(await self._responses.cancel(response_id, tenant_of(request.scope)))

    async def input_items(self, request: Request, response_id: str) -> Response:
        """The items that were new in the request of a stored response."""
        page = understood_page(request.query_params, default=_USUAL_ITEMS, most=_MOST_ITEMS)
        stored = await self._responses.get(response_id, tenant_of(request.scope))
        return json_answer(item_list(stored.input_items(), page))


async def _silence() -> AsyncGenerator[Event, None]:
    yield Accepted(0)
    yield Finished(Usage(0, 0), Timings(None, None, 0.0))


def items_of(chain: Chain) -> list[Json]:
    """All items of a chain, oldest first."""
    return [item for stored in chain for item in stored.items()]


def _shown(stored: StoredResponse) -> Response:
    return json_answer(bytes(stored.response))
