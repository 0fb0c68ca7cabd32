"""What a server takes and tells: asked once, before anything is measured. This also warms it up."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from allod.bench.answer import Answer
from allod.bench.client import Abilities, Client, Target
from allod.bench.exchange import Address, Reply
from allod.bench.prompts import nonce, question
from allod.core.errors import ModelNotFound, ModelUnavailable

_WORDS = 200
_TOKENS = 8
_GUESSED_TOKENS_PER_WORD = 1.5
_OK = 200
_WANTS_KEY = 401
_UNKNOWN_FIELD = ("http 400", "http 422")
_EMBEDS = ("embeddings", "embedding")

_LADDER = tuple(
    Abilities(
        ignores_eos=ignores_eos,
        tells_usage=tells_usage,
        context_tokens=None,
        tokens_per_word=_GUESSED_TOKENS_PER_WORD,
        server="",
    )
    for ignores_eos, tells_usage in ((True, True), (False, True), (True, False), (False, False))
)
"""What is tried, the best first: servers that refuse unknown fields are asked without them."""


class _Listed(msgspec.Struct):
    id: str
    type: str = ""
    context_length: int | None = None
    max_model_len: int | None = None
    context_window: int | None = None
    max_context_length: int | None = None

    @property
    def context_tokens(self) -> int | None:
        """The first of the names under which servers tell it."""
        told = (self.context_length, self.max_model_len, self.context_window, self.max_context_length)
        return next((value for value in told if value), None)


class _ModelList(msgspec.Struct):
    data: list[_Listed]


async def probe(target: Target, patience_seconds: float) -> Client:
    """Find out whom to ask and how; the client that comes back is ready to measure.

    Raises:
        ModelNotFound: the server lists no model, and none was named.
        ModelUnavailable: the server is not there, or does not answer a plain question.
    """
    listed, head = await _listed(target, patience_seconds)
    address = replace(target.address, numeric=head.peer)
    models = target.models or tuple(model.id for model in listed if model.type not in _EMBEDS)[:1]
    if not models:
        raise ModelNotFound(f"{target.url} lists no model; name one with --model")
    known = replace(target, models=models)
    abilities, answer = await _abilities(known, address, patience_seconds)
    contexts = [model.context_tokens for model in listed if model.id in models]
    told = [tokens for tokens in contexts if tokens]
    prompt_tokens = answer.prompt_tokens or 0
    abilities = msgspec.structs.replace(
        abilities,
        context_tokens=min(told) if told else None,
        tells_usage=answer.completion_tokens is not None,
        tokens_per_word=prompt_tokens / _WORDS if prompt_tokens else _GUESSED_TOKENS_PER_WORD,
        server=head.server,
    )
    return Client(known, address, abilities, patience_seconds)


async def _abilities(target: Target, address: Address, patience_seconds: float) -> tuple[Abilities, Answer]:
    failure, said = "", ""
    for abilities in _LADDER:
        client = Client(target, address, abilities, patience_seconds)
        answer = await client.say(question(_WORDS, nonce()), _TOKENS).answer()
        if not answer.failure:
            return abilities, answer
        failure, said = answer.failure, answer.said
        if failure not in _UNKNOWN_FIELD:
            break
    raise ModelUnavailable(
        f"{target.url} does not answer a plain question to {target.models[0]!r}: {failure} {said}".rstrip()
        + "; name another model with --model, or ask it with another client to see why"
    )


async def _listed(target: Target, patience_seconds: float) -> tuple[Sequence[_Listed], Reply]:
    reply = await Client(target, target.address, _LADDER[0], patience_seconds).get("/models").run()
    if reply.failure:
        raise ModelUnavailable(f"no answer from {target.url}: {reply.failure}; is the server running?")
    if reply.status == _WANTS_KEY:
        raise ModelUnavailable(f"{target.url} wants a key; give one with --key or ALLOD_KEY")
    try:
        listed = msgspec.json.decode(reply.body, type=_ModelList).data if reply.status == _OK else []
    except msgspec.MsgspecError:
        listed = []
    return listed, reply
