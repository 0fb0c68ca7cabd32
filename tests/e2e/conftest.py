"""Real servers: one with the starter model, one with small random models, one with models that see."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.e2e.seeing import FAMILIES, home_that_sees
from tests.scaffolding.families import write_byte_tokenizer, write_random_model
from tests.scaffolding.server import RunningServer, running_server
from tests.scaffolding.timings import make_up, panels_are_fast
from tests.scaffolding.turns import one_at_a_time

from allod.registry.catalog import Catalog
from allod.registry.importing import import_path
from allod.registry.pull import pull
from allod.registry.starter import STARTER_NAME

KEPT_HOME = Path(__file__).parents[2] / ".cache" / "test-home"
"""The starter model is fetched once and kept between runs of the suite."""

KINDS = ("llama", "gemma3_text", "qwen3_next", "mamba")
ALL_KINDS = f"local.max_resident_models={len(KINDS)}"

SOURCES = Path(__file__).parents[1] / "clients" / "javascript"
INSTALLED = Path(__file__).parents[2] / ".cache" / "javascript"
"""Packages are fetched once, exactly as the lock file has them, and kept between runs of the suite."""


@pytest.fixture(scope="session")
def starter_home() -> Path:
    catalog = Catalog(KEPT_HOME / "models")
    with one_at_a_time(KEPT_HOME):
        if not catalog.holds(STARTER_NAME):
            pull(catalog, STARTER_NAME, None, lambda _: None)
    return KEPT_HOME


@pytest.fixture(scope="session")
def starter_server(starter_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(starter_home, tmp_path_factory.mktemp("starter") / "log") as server:
        # Timings of a machine that is busy with tests are taken again at each load: these are held for good.
        make_up(starter_home / "measured" / f"{STARTER_NAME}.json", panels_are_fast)
        yield server


def home_with_random_models(folder: Path, *families: str) -> Path:
    """A home that holds a small random model of each of these families, named after it."""
    for family in families:
        source = folder / family
        write_random_model(family, source)
        write_byte_tokenizer(source)
        import_path(Catalog(folder / "home" / "models"), source, family.replace("_", "-"), lambda _: None)
    return folder / "home"


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return home_with_random_models(tmp_path_factory.mktemp("small"), "llama")


@pytest.fixture(scope="module")
def small_server(small_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(small_home, tmp_path_factory.mktemp("log") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def kinds_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for each way that layers keep their state: whole, windows, some recurrent, all recurrent."""
    return home_with_random_models(tmp_path_factory.mktemp("kinds"), *KINDS)


@pytest.fixture(scope="session")
def keeping_server(kinds_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """All kinds, and prompts are kept."""
    with running_server(kinds_home, tmp_path_factory.mktemp("log") / "log", ALL_KINDS) as server:
        yield server


@pytest.fixture(scope="session")
def forgetting_server(kinds_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """All kinds, and nothing is kept of prompts, so that every byte that stays is a leak."""
    log = tmp_path_factory.mktemp("log") / "log"
    with running_server(kinds_home, log, ALL_KINDS, "engine.prefix_cache_bytes=0") as server:
        yield server


@pytest.fixture
def starter(starter_server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=starter_server.openai_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def small(small_server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=small_server.openai_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def seeing_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return home_that_sees(tmp_path_factory.mktemp("seeing"))


@pytest.fixture(scope="session")
def seeing_server(seeing_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    resident = f"local.max_resident_models={len(FAMILIES)}"
    with running_server(seeing_home, tmp_path_factory.mktemp("log") / "log", resident) as server:
        yield server


@pytest.fixture
def seeing(seeing_server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=seeing_server.openai_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def scripts() -> Path:
    """The folder with the scripts of JavaScript clients and what they import."""
    if shutil.which("npm") is None:
        pytest.skip("Node.js is not installed")
    with one_at_a_time(INSTALLED):
        _install_packages()
    return INSTALLED


def _install_packages() -> None:
    lock = (SOURCES / "package-lock.json").read_bytes()
    kept = INSTALLED / "package-lock.json"
    if not kept.exists() or kept.read_bytes() != lock:
        shutil.rmtree(INSTALLED, ignore_errors=True)
        INSTALLED.mkdir(parents=True)
        shutil.copy(SOURCES / "package.json", INSTALLED)
        shutil.copy(SOURCES / "package-lock.json", INSTALLED)
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
        try:
            subprocess.run(["npm", "ci", *quiet], cwd=INSTALLED, check=True, capture_output=True, timeout=300)
        except subprocess.CalledProcessError as error:
            kept.unlink()
            pytest.fail(f"npm ci: {error.stderr.decode()[-2000:]}")
    for script in SOURCES.glob("*.mjs"):
        shutil.copy(script, INSTALLED)


def run_script(scripts: Path, name: str, *arguments: str) -> dict[str, Any]:
    """What a script of a JavaScript client found."""
    command = ["node", "--no-warnings", str(scripts / name), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found
