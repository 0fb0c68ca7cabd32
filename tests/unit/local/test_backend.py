"""What LocalBackend submits, without a worker."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.scaffolding.local_house import BytePrompts, Wire, ask, card, drain

from allod.core.card import ModelCard
from allod.core.errors import Busy, ContextLengthExceeded
from allod.core.events import Accepted, ChoiceFinished, TextDelta
from allod.core.messages import Admitted, Emission, Refused, Stepped, Submit, encode
from allod.core.request import GenerationRequest
from allod.core.sampling import SamplingWishes
from allod.local.backend import LocalBackend
from allod.local.link import Link


class Worker(Wire):
    """Answers every submission at once, with one letter for each choice."""

    def __init__(self, link: Link, refusal: str = "") -> None:
        super().__init__()
        self._link = link
        self._refusal = refusal

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        submit = self.commands[-1]
        if not isinstance(submit, Submit):
            return
        if self._refusal:
            self._link.data_received(encode(Refused(submit.request, self._refusal, "no", 3)))
            return
        emissions = tuple(Emission(sequence, (97,), "length") for sequence in submit.sequences)
        self._link.data_received(encode(Admitted(submit.request, 1, 0)) + encode(Stepped(emissions)))


class OneLease:
    """Lends one link, and counts."""

    def __init__(self, refusal: str = "") -> None:
        self.link = Link()
        self.worker = Worker(self.link, refusal)
        self.link.connection_made(self.worker)
        self.held = 0
        self.given = 0

    @asynccontextmanager
    async def lease(self, card: ModelCard) -> AsyncGenerator[Link, None]:
        self.held += 1
        self.given += 1
        try:
            yield self.link
        finally:
            self.held -= 1


async def submitted(request: GenerationRequest, of: ModelCard) -> Submit:
    leases = OneLease()
    await drain(LocalBackend(leases, BytePrompts()).generate(request, of))
    (submit,) = leases.worker.commands
    assert isinstance(submit, Submit)
    return submit


async def test_the_request_decides_over_the_checkpoint() -> None:
    """Sampling is the request's, then the checkpoint's, then neutral."""
    of = card("fable", sampling=SamplingWishes(temperature=0.5, top_p=0.9))
    (sampling,) = (await submitted(ask(sampling=SamplingWishes(temperature=0.0)), of)).samplings
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.0, 0.9, 0)


async def test_choices_of_a_seeded_request_differ_and_repeat() -> None:
    """Choice 0 has the seed that was given, the others ones derived from it: each time the same."""
    request = ask(sampling=SamplingWishes(seed=7), choices=4)
    seeds = [sampling.seed for sampling in (await submitted(request, card("fable"))).samplings]
    again = [sampling.seed for sampling in (await submitted(request, card("fable"))).samplings]
    assert seeds[0] == 7
    assert len(set(seeds)) == 4
    assert all(seed is not None and 0 <= seed < 2**63 for seed in seeds)
    assert seeds == again
    assert seeds[1] == 5553609203046970859


async def test_without_a_seed_there_is_none() -> None:
    """The worker makes its own seeds."""
    samplings = (await submitted(ask(choices=2), card("fable"))).samplings
    assert [sampling.seed for sampling in samplings] == [None, None]


async def test_ignore_end_sends_no_stop_tokens() -> None:
    """Without stop tokens the worker goes on to the limit."""
    assert (await submitted(ask(), card("fable"))).stop_tokens == (256,)
    assert (await submitted(ask(ignore_end=True), card("fable"))).stop_tokens == ()


async def test_events_of_several_choices() -> None:
    """Every choice has its text and its end."""
    events = await drain(LocalBackend(OneLease(), BytePrompts()).generate(ask(choices=2), card("fable")))
    assert events[0] == Accepted(5)
    assert set(events[1:-1]) == {
        TextDelta(0, "a"),
        ChoiceFinished(0, "length"),
        TextDelta(1, "a"),
        ChoiceFinished(1, "length"),
    }


async def test_a_refusal_is_raised_before_anything_is_accepted() -> None:
    """A worker's refusal is an error with a status; nothing stays held, nothing is cancelled."""
    leases = OneLease("queue_full")
    with pytest.raises(Busy) as caught:
        await drain(LocalBackend(leases, BytePrompts()).generate(ask(), card("fable")))
    assert caught.value.retry_after_seconds == 3
    assert leases.held == 0
    assert len(leases.worker.commands) == 1


async def test_what_the_card_rules_out_never_reaches_a_worker() -> None:
    """A request that cannot fit is refused without loading its model."""
    leases = OneLease()
    with pytest.raises(ContextLengthExceeded):
        await drain(LocalBackend(leases, BytePrompts()).generate(ask(), card("fable", context_tokens=12)))
    assert leases.given == 0
