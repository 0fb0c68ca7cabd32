"""The process that measures a model without a server."""

import sys
from pathlib import Path

import pytest
from tests.scaffolding.families import DEVICE, write_byte_tokenizer, write_random_model

from allod.bench.loop import raw_loop
from allod.config import WorkerSettings, load
from allod.core.errors import ModelUnavailable

pytestmark = pytest.mark.mlx

BUDGET_BYTES = 2**27


def argv(folder: Path, context_tokens: int, rows: tuple[int, ...]) -> list[str]:
    # Bandwidth is measured over a part of the budget; a small one is as good where no figure is looked at.
    chosen = {"home": str(folder), "device.kind": DEVICE, "device.memory_budget_bytes": str(BUDGET_BYTES)}
    settings = WorkerSettings.of(load(chosen, {}))
    command = [sys.executable, "-m", "allod.worker.measure", "--model", str(folder)]
    command += ["--context-tokens", str(context_tokens), "--settings", settings.to_json()]
    command += ["--measured", str(folder / "measured.json")]
    command += ["--rows", *map(str, rows), "--prompt-tokens", "40", "--steps", "4", "--repeats", "2"]
    return command


def test_every_row_count_is_measured(tmp_path: Path) -> None:
    """Rates for each row count and repeat, bytes that grow with rows; what does not fit is said."""
    write_random_model("llama", tmp_path / "model")
    write_byte_tokenizer(tmp_path / "model")
    found = raw_loop(argv(tmp_path / "model", 2048, (1, 3)))
    assert [rows.rows for rows in found.rows] == [1, 3]
    assert all(len(rows.decode_tokens_per_second) == 2 for rows in found.rows)
    assert found.rows[0].step_bytes < found.rows[1].step_bytes
    assert found.bandwidth.best_bytes_per_second > 1e8
    assert len(found.prefill_tokens_per_second) == 2
    # The embedding is looked up, not read: its 320 x 64 numbers are no part of a step.
    assert found.weights.every_step < found.weights_bytes
    assert found.left_out == ()
    short = raw_loop(argv(tmp_path / "model", 45, (1,)))
    assert short.rows == ()
    assert "context of 45" in short.left_out[0]


def test_a_model_that_does_not_load_is_said(tmp_path: Path) -> None:
    """The reason that the process gives reaches whoever asked."""
    write_random_model("llama", tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "no_such_family"}')
    with pytest.raises(ModelUnavailable, match="no_such_family"):
        raw_loop(argv(tmp_path / "model", 2048, (1,)))
