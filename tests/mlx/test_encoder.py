"""The encoder against the same computation in numpy, and what it refuses to load."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.scaffolding import bert

from allod.device.cpu import CpuPlatform
from allod.runner.encoder import MlxEncoder, load_encoder
from allod.runner.load import CannotLoad

pytestmark = pytest.mark.mlx
ROWS = ((2, 5, 9, 11, 3), (2, 3), (2, *range(4, 25), 39, 3), (2, 7, 7, 7, 3))
GIB = 2**30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bert.write_bert(tmp_path / "model")
    return tmp_path / "model"


def loaded(folder: Path, budget_bytes: int = GIB) -> MlxEncoder:
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file():
        shutil.copy(pooling, folder / "pooling.json")
    return load_encoder(folder, CpuPlatform(), budget_bytes, 512)


def vectors(encoder: MlxEncoder, rows: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array([np.frombuffer(vector, "<f4") for vector in encoder.embed(rows)])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_vectors_are_those_of_an_independent_computation(tmp_path: Path, pooling: str, prefix: str) -> None:
    """Within 1e-5 of float64 numpy, row by row, for both poolings and both ways to name tensors."""
    bert.write_bert(tmp_path, pooling=pooling, prefix=prefix)
    found = vectors(loaded(tmp_path), ROWS)
    wanted = np.array([bert.expected(tmp_path, row, pooling=pooling) for row in ROWS])
    assert np.abs(found - wanted).max() < 1e-5


def test_padding_does_not_change_a_vector(folder: Path) -> None:
    """A row alone and the same row beside a longer one give the same vector."""
    encoder = loaded(folder)
    together = vectors(encoder, ROWS)
    alone = np.concatenate([vectors(encoder, [row]) for row in ROWS])
    assert np.abs(together - alone).max() < 1e-6


def test_vectors_are_of_unit_length(folder: Path) -> None:
    """So that a dot product is a cosine."""
    lengths = np.linalg.norm(vectors(loaded(folder), ROWS), axis=1)
    assert np.abs(lengths - 1).max() < 1e-6


def test_the_facts_of_an_encoder(folder: Path) -> None:
    """Positions limit the context, whatever the card says."""
    facts = loaded(folder).facts
    assert (facts.context_tokens, facts.vocabulary, facts.layers) == (24, 40, ())
    assert facts.weights_bytes > 0


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "roberta"}, "family 'roberta'"),
        ({"hidden_act": "relu"}, "activation 'relu'"),
        ({"position_embedding_type": "relative_key"}, "positions"),
        ({"num_hidden_layers": 3}, "no tensor 'encoder.layer.2"),
        ({"num_attention_heads": 5}, "do not divide"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"auto_map": {"AutoModel": "x"}}, "run code"),
    ],
)
def test_what_does_not_load_says_why(folder: Path, changes: dict[str, object], words: str) -> None:
    """A family, an activation or a shape that would compute something else is refused."""
    edit(folder, **changes)
    with pytest.raises(CannotLoad, match=words):
        loaded(folder)


def test_another_pooling_is_refused(tmp_path: Path) -> None:
    """A wrong pooling would give vectors that look right."""
    bert.write_bert(tmp_path, pooling="max")
    with pytest.raises(CannotLoad, match="max_tokens"):
        loaded(tmp_path)


def test_a_model_over_the_budget_is_refused(folder: Path) -> None:
    """Before its weights are computed."""
    with pytest.raises(CannotLoad, match="memory_budget_bytes"):
        loaded(folder, budget_bytes=1000)
