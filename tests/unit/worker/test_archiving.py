"""Which models have an archive."""

from pathlib import Path

import pytest

from allod.core.step import LayerState, ModelFacts
from allod.engine.settings import EngineSettings
from allod.testing.models import FULL_ATTENTION, tiny_facts
from allod.worker.archiving import open_archive

WINDOW = LayerState("sliding", 1, bytes_per_token=3, fixed_bytes=0, window_tokens=24)
WANTED = EngineSettings(prefix_disk_bytes=10**6)


@pytest.mark.parametrize("layers", [(FULL_ATTENTION,), (FULL_ATTENTION, WINDOW), (WINDOW,)])
def test_any_layers_can_have_one(tmp_path: Path, layers: tuple[LayerState, ...]) -> None:
    """Where it is wanted."""
    facts = tiny_facts(layers=layers)
    archive = open_archive(tmp_path / "prefixes" / "m", tmp_path, WANTED, facts)
    assert archive is not None
    archive.close()
    assert open_archive(tmp_path / "prefixes" / "m", tmp_path, EngineSettings(), facts) is None


@pytest.mark.parametrize(
    "facts", [tiny_facts(unkept_because="it is odd"), tiny_facts(unstored_because="it is odd")]
)
def test_what_the_probe_found_is_said(
    tmp_path: Path, facts: ModelFacts, caplog: pytest.LogCaptureFixture
) -> None:
    """A model whose states cannot be kept, or not as bytes, has none, and its owner hears why."""
    assert open_archive(tmp_path / "prefixes" / "m", tmp_path, WANTED, facts) is None
    assert "not kept on disk: it is odd" in caplog.text
