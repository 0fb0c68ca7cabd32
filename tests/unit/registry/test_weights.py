import json
from pathlib import Path

import pytest

from allod.core.errors import ImportRefused
from allod.registry.weights import read_tensors, require_shards, shards_of_index


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def write(path: Path, header: object, data: bytes = b"\0" * 8) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_a_true_header_reads_back(tmp_path: Path) -> None:
    """Tensors come in the order of their bytes, scalars and empty ones included."""
    header = {
        "__metadata__": {"format": "pt"},
        "b": entry("BF16", [2], [4, 8]),
        "a": entry("F32", [], [0, 4]),
        "none": entry("F32", [0, 5], [8, 8]),
    }
    tensors = read_tensors(write(tmp_path / "m", header))
    assert [(tensor.name, tensor.shape, tensor.stored_bytes) for tensor in tensors] == [
        ("a", (), 4),
        ("b", (2,), 4),
        ("none", (0, 5), 0),
    ]


LIES = {
    "dtype unknown": ({"w": entry("Q4")}, "dtype"),
    "dtype no text": ({"w": entry(["F32"])}, "dtype"),
    "negative shape": ({"w": entry(shape=[-2])}, "shape"),
    "true in shape": ({"w": entry(shape=[True, 2])}, "shape"),
    "fraction in shape": ({"w": entry(shape=[2.0])}, "shape"),
    "no shape": ({"w": {"dtype": "F32", "data_offsets": [0, 8]}}, "shape"),
    "one offset": ({"w": entry(offsets=[8])}, "data_offsets"),
    "falling offsets": ({"w": entry(offsets=[8, 0])}, "data_offsets"),
    "size differs": ({"w": entry(shape=[3])}, "needs 12 bytes, it has 8"),
    "huge product": ({"w": entry(shape=[2**62, 2**62])}, "needs"),
    "no entry": ({"w": 5}, "not an object"),
    "gap": (
        {"v": entry(shape=[1], offsets=[0, 4]), "w": entry(shape=[0], offsets=[8, 8])},
        "starts at byte 8",
    ),
    "overlap": ({"v": entry(), "w": entry(offsets=[0, 8])}, "starts at byte 0"),
    "begins late": ({"w": entry(shape=[1], offsets=[4, 8])}, "starts at byte 4"),
    "bytes left over": ({"w": entry(shape=[1], offsets=[0, 4])}, "take 4 bytes, the file holds 8"),
    "beyond the end": ({"w": entry(shape=[4], offsets=[0, 16])}, "take 16 bytes, the file holds 8"),
    "list": ([], "not a JSON object"),
    "no JSON": (b"{", "not JSON"),
    "no text": (b"\xff\xfe\xff", "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "twice": (b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{}}', "twice"),
    "long number": (b'{"w":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', "not JSON"),
}


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_is_refused_by_name(tmp_path: Path, lie: str) -> None:
    """The message names the file, the problem and the way out."""
    header, said = LIES[lie]
    with pytest.raises(ImportRefused) as caught:
        read_tensors(write(tmp_path / "bad.safetensors", header))
    assert said in caught.value.message
    assert "bad.safetensors" in caught.value.message
    assert "fetch it again" in caught.value.message


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 7, b"\xff" * 8, (10**9).to_bytes(8, "little") + b"{}", b"\0" * 8]
)
def test_lengths_that_cannot_be_are_refused(tmp_path: Path, content: bytes) -> None:
    """A header length beyond the file is refused before anything of that size is read."""
    path = tmp_path / "m"
    path.write_bytes(content)
    with pytest.raises(ImportRefused):
        read_tensors(path)


def test_an_index_names_its_missing_shards(tmp_path: Path) -> None:
    """Every shard that is not there is listed."""
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    shards = shards_of_index(index)
    assert shards == ("model-1.safetensors", "model-2.safetensors")
    with pytest.raises(
        ImportRefused, match=r"2 files that are not there: model-1\.safetensors, model-2\.safetensors"
    ):
        require_shards(index, shards, ["model.safetensors"])


@pytest.mark.parametrize(
    "shard",
    ["../a.safetensors", "/a.safetensors", "a\\b.safetensors", ".a.safetensors", "a.bin", 5, ["a"], None],
)
def test_an_index_cannot_point_out_of_its_folder(tmp_path: Path, shard: object) -> None:
    """Only plain safetensors names are followed."""
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ImportRefused):
        shards_of_index(index)
