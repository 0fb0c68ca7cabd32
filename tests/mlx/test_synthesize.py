"""What `allod bench synthesize` makes, as mlx-lm takes it."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm import load
from tests.scaffolding.families import DEVICE, FAMILIES, write_byte_tokenizer

from allod.bench.recipe import Recipe
from allod.bench.synthesize import synthesize_folder
from allod.registry.progress import ignore_progress

pytestmark = pytest.mark.mlx

CONFIGS = {
    "llama": FAMILIES["llama"],
    "mistral": {**FAMILIES["llama"], "model_type": "mistral", "tie_word_embeddings": True},
    "qwen2": {**FAMILIES["llama"], "model_type": "qwen2"},
    "qwen3": FAMILIES["qwen3"],
    "qwen3_moe": {**FAMILIES["qwen3_moe"], "moe_intermediate_size": 64},
    "gemma2": {
        **FAMILIES["gemma3_text"],
        "model_type": "gemma2",
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3_text": FAMILIES["gemma3_text"],
}


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("bits", [4, 6])
def test_mlx_lm_loads_it_unmodified_and_it_speaks(tmp_path: Path, family: str, bits: int) -> None:
    """`load` finds every tensor it wants and no other; logits are finite; only whole characters are said."""
    mx.set_default_device(mx.Device(mx.cpu if DEVICE == "cpu" else mx.gpu))
    speaker, folder = tmp_path / "speaker", tmp_path / "made"
    for each in (speaker, folder):
        each.mkdir()
    write_byte_tokenizer(speaker)
    named = json.loads((speaker / "tokenizer_config.json").read_text())
    named["tokenizer_class"] = "PreTrainedTokenizerFast"
    (speaker / "tokenizer_config.json").write_text(json.dumps(named))
    (speaker / "config.json").write_text(json.dumps({"eos_token_id": 257}))
    synthesize_folder(folder, Recipe(CONFIGS[family], bits, 32), speaker, ignore_progress)
    model, tokenizer = load(str(folder))
    tokens = tokenizer.encode("A river runs")
    for _ in range(12):
        logits = np.array(model(mx.array([tokens]))[0, -1].astype(mx.float32).tolist())
        assert np.isfinite(logits).all()
        assert 0.2 < logits.std() < 5
        tokens.append(int(logits.argmax()))
    assert all(token < 256 and tokenizer.decode([token]).isprintable() for token in tokens[-12:])
