import json
from pathlib import Path

import numpy as np
import pytest

from allod.registry.progress import Progress, ignore_progress
from allod.registry.shards import Batch, Planned, write_shards
from allod.registry.weights import read_tensors, shards_of_index


def batch(name: str, length: int) -> Batch:
    return Batch((Planned(name, "U8", (length,)),), lambda: (np.full(length, length, np.uint8),))


def test_one_shard_needs_no_index(tmp_path: Path) -> None:
    """A small model is one file, told tensor by tensor."""
    seen: list[Progress] = []
    write_shards(tmp_path, [batch("a", 3), batch("b", 5)], seen.append)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert [(each.done, each.total) for each in seen] == [(1, 2), (2, 2)]
    assert (tmp_path / "model.safetensors").read_bytes().endswith(b"\3\3\3\5\5\5\5\5")


def test_many_shards_have_an_index_that_names_every_tensor(tmp_path: Path) -> None:
    """No shard is larger than asked for unless one batch alone is; the index is complete."""
    batches = [batch(f"tensor {number}", size) for number, size in enumerate((4, 4, 4, 20, 1))]
    write_shards(tmp_path, batches, ignore_progress, shard_bytes=8)
    index = tmp_path / "model.safetensors.index.json"
    shards = shards_of_index(index)
    assert [sum(t.stored_bytes for t in read_tensors(tmp_path / name)) for name in shards] == [8, 4, 20, 1]
    assert json.loads(index.read_text())["metadata"] == {"total_size": 33}


def test_content_of_another_size_than_planned_is_a_fault(tmp_path: Path) -> None:
    """A wrong header is never left standing over the bytes."""
    wrong = Batch((Planned("a", "F32", (2,)),), lambda: (np.zeros(4, np.uint8),))
    with pytest.raises(ValueError, match="4 bytes made, 8 planned"):
        write_shards(tmp_path, [wrong], ignore_progress)
