"""A report with two targets and known numbers."""

import pytest

from allod.bench.answer import Answer
from allod.bench.client import Abilities
from allod.bench.raw import Bandwidth, RawLoop, WeightBytes, raw_rows
from allod.bench.report import (
    CaseReport,
    LeftOut,
    Machine,
    Report,
    Sample,
    TargetReport,
    ratios_of,
    result_of,
)
from allod.bench.settings import BenchSettings


def answer(first_seconds: float) -> Answer:
    return Answer(
        model="m",
        failure="",
        said="",
        status=200,
        sent_seconds=1.0,
        connect_seconds=0.001,
        ended_seconds=9.0,
        arrivals_seconds=(1.0 + first_seconds, 9.0),
        prompt_tokens=10,
        completion_tokens=2,
        cached_tokens=0,
    )


def case(
    scenario: str, size: int, *figures: tuple[dict[str, float | None], dict[str, float | None]]
) -> CaseReport:
    """A case; each pair has the figures of one repeat at A and at B."""
    answers = (answer(0.5), answer(0.25))
    results = [
        result_of(
            name, [Sample(pair[index], {"http 503": 2} if index else {}, 0.1, answers) for pair in figures]
        )
        for index, name in enumerate("AB")
    ]
    return CaseReport(scenario, f"{scenario} {size}", size, tuple(results), ratios_of(results))


def rate(rate: float) -> dict[str, float | None]:
    return {
        "decode_tokens_per_second": rate,
        "end_to_end_tokens_per_second": rate / 2,
        "gap_seconds_p50": None,
    }


@pytest.fixture
def report() -> Report:
    loop = RawLoop(
        model="m",
        device="a device",
        compute="stored",
        weights=WeightBytes(100),
        weights_bytes=100,
        bandwidth=Bandwidth(1e9, 2e9, 1.5e9),
        prompt_tokens=64,
        prefill_tokens_per_second=(900.0, 1000.0),
        rows=(raw_rows(4, 64, (0.04,), 1e7, Bandwidth(1e9, 2e9, 1.5e9)),),
    )
    abilities = Abilities(True, True, 4096, 1.3, "<server>")  # noqa: FBT003 - as the struct lists them
    return Report(
        started="2026-01-01T00:00:00+00:00",
        seconds=12.5,
        command=("allod", "bench", "run", "--key", "***"),
        machine=Machine("Linux", "a processor", 2, 2**34, ("a GPU",), 0.5, {"allod": "0.1.0"}, "abc"),
        settings=BenchSettings(),
        targets=tuple(TargetReport(name, f"http://{name}", ("m",), abilities) for name in "AB"),
        cases=(
            case("streams", 4, *[(rate(50.0), rate(60.0 + index)) for index in range(5)]),
            case("agent", 1024, ({"first_turn_first_seconds": 0.5}, {"first_turn_first_seconds": 0.4})),
            case("connections", 200, ({"served": 150.0, "failed": 0.0}, {"served": 100.0, "failed": 50.0})),
        ),
        left_out=(LeftOut("models", "<one> model"),),
        loop=loop,
    )
