"""`allod bench` against a real server."""

import math
import sys
from pathlib import Path
from subprocess import run

import msgspec
import pytest
from tests.scaffolding.server import RunningServer

from allod.bench.report import Report

pytestmark = pytest.mark.model

SCENARIOS = ("single", "streams", "drops", "connections")


def test_the_bench_measures_a_real_server(small_server: RunningServer, tmp_path: Path) -> None:
    """Answers have the length that was asked for by the server's own count, and nothing fails."""
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "allod", "bench", "run", f"allod={small_server.base_url}"]
    command += ["--model", "llama", "--repeats", "1", "--streams", "2", "--connections", "8"]
    command += ["--max-tokens", "12", "--prompt-words", "8", "--seconds", "60", "--json", str(out)]
    for scenario in SCENARIOS:
        command += ["--scenario", scenario]
    done = run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    report = msgspec.json.decode(out.read_bytes(), type=Report)
    assert report.targets[0].abilities.ignores_eos
    assert report.targets[0].abilities.tells_usage
    assert [case.scenario for case in report.cases] == list(SCENARIOS)
    assert all(not case.results[0].failures for case in report.cases)
    single = report.cases[0].results[0]
    assert [answer.completion_tokens for answer in single.samples[0].answers] == [12, 12]
    # What a random model says may be no text before its last token; then there is no rate of decoding.
    arrivals, rates = single.samples[0].answers[0].arrivals_seconds, single.medians
    assert arrivals
    assert ("decode_tokens_per_second" in rates) == (arrivals[-1] > arrivals[0])
    whole_rate = rates["end_to_end_tokens_per_second"]
    assert rates.get("decode_tokens_per_second", math.inf) > whole_rate > 0
    drops = report.cases[2].results[0]
    assert drops.medians["survivors_share"] == 1.0
