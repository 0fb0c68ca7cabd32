"""The bench against a server whose delays, counts and faults are known."""

import dataclasses
from collections.abc import Sequence

import pytest
from tests.scaffolding.fake_openai import Behaviour, fake_openai

from allod.bench.client import Target
from allod.bench.machine import machine
from allod.bench.moments import Moment
from allod.bench.report import CaseReport, Report
from allod.bench.run import measure
from allod.bench.settings import BenchSettings
from allod.core.errors import ConfigurationError, ModelNotFound, ModelUnavailable

SMALL = BenchSettings(
    repeats=2,
    streams=(1, 4),
    connections=(30,),
    max_tokens=12,
    prompt_words=8,
    long_words=400,
    agent_tokens=800,
    budget_seconds=60,
    patience_seconds=10,
)
SLACK_SECONDS = 1.0
"""A busy machine may be late by this much."""

TIMER_SECONDS = 0.001
"""An event loop may be early by this much: its timers count whole milliseconds."""


def run(settings: BenchSettings, *targets: Target) -> Report:
    return measure(targets, settings, machine(), ["test"], lambda _: None)


def only(scenario: str, behaviour: Behaviour, **changes: object) -> Sequence[CaseReport]:
    settings = dataclasses.replace(SMALL, scenarios=(scenario,), **changes)
    with fake_openai(behaviour) as url:
        return run(settings, Target("fake", url, behaviour.models if len(behaviour.models) > 1 else ())).cases


def figures(case: CaseReport) -> dict[str, float]:
    return case.results[0].medians


def test_single_tells_new_prompts_from_known_ones() -> None:
    """The first token comes after the server's delay, which is shorter when it has seen the prompt."""
    behaviour = Behaviour(first=0.3, cached_first=0.05, gap=0.02)
    (case,) = only("single", behaviour)
    found = figures(case)
    assert 0.3 - TIMER_SECONDS <= found["cold_first_seconds"] < 0.3 + SLACK_SECONDS
    assert 0.05 - TIMER_SECONDS <= found["warm_first_seconds"] < 0.3
    assert 0 < found["decode_tokens_per_second"] <= 1 / (0.02 - TIMER_SECONDS)
    assert found["end_to_end_tokens_per_second"] < 12 / (0.3 + 11 * 0.02)
    (cold, warm) = case.results[0].samples[0].answers
    assert (cold.completion_tokens, len(cold.arrivals_seconds)) == (12, 12)
    assert (cold.cached_tokens, warm.cached_tokens == warm.prompt_tokens) == (0, True)


def test_rates_count_tokens_and_not_pieces() -> None:
    """A server that sends four tokens in each piece decodes four times the pieces it sends."""
    (case,) = only("single", Behaviour(gap=0.05, tokens_per_piece=4))
    assert 40 < figures(case)["decode_tokens_per_second"] <= 80
    assert len(case.results[0].samples[0].answers[0].arrivals_seconds) == 3


def test_streams_are_asked_all_at_once() -> None:
    """Four streams of a server that shares nothing are about four times as fast as one; nothing fails."""
    one, four = only("streams", Behaviour(first=0.1, gap=0.03))
    assert [case.size for case in (one, four)] == [1, 4]
    ratio = figures(four)["end_to_end_tokens_per_second"] / figures(one)["end_to_end_tokens_per_second"]
    assert 2 < ratio < 5
    assert figures(four)["gap_seconds_p50"] >= 0.025
    assert figures(four)["first_seconds_p50"] >= 0.1
    assert four.results[0].failures == {}
    assert [len(sample.answers) for sample in four.results[0].samples] == [4, 4]


def test_stall_finds_the_longest_gap() -> None:
    """Streams stand still for 0.4 s when a long prompt comes: the longest gap, not the usual one."""
    for case in only("stall", Behaviour(gap=0.01, pause_for_long=0.4), repeats=1):
        found = figures(case)
        assert 0.39 <= found["longest_gap_seconds"] < 0.4 + SLACK_SECONDS
        assert 0.39 <= found["newcomer_first_seconds"] < 0.4 + SLACK_SECONDS
        assert found["gap_seconds_p50"] < 0.2
        assert case.results[0].failures == {}


def test_agent_grows_and_reads_what_was_cached() -> None:
    """Eight turns, each longer than the last; all but the first begin with what the server knows."""
    behaviour = Behaviour(first=0.2, cached_first=0.01)
    (case,) = only("agent", behaviour, repeats=1)
    found = figures(case)
    assert found["first_turn_first_seconds"] >= 0.2 - TIMER_SECONDS
    assert found["later_turns_first_seconds"] < 0.2
    assert found["cached_share"] == 1.0
    prompts = [answer.prompt_tokens or 0 for answer in case.results[0].samples[0].answers]
    assert len(prompts) == 8
    assert prompts == sorted(prompts)
    assert 400 < prompts[-1] < 1000


def test_agent_fits_the_servers_context() -> None:
    """A conversation is scaled to the shortest context, whatever was asked for."""
    (case,) = only("agent", Behaviour(context_length=500), repeats=1, agent_tokens=8192)
    assert case.size < 500
    assert case.results[0].failures == {}


def test_drops_leave_the_others_alone() -> None:
    """Half go away, which is no failure; the others finish, and the next one is answered."""
    behaviour = Behaviour(gap=0.03, first=0.02)
    (case,) = only("drops", behaviour, repeats=1, max_tokens=40)
    found = figures(case)
    assert found["survivors_share"] == 1.0
    assert 0.02 - TIMER_SECONDS <= found["afterwards_first_seconds"] < SLACK_SECONDS
    assert case.results[0].failures == {}
    dropped = [answer for answer in case.results[0].samples[0].answers if answer.failure == "dropped by us"]
    assert len(dropped) == 4


def test_connections_are_served_refused_or_failed() -> None:
    """With ten places, ten of thirty are served and twenty refused; every one is accounted for."""
    (case,) = only("connections", Behaviour(first=1.0, most=10), repeats=1)
    found = figures(case)
    assert (found["served"], found["refused"], found["failed"]) == (10, 20, 0)
    assert found["served_seconds_p50"] >= 1.0
    assert case.results[0].failures == {"http 503": 20}


def test_models_are_asked_in_turn() -> None:
    """Each model gets one request of a sample, in the order in which they were named."""
    behaviour = Behaviour(models=("a", "b", "c"))
    (case,) = only("models", behaviour, repeats=1)
    assert [answer.model for answer in case.results[0].samples[0].answers] == ["a", "b", "c"]
    assert case.size == 3


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Behaviour(wire="error"), "error event"),
        (Behaviour(wire="cut"), "unfinished"),
        (Behaviour(breaks_after=3), "broken off"),
    ],
)
def test_what_breaks_in_the_middle_is_a_failure(behaviour: Behaviour, kind: str) -> None:
    """Failures are counted by kind, and a broken answer has no place among the whole ones."""
    settings = dataclasses.replace(SMALL, scenarios=("streams",), streams=(2,), repeats=1)
    wire, behaviour.wire = behaviour.wire, "sse"
    after, behaviour.breaks_after = behaviour.breaks_after, None

    def spoil(moment: Moment) -> None:
        if moment.words.startswith("streams"):
            behaviour.wire, behaviour.breaks_after = wire, after

    with fake_openai(behaviour) as url:
        report = measure([Target("fake", url)], settings, machine(), [], spoil)
    assert report.cases[0].results[0].failures == {kind: 2}
    assert "decode_tokens_per_second" not in figures(report.cases[0])


@pytest.mark.parametrize(
    "refuses", [frozenset({"ignore_eos"}), frozenset({"ignore_eos", "stream_options"})], ids=len
)
def test_a_strict_server_is_asked_without_what_it_refuses(refuses: frozenset[str]) -> None:
    """Unknown fields are tried once, then left out; deltas count where usage is not told."""
    behaviour = Behaviour(refuses=refuses)
    (case,) = only("single", behaviour, repeats=1)
    assert case.results[0].failures == {}
    assert not any(refuses & set(body) for body in behaviour.seen[-2:])
    assert case.results[0].samples[0].answers[0].tokens == 12


def test_targets_take_turns_and_are_compared_in_pairs() -> None:
    """A B A B: each repeat measures every target, and ratios are taken within it."""
    words: list[str] = []
    settings = dataclasses.replace(SMALL, scenarios=("single",), repeats=2, max_tokens=6)
    with fake_openai(Behaviour(gap=0.01)) as fast, fake_openai(Behaviour(gap=0.05)) as slow:
        targets = [Target("fast", fast), Target("slow", slow)]
        report = measure(targets, settings, machine(), [], lambda moment: words.append(moment.words))
    assert [word.split(", ")[1] for word in words if word.startswith("single")] == ["fast", "slow"] * 2
    ratio = next(ratio for ratio in report.cases[0].ratios if ratio.figure == "decode_tokens_per_second")
    assert (ratio.target, ratio.baseline, len(ratio.ratios)) == ("slow", "fast", 2)
    assert ratio.median < 0.7


def test_what_time_does_not_allow_is_left_out_and_said() -> None:
    """The first samples are taken, later repeats are not, and the report says which."""
    settings = dataclasses.replace(SMALL, scenarios=("streams", "models"), repeats=9, budget_seconds=1.0)
    with fake_openai(Behaviour(first=0.3)) as url:
        report = run(settings, Target("fake", url))
    samples = [len(case.results[0].samples) for case in report.cases]
    skipped = [left for left in report.left_out if left.what.startswith("streams")]
    assert samples[0] >= 1
    assert sum(samples) + len(skipped) == 18
    assert any(left.what == "models" for left in report.left_out)


def test_what_cannot_be_measured_is_refused_at_once() -> None:
    """A server that is not there, lists nothing, or does not answer; names that clash; unknown scenarios."""
    with fake_openai(Behaviour()) as url:
        gone = Target("gone", url)
        with pytest.raises(ConfigurationError, match="one name"):
            run(SMALL, gone, gone)
        with pytest.raises(ConfigurationError, match="--scenario sing"):
            run(dataclasses.replace(SMALL, scenarios=("sing",)), gone)
    with pytest.raises(ModelUnavailable, match="is the server running"):
        run(SMALL, gone)
    with fake_openai(Behaviour(models=())) as url, pytest.raises(ModelNotFound, match="--model"):
        run(SMALL, Target("empty", url))
    with fake_openai(Behaviour(most=0)) as url, pytest.raises(ModelUnavailable, match="http 503"):
        run(SMALL, Target("busy", url))
