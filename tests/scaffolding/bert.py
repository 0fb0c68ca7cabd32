"""A small BERT with random weights, and the same computation in numpy, without our code or MLX's."""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 32,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 24,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 40,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghij")]


def write_bert(folder: Path, *, seed: int = 3, pooling: str = "mean", prefix: str = "") -> None:
    """config.json, model.safetensors, tokenizer.json and what sentence-transformers says of pooling."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save(folder / "model.safetensors", {prefix + name: value for name, value in weights(seed).items()})
    pools = {"word_embedding_dimension": CONFIG["hidden_size"]}
    pools |= {
        f"pooling_mode_{mode}": mode.startswith(pooling)
        for mode in ("cls_token", "mean_tokens", "max_tokens")
    }
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pools))
    tokenizer = Tokenizer(WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(folder / "tokenizer.json"))


def weights(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]

    def pair(name: str, out: int, into: int) -> dict[str, np.ndarray]:
        return {
            f"{name}.weight": random.normal(0, 2 / into**0.5, (out, into)),
            f"{name}.bias": random.normal(0, 0.1, out),
        }

    def norm(name: str) -> dict[str, np.ndarray]:
        return {
            f"{name}.weight": random.normal(1, 0.1, hidden),
            f"{name}.bias": random.normal(0, 0.1, hidden),
        }

    found: dict[str, np.ndarray] = {"embeddings.position_ids": np.arange(24)[None]}
    for table, rows in (("word", CONFIG["vocab_size"]), ("position", 24), ("token_type", 2)):
        found[f"embeddings.{table}_embeddings.weight"] = random.normal(0, 1, (rows, hidden))
    found |= norm("embeddings.LayerNorm")
    for layer in range(CONFIG["num_hidden_layers"]):
        here = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            found |= pair(f"{here}.attention.self.{part}", hidden, hidden)
        found |= pair(f"{here}.attention.output.dense", hidden, hidden)
        found |= norm(f"{here}.attention.output.LayerNorm")
        found |= pair(f"{here}.intermediate.dense", inner, hidden)
        found |= pair(f"{here}.output.dense", hidden, inner)
        found |= norm(f"{here}.output.LayerNorm")
    return {name: value.astype(np.float32) for name, value in found.items()}


def save(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """A safetensors file, by its published layout."""
    header: dict[str, object] = {}
    begin = 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": [begin, begin + value.nbytes]}
        begin += value.nbytes
    text = json.dumps(header).encode()
    data = b"".join(value.tobytes() for value in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read(path: Path) -> dict[str, np.ndarray]:
    """The float32 tensors of a safetensors file, by its published layout."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return {
        name: np.frombuffer(data, "<f4", math.prod(entry["shape"]), 8 + length + entry["data_offsets"][0])
        .reshape(entry["shape"])
        .astype(np.float64)
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


def expected(folder: Path, row: Sequence[int], *, pooling: str = "mean") -> np.ndarray:
    """The unit vector of one row, alone and without padding, in float64."""
    config = json.loads((folder / "config.json").read_text())
    tensors = {
        name.removeprefix("bert."): value for name, value in read(folder / "model.safetensors").items()
    }
    heads, length = config["num_attention_heads"], len(row)

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    x = tensors["embeddings.word_embeddings.weight"][list(row)]
    x = x + tensors["embeddings.position_embeddings.weight"][:length]
    x = norm("embeddings.LayerNorm", x + tensors["embeddings.token_type_embeddings.weight"][0])
    for layer in range(config["num_hidden_layers"]):
        here = f"encoder.layer.{layer}"
        q, k, v = (
            linear(f"{here}.attention.self.{part}", x).reshape(length, heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = np.exp(q @ k.swapaxes(1, 2) / q.shape[-1] ** 0.5)
        mixed = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(length, -1)
        x = norm(f"{here}.attention.output.LayerNorm", x + linear(f"{here}.attention.output.dense", mixed))
        inner = linear(f"{here}.intermediate.dense", x)
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / 2**0.5))
        x = norm(f"{here}.output.LayerNorm", x + linear(f"{here}.output.dense", inner))
    pooled = x.mean(0) if pooling == "mean" else x[0]
    return pooled / np.linalg.norm(pooled)
