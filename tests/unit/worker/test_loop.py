"""The loop between a socket and a runner: it loads, answers, drains, and ends in an orderly way."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.scaffolding.worker_end import WorkerEnd

from allod.core.ids import RequestId, SequenceId, TenantId
from allod.core.messages import (
    Admitted,
    Cancel,
    Drain,
    Embed,
    Inspect,
    LoadFailed,
    Loading,
    Ready,
    Refused,
    Status,
    Stepped,
    Submit,
)
from allod.core.ports import Flight
from allod.core.prefixes import PrefixMatch
from allod.core.sampling import Sampling
from allod.core.step import StepPlan, StepResult
from allod.engine.settings import EngineSettings
from allod.testing.models import tiny_facts
from allod.testing.runner import FakeRunner
from allod.worker.loop import EXIT_LOAD_FAILED, EXIT_ORDERLY, LoadProgress, LoadRefused, serve

FACTS = tiny_facts()


@dataclass(frozen=True, slots=True)
class Watched:
    """A step on its way that says when it is waited for."""

    flight: Flight
    record: list[str]

    def collect(self) -> StepResult:
        self.record.append("collect")
        return self.flight.collect()


class WatchedRunner(FakeRunner):
    """Writes down when steps are launched, those with a first token under their own name, and waited for."""

    def __init__(self, record: list[str]) -> None:
        super().__init__(FACTS)
        self._record = record

    def launch(self, plan: StepPlan) -> Flight:
        self._record.append("first" if plan.join else "launch")
        return Watched(super().launch(plan), self._record)


class Gateway(WorkerEnd):
    """The end of a worker that generates, or cannot load."""

    def __init__(self, *, refusal: str = "") -> None:
        self._refusal = refusal
        self.record: list[str] = []
        super().__init__(lambda worker_end: serve(worker_end, self._load, EngineSettings()))

    def _load(self, progress: LoadProgress) -> FakeRunner:
        progress("pretending", 0.5)
        if self._refusal:
            raise LoadRefused(self._refusal)
        return WatchedRunner(self.record)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    assert gateway.next() == Loading("pretending", 0.5)
    assert gateway.next() == Ready(FACTS)
    yield gateway
    gateway.leave()


def submit(number: int, *, prompt: int = 5, max_tokens: int = 4) -> Submit:
    return Submit(
        request=RequestId(f"r{number}"),
        sequences=(SequenceId(number),),
        samplings=(Sampling(temperature=0.0),),
        tokens=tuple(range(1, prompt + 1)),
        max_tokens=max_tokens,
        stop_tokens=(),
        tenant=TenantId("t"),
    )


def tokens_until_finish(gateway: Gateway, sequence: int) -> list[int]:
    tokens: list[int] = []
    while True:
        report = gateway.next()
        if not isinstance(report, Stepped):
            continue
        for emission in report.emissions:
            if emission.sequence == sequence:
                tokens.extend(emission.tokens)
                if emission.finish:
                    return tokens


def test_a_submission_is_admitted_and_runs_to_its_end(gateway: Gateway) -> None:
    """Admitted first, then exactly max_tokens tokens."""
    gateway.send(submit(1))
    assert gateway.next() == Admitted(RequestId("r1"), 4, 0, PrefixMatch(0, 0, "new"))
    assert len(tokens_until_finish(gateway, 1)) == 4


def test_a_first_token_waits_for_no_other_step(gateway: Gateway) -> None:
    """Other steps are launched before the one ahead of them is waited for."""
    gateway.send(submit(1))
    tokens_until_finish(gateway, 1)
    assert gateway.record[:7] == ["launch", "first", "collect", "collect", "launch", "launch", "collect"]


def test_what_can_never_work_is_refused(gateway: Gateway) -> None:
    """The loop hands the scheduler's refusal on and goes on serving."""
    gateway.send(submit(1, max_tokens=10**6))
    refused = gateway.next()
    assert isinstance(refused, Refused)
    assert refused.reason == "context"
    gateway.send(submit(2))
    assert isinstance(gateway.next(), Admitted)


def test_inspection_is_answered_when_idle_and_shows_nothing_left(gateway: Gateway) -> None:
    """After a cancel the row is gone, and the loop sleeps rather than spins."""
    gateway.send(submit(1, max_tokens=4000))
    assert isinstance(gateway.next(), Admitted)
    gateway.send(Cancel((SequenceId(1),)))
    while True:
        gateway.send(Inspect())
        report = gateway.next()
        while not isinstance(report, Status):
            report = gateway.next()
        if report.rows == 0:
            break
    gateway.send(Inspect())
    later = gateway.next()
    assert isinstance(later, Status)
    assert (later.rows, later.queued, later.prefilling) == (0, 0, 0)
    assert later.steps == report.steps


def test_drain_finishes_what_was_submitted_then_ends() -> None:
    """Exit 0 after the last token, and the socket is closed."""
    gateway = Gateway()
    gateway.send(submit(1))
    gateway.send(Drain())
    assert len(tokens_until_finish(gateway, 1)) == 4
    with pytest.raises(EOFError):
        gateway.next()
    gateway.leave()
    assert gateway.code == EXIT_ORDERLY


def test_the_loop_ends_when_the_gateway_is_gone(gateway: Gateway) -> None:
    """No worker outlives its gateway, even with rows to decode."""
    gateway.send(submit(1, max_tokens=4000))
    gateway.leave()
    assert gateway.code == EXIT_ORDERLY


def test_a_load_that_fails_says_why_and_ends() -> None:
    """LoadFailed carries the words, the exit code tells it apart from a crash."""
    gateway = Gateway(refusal="too large")
    assert gateway.next() == Loading("pretending", 0.5)
    assert gateway.next() == LoadFailed("too large")
    gateway.join()
    assert gateway.code == EXIT_LOAD_FAILED
    gateway.leave()


def test_bytes_that_are_no_frames_end_the_loop(gateway: Gateway) -> None:
    """A peer that does not speak the protocol is as good as gone."""
    gateway._end.sendall(b"\xff" * 64)
    gateway.join()
    assert gateway.code == EXIT_ORDERLY


def test_text_models_do_not_embed(gateway: Gateway) -> None:
    """An Embed is refused in words that the client can act on."""
    gateway.send(Embed(RequestId("e"), (SequenceId(1),), ((1, 2),)))
    refused = gateway.next()
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.request) == ("invalid", "e")
    assert "embeds none" in refused.message
