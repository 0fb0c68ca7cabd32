"""`allod up` and `allod serve`: what they do before the server runs, and with what they start it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allod.cli import lazy
from allod.cli.progress import StageLines
from allod.config import Settings
from allod.core.card import ModelCard
from allod.registry.catalog import Catalog
from allod.registry.progress import Progress, ProgressCallback
from allod.registry.settings import RegistrySettings
from allod.runner.measured import Circumstances, Measured, write
from allod.testing.models import tiny_card

Run = Callable[..., Any]


def card(name: str) -> ModelCard:
    return tiny_card(
        name, context_tokens=8192, weights_bytes=98_362_432, quantization="4-bit g32", kind="package"
    )


def add(catalog: Catalog, name: str) -> ModelCard:
    """Put a model without weights into the catalogue."""
    made = card(name)
    with catalog.staging() as folder:
        catalog.adopt(folder, made)
    return made


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Stand in for the server and the download; keeps the settings the server was started with."""
    started: list[Settings] = []

    def serve(settings: Settings, on_listening: Callable[[str], None]) -> int:
        started.append(settings)
        return 0

    def pull(
        catalog: Catalog,
        what: str,
        name: str | None,
        on_progress: ProgressCallback,
        settings: RegistrySettings,
    ) -> ModelCard:
        on_progress(Progress("downloading", 0, 10, "bytes"))
        return add(catalog, name or what)

    monkeypatch.setattr(lazy, "serve", serve)
    monkeypatch.setattr(lazy, "pull", pull)
    return started


def test_up_fetches_the_starter_into_an_empty_catalogue_only(
    allod: Run, served: list[Settings], tmp_path: Path
) -> None:
    """The first `up` fetches, the second finds the model; both serve."""
    first = allod("up", "--port", "0")
    second = allod("up", "--port", "0")
    assert (first.code, second.code, len(served)) == (0, 0, 2)
    assert "downloading" in first.err
    assert "downloading" not in second.err
    assert [found.name for found in Catalog(tmp_path / "models").cards()] == [lazy.starter_name()]


def test_serve_fetches_nothing_and_passes_its_shortcuts_on(
    allod: Run, served: list[Settings], tmp_path: Path
) -> None:
    """--host, --port, --compute and --model are the settings they stand for."""
    allod(
        "serve", "--host", "localhost", "--port", "9", "--compute", "stored", "--model", "a", "--model", "b"
    )
    (settings,) = served
    assert settings.runner.compute == "stored"
    assert (settings.api.host, settings.api.port, settings.api.preload) == ("localhost", 9, ("a", "b"))
    assert Catalog(tmp_path / "models").cards() == ()


def test_models_and_rm(allod: Run, tmp_path: Path) -> None:
    """A listed model can be removed; in a pipe the list is tab-separated, one line each."""
    add(Catalog(tmp_path / "models"), "one")
    assert allod("models").out == "one\tllama\t4-bit g32\t94 MiB\t8192\n"
    assert allod("rm", "one", "--yes").code == 0
    assert Catalog(tmp_path / "models").cards() == ()


def test_rm_forgets_what_was_measured(allod: Run, tmp_path: Path) -> None:
    """Nothing of a model stays behind, and a model that was never loaded has nothing to forget."""
    file = Settings(home=tmp_path).measured_file("one")
    for is_measured in (True, False):
        add(Catalog(tmp_path / "models"), "one")
        if is_measured:
            write(file, Measured(Circumstances("a device", "1", "", 1), ()))
        assert allod("rm", "one", "--yes").code == 0
        assert not file.exists()


def test_rm_asks_and_keeps_the_model_unless_told_yes(
    allod: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an answer nothing is deleted."""
    add(Catalog(tmp_path / "models"), "one")

    def refuse(text: str, **options: bool) -> bool:
        assert "one (94 MiB)" in text
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.confirm", refuse)
    assert allod("rm", "one").code == 130
    assert Catalog(tmp_path / "models").named("one")


def test_pull_prints_the_name_on_stdout(allod: Run, served: list[Settings]) -> None:
    """A script can use what `pull` prints."""
    assert allod("pull", "org/model", "--name", "mine").out == "mine\n"


def test_stages_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Off a terminal, progress is one line per stage, not one per report."""
    lines = StageLines()
    for done in range(5):
        lines.show(Progress("converting", done, 5, "tensors"))
    lines.show(Progress("checking", 0, None, "bytes"))
    assert capsys.readouterr().err == "converting\nchecking\n"
