"""A small model to pretend to be, its card, and requests to it."""

import msgspec

from allod.core.card import ModelCard
from allod.core.ids import ModelName, RequestId, SequenceId, TenantId
from allod.core.messages import Submit
from allod.core.sampling import Sampling, SamplingWishes
from allod.core.step import DraftFacts, LayerState, ModelFacts

FULL_ATTENTION = LayerState(kind="full", layers=1, bytes_per_token=10, fixed_bytes=0, window_tokens=None)

TINY = ModelFacts(
    weights_bytes=1000,
    budget_bytes=10**9,
    layers=(FULL_ATTENTION,),
    capacity_step_tokens=16,
    transient_bytes_per_token=0,
    transient_bytes_per_token_and_context=0,
    context_tokens=4096,
    vocabulary=97,
    batchable=True,
    alone_because="",
    compute="integers",
    device="null",
)


TINY_DRAFT = DraftFacts(
    weights_bytes=100,
    layers=(LayerState(kind="full", layers=1, bytes_per_token=3, fixed_bytes=0, window_tokens=None),),
    transient_bytes_per_token=0,
    transient_bytes_per_token_and_context=0,
    context_tokens=4096,
    reading_seconds_per_token=0.00005,
    saying_seconds=0.001,
)
"""A draft model to pretend to be; what it takes is what `FakeCosts` say."""


def tiny_facts(**changes: object) -> ModelFacts:
    """TINY, with some of its fields changed."""
    return msgspec.structs.replace(TINY, **changes)


def tiny_card(name: str, **changes: object) -> ModelCard:
    """A catalogue entry for TINY, with some of its fields changed."""
    plain = ModelCard(
        name=ModelName(name),
        architecture="llama",
        context_tokens=TINY.context_tokens,
        weights_bytes=1,
        quantization="bfloat16",
        created=1,
        source="test",
        kind="directory",
        vocabulary=TINY.vocabulary,
        stop_tokens=(0,),
        sampling=SamplingWishes(),
        has_chat_template=True,
    )
    return msgspec.structs.replace(plain, **changes)


def submission(*, prompt: int = 4, choices: int = 1, first: int = 0, **changes: object) -> Submit:
    """A Submit.

    Args:
        prompt: its length; the tokens count up from `first`.
        choices: how many sequences; their ids count up from `first`.
        first: makes ids and prompts of several submissions differ.
        changes: fields of Submit to set otherwise.
    """
    plain = Submit(
        request=RequestId(f"request-{first}"),
        sequences=tuple(SequenceId(first + choice) for choice in range(choices)),
        samplings=(Sampling(temperature=0.0),) * choices,
        tokens=tuple((first + place) % TINY.vocabulary for place in range(prompt)),
        max_tokens=8,
        stop_tokens=(),
        tenant=TenantId("local"),
    )
    return msgspec.structs.replace(plain, **changes)
