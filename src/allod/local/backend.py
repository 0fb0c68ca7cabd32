"""The Backend over this machine's workers: one request from rendering to its last event."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

import msgspec

from allod.core.card import ModelCard
from allod.core.errors import AllodError
from allod.core.events import Accepted, Event, Failed, TextDelta
from allod.core.ids import SequenceId
from allod.core.messages import Admitted, Refused, Submit
from allod.core.prefixes import PrefixMatch
from allod.core.request import GenerationRequest
from allod.core.sampling import Sampling
from allod.local.answer import Answer
from allod.local.link import Link, Mailbox
from allod.local.pictures import Pictures
from allod.local.refusals import check, fitted, prompt_field, refusal
from allod.local.render import Prompts, Rendered
from allod.local.settings import LocalSettings
from allod.local.stream import ChoiceStream
from allod.local.supply import Supplier

_SEED_BYTES = 8
_SEED_MASK = 2**63 - 1
_VERDICT_SECONDS = 10.0
"""Longest that headers wait for a worker that is there. It hears of a request between two steps."""


class Leases(Protocol):
    """Something that lends models that are in memory."""

    def lease(self, card: ModelCard) -> AbstractAsyncContextManager[Link]:
        """Hold a model in memory for the length of a `with` block, whose end does not wait."""
        ...


@dataclass(frozen=True, slots=True)
class _Order:
    """A request that has been rendered and checked."""

    request: GenerationRequest
    card: ModelCard
    prompt: Rendered


@dataclass(frozen=True, slots=True)
class _Opened:
    """A request that its worker has taken, and what it may reuse of the prompt."""

    mailbox: Mailbox
    prefix: PrefixMatch | None


class LocalBackend:
    """Answers requests with the workers of this machine.

    Args:
        residency: lends models.
        prompts: renders requests.
        settings: how long headers may wait.
        pictures: makes pictures ready for workers; None where no model sees.
    """

    def __init__(
        self,
        residency: Leases,
        prompts: Prompts,
        settings: LocalSettings | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        self._residency = residency
        self._prompts = prompts
        self._pictures = pictures
        self._accept_wait_seconds = (settings or LocalSettings()).accept_wait_seconds

    async def generate(self, request: GenerationRequest, card: ModelCard) -> AsyncGenerator[Event, None]:
        """Yield the events of one request.

        Closing the iterator, or cancelling whoever waits for it, cancels the request in the worker
        and gives the lease back, wherever the request is. Both have happened before the last event.

        Raises:
            AllodError: before the first event, for everything that can be a 4xx or 503 and is known
                in time; what becomes known later is a Failed. For a model that is loading that is
                `accept_wait_seconds`; a worker that is there says what it thinks in a step or two.
        """
        clock = asyncio.get_running_loop().time
        started_seconds = clock()
        prompt = await self._prompts.render(request, card)
        request = fitted(request, len(prompt.tokens), card)
        check(request, prompt.tokens, card)
        order = _Order(request, card, prompt)
        held = AsyncExitStack()
        leased = asyncio.Event()
        opening = asyncio.create_task(self._open(order, held, leased))
        accepted = False
        try:
            await asyncio.wait({opening}, timeout=self._accept_wait_seconds)
            if leased.is_set():
                await asyncio.wait({opening}, timeout=_VERDICT_SECONDS)
            prefix = opening.result().prefix if opening.done() else None
            accepted = True
            yield Accepted(len(prompt.tokens), prefix)
            for choice in range(request.choices if prompt.echo else 0):
                yield TextDelta(choice, prompt.echo)
            mailbox = (await opening).mailbox
            answer = Answer(_streams(order, mailbox), len(prompt.tokens), started_seconds)
            while not answer.finished:
                heard = answer.feed(await mailbox.next(), clock())
                if heard.cancel is not None:
                    mailbox.cancel(heard.cancel)
                for event in heard.events:
                    yield event
            last: Event = answer.conclude(clock())
        except AllodError as error:
            if not accepted:
                raise
            last = Failed(error)
        finally:
            await _call_off(opening, held)
        yield last

    async def _open(self, order: _Order, held: AsyncExitStack, leased: asyncio.Event) -> _Opened:
        """Wait for the model and for the worker's consent; what is then held goes onto the stack.

        Args:
            order: what is asked for.
            held: of this request.
            leased: is set once the model is there.

        Raises:
            AllodError: the model cannot be had, or the worker refuses.
        """
        link = await held.enter_async_context(self._residency.lease(order.card))
        leased.set()
        on_wanted = None
        if self._pictures is not None and order.prompt.pictures:
            laid = {picture.digest: picture for picture in order.prompt.pictures}
            supplier = Supplier(self._pictures, order.card, laid)
            held.callback(supplier.close)
            on_wanted = supplier.serve
        mailbox = held.enter_context(link.open(_submit(order, link), on_wanted))
        verdict = await mailbox.next()
        if isinstance(verdict, Refused):
            raise refusal(verdict, _fault(order, verdict))
        return _Opened(mailbox, verdict.prefix if isinstance(verdict, Admitted) else None)


def _fault(order: _Order, refused: Refused) -> str:
    """The field that a refusal is about."""
    if refused.picture is not None:
        return order.prompt.pictures[refused.picture].field
    return prompt_field(order.request)


async def _call_off(opening: asyncio.Task[_Opened], held: AsyncExitStack) -> None:
    """End the wait for a model, if it still goes on, and give back what is held.

    Nothing on the stack waits when it is given back, so a second cancellation changes nothing.
    """
    opening.cancel()
    try:
        await asyncio.wait({opening})
    finally:
        await held.aclose()
    if not opening.cancelled():
        opening.exception()  # it was raised already, or nobody is left to hear of it


def _submit(order: _Order, link: Link) -> Submit:
    request, card, prompt = order.request, order.card, order.prompt
    sampling = request.sampling.over(card.sampling).resolve()
    return Submit(
        request=request.request,
        sequences=link.allocate(request.choices),
        samplings=tuple(_seeded(sampling, choice) for choice in range(request.choices)),
        tokens=prompt.tokens,
        max_tokens=request.max_tokens,
        # A grammar that is complete lets nothing through but an end.
        stop_tokens=() if request.ignore_end and not prompt.grammar else (*card.stop_tokens, *prompt.ending),
        tenant=request.tenant,
        grammar=prompt.grammar,
        batch=request.priority == "batch",
        pictures=prompt.spans,
        boundaries=prompt.boundaries,
    )


def _seeded(sampling: Sampling, choice: int) -> Sampling:
    """The sampling of one choice. Without a seed the worker makes its own; choice 0 keeps the one given.

    Choice i > 0 gets the low 63 bits of a 64-bit BLAKE2b over `seed:i` in decimal, so that the choices of a
    seeded request differ from each other and repeat from run to run.
    """
    if sampling.seed is None or choice == 0:
        return sampling
    digest = hashlib.blake2b(f"{sampling.seed}:{choice}".encode(), digest_size=_SEED_BYTES).digest()
    return msgspec.structs.replace(sampling, seed=int.from_bytes(digest, "big") & _SEED_MASK)


def _streams(order: _Order, mailbox: Mailbox) -> dict[SequenceId, ChoiceStream]:
    return {
        sequence: ChoiceStream(choice, order.prompt.reading, order.request.stop)
        for choice, sequence in enumerate(mailbox.sequences)
    }
