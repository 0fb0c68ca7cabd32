"""Whatever a file claims: a refusal or the truth, never another error."""

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from hypothesis import given
from hypothesis import strategies as st

from allod.core.errors import ImportRefused
from allod.registry.catalog import Catalog, is_model_name, model_name_from
from allod.registry.gguf.header import read_header
from allod.registry.gguf.rope import half_split_rows
from allod.registry.gguf.tensors import QUANTISED, repack
from allod.registry.weights import DTYPE_BYTES, read_tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(
    heads=st.integers(1, 8),
    half=st.integers(1, 16),
    rest=st.lists(st.integers(1, 5), max_size=2),
)
def test_undoing_the_row_order_is_its_inverse(heads: int, half: int, rest: list[int]) -> None:
    """llama.cpp's permutation, then ours, is the identity for any heads and size."""
    shape = (heads * 2 * half, *rest)
    rows = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    stored = rows.reshape(heads, 2, half, *rest).swapaxes(1, 2).reshape(shape)
    assert np.array_equal(half_split_rows(stored, heads), rows)


@given(
    kind=st.sampled_from(sorted(QUANTISED)),
    rows=st.integers(1, 4),
    groups=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_repacking_keeps_every_value(kind: str, rows: int, groups: int, seed: int) -> None:
    """Any codes under any moderate scale dequantise to the same float32, bit for bit."""
    block = QUANTISED[kind]
    chance = np.random.default_rng(seed)
    blocks = chance.integers(0, 256, (rows * groups, block.block_bytes)).astype(np.uint8)
    scales = (chance.normal(size=(rows * groups, 2)) * 2.0 ** chance.integers(-20, 6)).astype("<f2")
    head = 2 if kind == "Q4_1" else 1
    blocks[:, : 2 * head] = np.ascontiguousarray(scales[:, :head]).view(np.uint8)
    packed = repack(blocks.reshape(-1), kind, (rows, groups * 32), "w")

    words = packed.weight.view("<u4")
    codes = (words[..., None] >> np.arange(0, 32, block.bits, dtype=np.uint32)) & np.uint32(2**block.bits - 1)
    grouped = codes.reshape(rows, groups, 32).astype(np.float32)
    scale = packed.scales.view("<f2").astype(np.float32)[..., None]
    bias = packed.biases.view("<f2").astype(np.float32)[..., None]
    expected = dequantize(blocks.reshape(rows, -1), GGMLQuantizationType[kind])
    assert np.array_equal((scale * grouped + bias).reshape(rows, -1), expected)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(list(DTYPE_BYTES)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "w"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    header=json_values | st.dictionaries(st.text(max_size=3), json_values, max_size=3),
    data=st.binary(max_size=64),
)
def test_any_safetensors_header_is_refused_or_consistent(folder: Path, header: object, data: bytes) -> None:
    """What is accepted covers the data exactly, without gaps or overlaps."""
    text = json.dumps(header).encode()
    path = folder / "header.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    try:
        tensors = read_tensors(path)
    except ImportRefused:
        return
    assert sum(tensor.stored_bytes for tensor in tensors) == len(data)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_no_weights(folder: Path, content: bytes) -> None:
    """Noise is refused as weights and as GGUF, with or without the right first letters."""
    path = folder / "noise"
    for begin in (b"", b"GGUF\3\0\0\0", b"GGUF\3\0\0\0" + b"\1\0\0\0\0\0\0\0" * 2):
        path.write_bytes(begin + content)
        try:
            header = read_header(path)
        except ImportRefused:
            pass
        else:
            assert all(t.begin + t.stored_bytes <= path.stat().st_size for t in header.tensors)
        try:
            read_tensors(path)
        except ImportRefused:
            continue
        assert path.stat().st_size >= len(b"12345678{}")


@given(name=st.text(max_size=100) | st.from_regex(r"[a-z0-9._/-]{1,100}", fullmatch=True))
def test_a_name_is_legal_or_reaches_nothing(folder: Path, name: str) -> None:
    """A legal name is one path component right below the root; made names are always legal."""
    catalog = Catalog(folder / "models")
    if is_model_name(name):
        assert not catalog.holds(name)
        assert (catalog.root / name).resolve().parent == catalog.root.resolve()
    else:
        with pytest.raises(ImportRefused):
            catalog.require_free(name)
    try:
        made = model_name_from(name)
    except ImportRefused:
        return
    assert is_model_name(made)
    assert model_name_from(made) == made
