"""The routes of batches: decode, call the service, encode."""

from operator import attrgetter

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from allod.api.access import tenant_of
from allod.api.body import read_json_body
from allod.api.json_answer import json_answer
from allod.api.settings import ApiSettings
from allod.service.batches import BatchService
from allod.wire.batches import understood_batch
from allod.wire.pages import page_body, understood_page

_MOST_BATCHES = 100
_USUAL_BATCHES = 20


class BatchRoutes:
    """Handlers of `/v1/batches`."""

    def __init__(self, batches: BatchService, settings: ApiSettings) -> None:
        self._batches = batches
        self._settings = settings

    async def create(self, request: Request) -> Response:
        """Begin a batch."""
        asked = understood_batch(await read_json_body(request, self._settings.max_body_bytes))
        return json_answer(msgspec.json.encode(await self._batches.create(asked, tenant_of(request.scope))))

    async def list_batches(self, request: Request) -> Response:
        """The batches of who asks, from the newest."""
        page = understood_page(request.query_params, default=_USUAL_BATCHES, most=_MOST_BATCHES)
        return json_answer(
            page_body(await self._batches.all(tenant_of(request.scope)), page, attrgetter("id"))
        )

    async def get(self, request: Request, batch_id: str) -> Response:
        """A batch as it is now."""
        return json_answer(msgspec.json.encode(await self._batches.one(batch_id, tenant_of(request.scope))))

    async def cancel(self, request: Request, batch_id: str) -> Response:
        """Stop a batch."""
        return json_answer(
            msgspec.json.encode(await self._batches.cancel(batch_id, tenant_of(request.scope)))
        )
