"""Models with random weights."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scaffolding.families import FAMILIES, write_byte_tokenizer

from allod.bench.layouts import FAMILIES as KNOWN
from allod.bench.layouts import Layout, Matrix
from allod.bench.recipe import Recipe, config_file, preset, preset_names
from allod.bench.synthesize import scale_of, synthesize_folder, synthesize_model
from allod.core.errors import ConfigurationError, ImportRefused
from allod.registry.catalog import Catalog
from allod.registry.importing import import_path
from allod.registry.progress import Progress, ignore_progress
from allod.registry.weights import read_tensors


@pytest.fixture
def speaker(tmp_path: Path) -> Path:
    """The folder of a model that has a tokenizer; its weights are never read."""
    folder = tmp_path / "speaker"
    folder.mkdir()
    write_byte_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": 257}))
    return folder


def made(folder: Path, recipe: Recipe, speaker: Path) -> Path:
    folder.mkdir()
    synthesize_folder(folder, recipe, speaker, ignore_progress)
    return folder


@given(st.integers(32, 60_000), st.sampled_from((2, 3, 4, 5, 6, 8)))
def test_weights_spread_as_they_should_and_are_centred(columns: int, bits: int) -> None:
    """Their deviation is 1/sqrt(columns) but for rounding, and bfloat16 holds scale and bias exactly."""
    scale = scale_of(columns, bits)
    spread = scale * math.sqrt((4**bits - 1) / 12)
    assert 2 / 3 - 1e-9 <= spread * math.sqrt(columns) <= 4 / 3 + 1e-9
    for value in (scale, scale * (2**bits - 1) / 2):
        assert int(np.float32(value).view(np.uint32)) & 0xFFFF == 0


def test_presets_are_models_that_can_be_made() -> None:
    """Each has a known family, sizes that quantise without a rest, and the weight that is known of it."""
    bytes_at_four_bits = {}
    for name in preset_names():
        matrices = [tensor for tensor in Layout(preset(name)).tensors() if isinstance(tensor, Matrix)]
        assert all(matrix.shape[-1] % 128 == 0 for matrix in matrices)
        bytes_at_four_bits[name] = sum(math.prod(matrix.shape) for matrix in matrices) * 4.5 / 8
    assert 4.3e9 < bytes_at_four_bits["llama-8b"] < 4.7e9
    assert 14.5e9 < bytes_at_four_bits["gemma3-27b"] < 15.6e9
    assert 17e9 < bytes_at_four_bits["qwen3-30b-a3b"] < 17.5e9


def test_the_same_seed_makes_the_same_model(tmp_path: Path, speaker: Path) -> None:
    """And another seed makes another."""
    config = FAMILIES["llama"]
    files = [
        (made(tmp_path / str(index), Recipe(config, 4, 32, seed), speaker) / "model.safetensors").read_bytes()
        for index, seed in enumerate((0, 0, 1))
    ]
    assert files[0] == files[1] != files[2]


def test_what_is_stored_is_what_mlx_stores(tmp_path: Path, speaker: Path) -> None:
    """Packed words, scales and biases of every matrix have MLX's shapes, and the config says so."""
    folder = made(tmp_path / "made", Recipe(FAMILIES["llama"], 4, 32), speaker)
    tensors = {tensor.name: tensor for tensor in read_tensors(folder / "model.safetensors")}
    up = [tensors[f"model.layers.1.mlp.up_proj.{part}"] for part in ("weight", "scales", "biases")]
    assert [tensor.shape for tensor in up] == [(96, 8), (96, 2), (96, 2)]
    assert [tensor.dtype for tensor in up] == ["U32", "BF16", "BF16"]
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization"] == {"group_size": 32, "bits": 4}
    assert config["vocab_size"] == 320
    assert config["eos_token_id"] == 257


def test_a_large_model_is_written_piece_by_piece(tmp_path: Path, speaker: Path) -> None:
    """Progress counts tensors to the last one."""
    seen: list[Progress] = []
    folder = tmp_path / "made"
    folder.mkdir()
    synthesize_folder(folder, Recipe(FAMILIES["qwen3"], 16), speaker, seen.append)
    assert seen[0].stage == "inventing weights"
    assert seen[-1].done == seen[-1].total == len(read_tensors(folder / "model.safetensors"))


@pytest.mark.parametrize(
    ("config", "bits", "group_size", "words"),
    [
        ({"model_type": "mamba"}, 4, 64, "known: " + ", ".join(KNOWN)),
        ({"model_type": "llama"}, 4, 64, "vocab_size"),
        ({**FAMILIES["llama"], "vocab_size": 100}, 4, 32, "another tokenizer"),
        ({**FAMILIES["llama"], "hidden_size": 48}, 4, 32, "--group-size 32"),
        (FAMILIES["llama"], 7, 32, "--bits 7"),
        (FAMILIES["llama"], 4, 48, "--group-size 48"),
    ],
)
def test_what_makes_no_model_is_refused(
    tmp_path: Path, speaker: Path, config: dict[str, object], bits: int, group_size: int, words: str
) -> None:
    """Before a byte is written, with the option or the size at fault."""
    with pytest.raises(ConfigurationError) as refused:
        made(tmp_path / "made", Recipe(config, bits, group_size), speaker)
    assert words in refused.value.message
    assert list((tmp_path / "made").iterdir()) == []


def test_it_becomes_a_model_of_the_catalogue(tmp_path: Path, speaker: Path) -> None:
    """Under a name that is free, with a card that says what it is."""
    catalog = Catalog(tmp_path / "models")
    made(tmp_path / "first", Recipe(FAMILIES["llama"], 16), speaker)
    card = import_path(catalog, tmp_path / "first", "speaker", ignore_progress)
    recipe = Recipe(FAMILIES["gemma3_text"], 4, 32)
    found = synthesize_model(catalog, "big", recipe, card, ignore_progress)
    assert catalog.named("big") == found
    assert (found.architecture, found.quantization, found.vocabulary) == ("gemma3_text", "4-bit g32", 320)
    assert found.has_chat_template
    assert "random weights" in found.source
    with pytest.raises(ImportRefused, match="already here"):
        synthesize_model(catalog, "big", recipe, card, ignore_progress)


def test_configs_come_from_files_and_presets(tmp_path: Path) -> None:
    """Of a model that sees, the part for text is taken; a name that is unknown lists those that are not."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}))
    assert config_file(path) == {"model_type": "gemma3_text"}
    with pytest.raises(ConfigurationError, match="no such file"):
        config_file(tmp_path / "absent")
    with pytest.raises(ConfigurationError, match="llama-8b"):
        preset("llama-9b")
