"""Checkpoints that see, where memory is short or the owner wants no pictures."""

from pathlib import Path
from typing import Any

import pytest
from tests.scaffolding.families import DEVICE
from tests.scaffolding.seer import join_of, read, said, seer
from tests.scaffolding.timings import UNMEASURED, make_up
from tests.scaffolding.vision_families import save_vision_family

from allod.device.choose import choose
from allod.runner.load import load
from allod.runner.loaded import CannotLoad, LoadedModel
from allod.runner.measured import WEIGHTS_FIRST
from allod.runner.probe import measure
from allod.runner.product import Product, TiedProduct
from allod.runner.record import Measuring
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner

pytestmark = pytest.mark.mlx

FAMILY = "gemma3"
AMPLE_BYTES = 2**31


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vision_family(FAMILY, tmp_path_factory.mktemp("short") / FAMILY)


def tight_bytes(folder: Path) -> int:
    """A budget in which the whole model fits, but not with room for pictures beside it."""
    return int((folder / "model.safetensors").stat().st_size * 1.05)


def test_without_room_the_tower_is_left_out_and_words_are_served(folder: Path, tmp_path: Path):
    """It says why with the numbers, holds fewer bytes, and words are answered as with the tower."""
    whole = load(folder, RunnerSettings(), choose(DEVICE), AMPLE_BYTES, UNMEASURED)
    assert whole.sight is not None
    assert whole.blind_because == ""
    blind = load(folder, RunnerSettings(), choose(DEVICE), tight_bytes(folder), UNMEASURED)
    assert blind.sight is None
    for words in ("vision tower", "GiB", "device.memory_budget_bytes"):
        assert words in blind.blind_because
    facts = measure(blind, choose(DEVICE), tight_bytes(folder), 4096)
    assert (facts.sight, facts.blind_because) == (None, blind.blind_because)
    question = seer(FAMILY, tmp_path).question([], "Words alone.")
    answers: list[list[int]] = []
    for loaded in (whole, blind):
        runner = MlxRunner(loaded.network, measure(loaded, choose(DEVICE), AMPLE_BYTES, 4096))
        read(runner, 1, question, 100)
        answers.append(said(runner, [join_of(1, question)], 8)[1])
    assert answers[0] == answers[1]


def test_whoever_insists_on_pictures_is_told(folder: Path):
    """`on` refuses to load without the tower, and names the way out."""
    with pytest.raises(CannotLoad, match=r"set runner\.vision to auto"):
        load(folder, RunnerSettings(vision="on"), choose(DEVICE), tight_bytes(folder))


def test_pictures_can_be_turned_off(folder: Path):
    """`off` reads the same checkpoint as a text model."""
    loaded = load(folder, RunnerSettings(vision="off"), choose(DEVICE), AMPLE_BYTES, UNMEASURED)
    assert loaded.sight is None
    assert "runner.vision" in loaded.blind_because


@pytest.mark.usefixtures("unmeasured")
def test_ways_of_products_are_for_words_alone(folder: Path, tmp_path: Path):
    """The language model's layers learn theirs; towers stay as they are, and so do answers."""
    file = tmp_path / "timings.json"
    plain = load(folder, RunnerSettings(), choose(DEVICE), AMPLE_BYTES, Measuring(file))
    make_up(file, lambda _kind, way, rows: rows * (1e-3 if way == WEIGHTS_FIRST else 9e-3))
    loaded = load(folder, RunnerSettings(), choose(DEVICE), AMPLE_BYTES, Measuring(file))
    question = seer(FAMILY, tmp_path).question([], "Words alone.")
    answers: list[list[int]] = []
    for each in (plain, loaded):
        runner = MlxRunner(each.network, measure(each, choose(DEVICE), AMPLE_BYTES, 4096))
        read(runner, 1, question, 100)
        answers.append(said(runner, [join_of(1, question)], 8)[1])
    assert answers[0] == answers[1]
    changed = [path for path, module in modules_of(loaded) if isinstance(module, Product | TiedProduct)]
    assert changed
    assert all(path.startswith("language_model.") for path in changed)


def modules_of(loaded: LoadedModel) -> list[tuple[str, object]]:
    model: Any = vars(vars(loaded.network)["_family"])["_model"]
    return model.named_modules()


def test_what_does_not_even_fit_without_its_tower_is_refused(folder: Path):
    """With the numbers, as for any model."""
    with pytest.raises(CannotLoad, match="the model needs"):
        load(folder, RunnerSettings(), choose(DEVICE), 100_000)


def test_a_family_that_nobody_knows_is_refused_for_both_reasons(tmp_path: Path):
    """Neither library's words are kept from whoever asked."""
    saved = save_vision_family("llava", tmp_path / "llava")
    config = saved / "config.json"
    config.write_text(config.read_text().replace('"llava"', '"unheard_of"'))
    with pytest.raises(CannotLoad, match=r"mlx-lm.*nor with pictures: mlx-vlm"):
        load(saved, RunnerSettings(), choose(DEVICE), AMPLE_BYTES, UNMEASURED)
