import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from allod.core.card import ModelCard
from allod.core.errors import ImportRefused
from allod.registry import copying, importing
from allod.registry.card import Kind
from allod.registry.catalog import Catalog
from allod.registry.importing import import_path
from allod.registry.progress import Progress, ignore_progress


def leftovers(catalog: Catalog) -> list[str]:
    return sorted(entry.name for entry in catalog.root.iterdir()) if catalog.root.is_dir() else []


def test_a_directory_comes_in_whole(catalog: Catalog, checkpoint) -> None:
    """What is known is taken, what is not known is left, and the card is the catalogue's."""
    for stray in ("README.md", "pytorch_model.bin", "consolidated.safetensors", ".hidden"):
        checkpoint.write(stray, "stray")
    card = import_path(catalog, checkpoint.folder, None, ignore_progress)
    assert catalog.named("tiny-llama") == card
    assert sorted(path.name for path in catalog.folder(card).iterdir()) == [
        "card.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_weights_are_linked_and_small_files_copied(catalog: Catalog, checkpoint) -> None:
    """Weights cost no second space; an edit of the source's config does not reach the model."""
    card = import_path(catalog, checkpoint.folder, "a", ignore_progress)
    folder = catalog.folder(card)
    assert (folder / "model.safetensors").samefile(checkpoint.folder / "model.safetensors")
    assert not (folder / "config.json").samefile(checkpoint.folder / "config.json")


def test_weights_are_copied_where_links_do_not_work(catalog: Catalog, checkpoint, monkeypatch) -> None:
    """Another file system costs a copy, told in bytes, and gives the same content."""

    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, "cross-device")

    monkeypatch.setattr(copying.os, "link", no_links)
    seen: list[Progress] = []
    card = import_path(catalog, checkpoint.folder, "a", seen.append)
    size = (checkpoint.folder / "model.safetensors").stat().st_size
    assert (catalog.folder(card) / "model.safetensors").read_bytes() == (
        checkpoint.folder / "model.safetensors"
    ).read_bytes()
    assert seen[-1] == Progress("copying", size, size, "bytes")


def test_links_come_in_as_what_they_point_at(catalog: Catalog, checkpoint, tmp_path: Path) -> None:
    """A cache of links to blobs imports, and holds no link afterwards."""
    cache = tmp_path / "cache"
    cache.mkdir()
    for path in checkpoint.folder.iterdir():
        (cache / path.name).symlink_to(path)
    card = import_path(catalog, cache, "a", ignore_progress)
    assert not any(path.is_symlink() for path in catalog.folder(card).iterdir())


def test_an_index_chooses_the_shards(catalog: Catalog, checkpoint) -> None:
    """With an index only its shards come in; a missing one is named."""
    weights = checkpoint.folder / "model.safetensors"
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    checkpoint.write("model.safetensors.index.json", json.dumps(index))
    checkpoint.write("model-1.safetensors", weights.read_bytes())
    with pytest.raises(ImportRefused, match=r"1 files that are not there: model-2\.safetensors"):
        import_path(catalog, checkpoint.folder, "a", ignore_progress)
    checkpoint.write("model-2.safetensors", weights.read_bytes())
    card = import_path(catalog, checkpoint.folder, "a", ignore_progress)
    assert sorted(path.name for path in catalog.folder(card).glob("*.safetensors")) == [
        "model-1.safetensors",
        "model-2.safetensors",
    ]
    assert card.weights_bytes == 24


SPOILED = {
    "code file": (lambda c: c.write("modeling_x.py", "1"), r"modeling_x\.py"),
    "auto_map": (lambda c: c.config(auto_map={"AutoModel": "x.Y"}), "auto_map"),
    "model_file": (lambda c: c.config(model_file="x.py"), "model_file"),
    "trust": (lambda c: c.config(trust_remote_code=True), "trust_remote_code"),
    "nested": (lambda c: c.config(text_config={"auto_map": {"a": "b"}}), r"text_config\.auto_map"),
    "no config": (lambda c: (c.folder / "config.json").unlink(), r"no config\.json"),
    "config a list": (lambda c: c.write("config.json", "[]"), "list"),
    "config no JSON": (lambda c: c.write("config.json", "{"), "not JSON"),
    "no model_type": (lambda c: c.config(model_type=None), "model_type"),
    "model_type a path": (lambda c: c.config(model_type="../x"), "model_type"),
    "no tokenizer": (lambda c: (c.folder / "tokenizer.json").unlink(), r"no tokenizer\.json"),
    "index lies": (lambda c: c.write("model.safetensors.index.json", "{}"), "weight_map"),
    "cut weights": (lambda c: os.truncate(c.folder / "model.safetensors", 60), r"model\.safetensors"),
    "unknown weight names": (
        lambda c: (c.folder / "model.safetensors").rename(c.folder / "weights.safetensors"),
        r"model\.safetensors",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_checkpoint_is_refused_and_leaves_nothing(catalog: Catalog, checkpoint, case: str) -> None:
    """Each fault is named, and the catalogue stays as it was."""
    spoil, said = SPOILED[case]
    spoil(checkpoint)
    with pytest.raises(ImportRefused, match=said):
        import_path(catalog, checkpoint.folder, "a", ignore_progress)
    assert leftovers(catalog) == []


@pytest.mark.parametrize("name", ["pytorch_model.bin", "m.pt", "m.pth", "m.pkl", "m.ckpt"])
def test_pickled_weights_alone_are_refused_with_the_reason(catalog: Catalog, checkpoint, name: str) -> None:
    """A pickle runs code when it is opened, so it is not."""
    (checkpoint.folder / "model.safetensors").rename(checkpoint.folder / name)
    with pytest.raises(ImportRefused, match="can run any code"):
        import_path(catalog, checkpoint.folder, "a", ignore_progress)


def test_a_slow_tokenizer_gets_the_way_out(catalog: Catalog, checkpoint) -> None:
    """The refusal says what is there and how to make what is needed."""
    (checkpoint.folder / "tokenizer.json").rename(checkpoint.folder / "tokenizer.model")
    with pytest.raises(ImportRefused, match=r"slow form: tokenizer\.model.*AutoTokenizer"):
        import_path(catalog, checkpoint.folder, "a", ignore_progress)


@pytest.mark.parametrize("problem", ["is not there", "neither a directory nor"])
def test_a_source_of_the_wrong_kind_is_refused(catalog: Catalog, tmp_path: Path, problem: str) -> None:
    """A path that is nothing, or something else, is named."""
    source = tmp_path / "x.zip"
    if problem != "is not there":
        source.write_text("")
    with pytest.raises(ImportRefused, match=problem):
        import_path(catalog, source, None, ignore_progress)


class Interrupted:
    """Raises at a chosen progress report."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self, progress: Progress) -> None:
        raise self._error


def test_a_full_disk_during_the_work_leaves_nothing(catalog: Catalog, checkpoint) -> None:
    """No space left: the refusal has bytes needed and bytes free, and the staging folder is gone."""
    full = Interrupted(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(ImportRefused, match=r"\d+ bytes are needed, \d+ bytes are free"):
        import_path(catalog, checkpoint.folder, "a", full)
    assert leftovers(catalog) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "broken"), RuntimeError("bug")])
def test_any_other_end_leaves_nothing_and_is_told(catalog: Catalog, checkpoint, error: BaseException) -> None:
    """An interrupt or a fault goes on to the caller; the staging folder does not stay."""
    with pytest.raises(type(error)):
        import_path(catalog, checkpoint.folder, "a", Interrupted(error))
    assert leftovers(catalog) == []


def test_space_is_asked_for_before_a_copy(catalog: Catalog, checkpoint, monkeypatch) -> None:
    """A disk without room refuses before the first byte is copied."""

    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, "cross-device")

    monkeypatch.setattr(copying.os, "link", no_links)
    usage = shutil.disk_usage(catalog.root.parent)._replace(free=1000)
    monkeypatch.setattr("allod.registry.disk.shutil.disk_usage", lambda _: usage)
    seen: list[Progress] = []
    with pytest.raises(ImportRefused, match="1000 bytes are free"):
        import_path(catalog, checkpoint.folder, "a", seen.append)
    assert seen == []
    assert leftovers(catalog) == []


def test_two_imports_under_one_name_end_with_one_model(catalog: Catalog, checkpoint, monkeypatch) -> None:
    """The rename decides: who comes second is refused, and the first model is untouched."""
    described = importing.describe

    def describe_late(folder: Path, name: str, kind: Kind, source: str) -> ModelCard:
        card = described(folder, name, kind, source)
        monkeypatch.setattr(importing, "describe", described)
        import_path(catalog, checkpoint.folder, "a", ignore_progress)
        return card

    monkeypatch.setattr(importing, "describe", describe_late)
    with pytest.raises(ImportRefused, match="already here"):
        import_path(catalog, checkpoint.folder, "a", ignore_progress)
    assert leftovers(catalog) == ["a"]
