"""The doors to what is slow to import: the HTTP stack, downloads, the GGUF reader.

`allod --help` and shell completion import every command. Half a second of FastAPI and a Hub client
have no part in that, so they are imported when they are called for, here and nowhere else.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from allod.bench.client import Target
from allod.bench.moments import OnMoment
from allod.bench.recipe import Recipe
from allod.bench.report import Machine, Report
from allod.bench.settings import BenchSettings
from allod.config import Settings
from allod.core.card import ModelCard
from allod.core.errors import ConfigurationError
from allod.device.base import Examination
from allod.device.settings import DeviceSettings
from allod.registry.catalog import Catalog
from allod.registry.progress import ProgressCallback
from allod.registry.settings import RegistrySettings

_Serve = Callable[[Settings, Callable[[str], None]], int]
_Pull = Callable[[Catalog, str, str | None, ProgressCallback, RegistrySettings], ModelCard]
_Bench = Callable[[Sequence[Target], BenchSettings, Machine, Sequence[str], OnMoment], Report]
_MakeModel = Callable[[Catalog, str, Recipe, ModelCard, ProgressCallback], ModelCard]
_MakeFolder = Callable[[Path, Recipe, Path, ProgressCallback], None]
Draw = Callable[[Report, Path], Path]
_Examine = Callable[[DeviceSettings, int], Examination]
_Import = Callable[[Catalog, Path, str | None, ProgressCallback], ModelCard]


def serve(settings: Settings, on_listening: Callable[[str], None]) -> int:
    """`allod.app.serve`: run the gateway until it is told to stop; its exit code."""
    call: _Serve = import_module("allod.app").serve
    return call(settings, on_listening)


def pull(
    catalog: Catalog, what: str, name: str | None, on_progress: ProgressCallback, settings: RegistrySettings
) -> ModelCard:
    """`allod.registry.pull.pull`: fetch a model."""
    call: _Pull = import_module("allod.registry.pull").pull
    return call(catalog, what, name, on_progress, settings)


def starter_name() -> str:
    """`allod.registry.starter.STARTER_NAME`: the model that `allod up` begins with."""
    name: str = import_module("allod.registry.starter").STARTER_NAME
    return name


def examine(settings: Settings) -> Examination:
    """`allod.device.examine.examine`: what this machine has for a model. It loads MLX."""
    call: _Examine = import_module("allod.device.examine").examine
    return call(settings.device, settings.local.max_resident_models)


def dialect_name(name: str) -> str:
    """`allod.text.dialects.named`: the name of a dialect of tool calls; refuses one that there is not."""
    found: str = import_module("allod.text.dialects").named(name).name
    return found


def import_path(catalog: Catalog, source: Path, name: str | None, on_progress: ProgressCallback) -> ModelCard:
    """`allod.registry.importing.import_path`: take a checkpoint in from disk."""
    call: _Import = import_module("allod.registry.importing").import_path
    return call(catalog, source, name, on_progress)


def bench(
    targets: Sequence[Target], settings: BenchSettings, arguments: Sequence[str], on_moment: OnMoment
) -> Report:
    """`allod.bench.run.measure`: measure servers from this machine."""
    place = import_module("allod.bench.machine")
    call: _Bench = import_module("allod.bench.run").measure
    return call(targets, settings, place.machine(), place.without_keys(arguments), on_moment)


def drawing() -> Draw:
    """`allod.bench.drawing.draw`: PNG files and a page from a report.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        call: Draw = import_module("allod.bench.drawing").draw
    except ImportError as error:
        raise ConfigurationError(
            f"--plots needs matplotlib ({error}); install it with `python -m pip install 'allod[bench]'`, or "
            "keep the numbers with --json and draw them elsewhere with `allod bench show FILE --plots FOLDER`"
        ) from error
    return call


def synthesize_model(
    catalog: Catalog, name: str, recipe: Recipe, speaker: ModelCard, on_progress: ProgressCallback
) -> ModelCard:
    """`allod.bench.synthesize.synthesize_model`: make a model with random weights."""
    call: _MakeModel = import_module("allod.bench.synthesize").synthesize_model
    return call(catalog, name, recipe, speaker, on_progress)


def synthesize_folder(folder: Path, recipe: Recipe, speaker: Path, on_progress: ProgressCallback) -> None:
    """`allod.bench.synthesize.synthesize_folder`: the same, outside of the catalogue."""
    call: _MakeFolder = import_module("allod.bench.synthesize").synthesize_folder
    call(folder, recipe, speaker, on_progress)
