"""Routes that tell which models there are."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from allod.api.json_answer import json_answer
from allod.api.speech import speaks_anthropic
from allod.service.models import ModelService
from allod.wire.anthropic import models as anthropic
from allod.wire.lmstudio import model_entries, model_entry
from allod.wire.openai import models as openai


class ModelRoutes:
    """Handlers of `/v1/models`, in the words of the client, and of LM Studio's `/api/v0/models`."""

    def __init__(self, models: ModelService) -> None:
        self._models = models

    async def list_models(self, request: Request) -> Response:
        """Every model that can be asked for, loaded or not."""
        models, aliases = self._models.all(), self._models.aliases()
        if speaks_anthropic(request.scope):
            return json_answer(
                anthropic.model_list(models, aliases, anthropic.decode_page(request.query_params))
            )
        return json_answer(openai.model_list(models, aliases))

    async def get_model(self, request: Request, model: str) -> Response:
        """One model, by its key or an alias."""
        card, hosted = self._models.one(model)
        if speaks_anthropic(request.scope):
            return json_answer(msgspec.json.encode(anthropic.model_body(card, hosted, model)))
        return json_answer(msgspec.json.encode(openai.model_body(card, hosted)))

    async def list_entries(self) -> Response:
        """Every model, as LM Studio lists them."""
        return json_answer(model_entries(self._models.all()))

    async def get_entry(self, model: str) -> Response:
        """One model, as LM Studio describes it."""
        return json_answer(msgspec.json.encode(model_entry(*self._models.one(model))))
