"""Every setting of every room, from file, environment and flags: each stronger than the one before.

The rooms declare their settings as frozen dataclasses; this module finds the values, checks each one
against its declaration, and says where a bad one came from. It is the only door to the environment.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec
import platformdirs
from pydantic import ByteSize, ConfigDict, TypeAdapter, ValidationError

from allod.api.settings import ApiSettings
from allod.core.errors import ConfigurationError
from allod.declared import PREFIX, SettingDoc, declared_in
from allod.device.settings import DeviceSettings
from allod.engine.settings import EngineSettings
from allod.local.settings import LocalSettings
from allod.media.settings import MediaSettings
from allod.registry.settings import RegistrySettings
from allod.runner.settings import RunnerSettings
from allod.service.settings import BatchSettings
from allod.store.settings import StoreSettings
from allod.text.settings import PromptSettings

CONFIG_FILE_NAME = "config.toml"
CLIENT_KEY_VARIABLE = "ALLOD_KEY"

_Room = TypeVar("_Room")
_SIZE = TypeAdapter(ByteSize)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner decided, complete before anything starts.

    Attributes:
        home: where models, keys and `config.toml` live.
    """

    home: Path
    api: ApiSettings = field(default_factory=ApiSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    runner: RunnerSettings = field(default_factory=RunnerSettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)
    local: LocalSettings = field(default_factory=LocalSettings)
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    batches: BatchSettings = field(default_factory=BatchSettings)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    media: MediaSettings = field(default_factory=MediaSettings)

    @property
    def models_folder(self) -> Path:
        """The root of the catalogue."""
        return self.home / "models"

    def measured_file(self, model: str) -> Path:
        """Where it is kept what the products of a model of the catalogue were measured to take."""
        return self.home / "measured" / f"{model}.json"

    def prefix_folder(self, model: str) -> Path:
        """Where what was read of a model's prompts is kept on disk."""
        return self.home / "prefixes" / model

    @property
    def kernels_folder(self) -> Path:
        """Where kernels that were compiled for this machine are kept."""
        return self.home / "kernels"

    @property
    def store_file(self) -> Path:
        """Where kept responses, files and batches are."""
        return self.home / "store.sqlite3"

    @property
    def keys_file(self) -> Path:
        """Where hashes of API keys are kept."""
        return self.home / "keys.json"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The part a worker process needs; crosses the process border as JSON on its command line."""

    engine: EngineSettings
    runner: RunnerSettings
    device: DeviceSettings
    media: MediaSettings = field(default_factory=MediaSettings)
    workers: int = 1
    """How many workers may be there at once and share the budget."""

    kernels_folder: str = ""
    """Where kernels that were compiled for this machine are kept; empty leaves that to MLX."""

    @classmethod
    def of(cls, settings: Settings) -> "WorkerSettings":
        """The worker's part of the whole."""
        resident = settings.local.max_resident_models
        return cls(
            settings.engine,
            settings.runner,
            settings.device,
            settings.media,
            resident,
            str(settings.kernels_folder),
        )

    def to_json(self) -> str:
        """One line of JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "WorkerSettings":
        """The inverse of `to_json`.

        Raises:
            ConfigurationError: the text is not what `to_json` writes.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"worker settings do not decode: {error}") from error


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and where each dotted name got its value; names that are absent have their default."""

    settings: Settings
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Given:
    """A value somebody wrote down, not yet checked."""

    value: object
    origin: str


# ---------------------------------------------------------------- the doors


def load(flags: Mapping[str, str], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from file, environment and flags.

    Args:
        flags: dotted names (`api.port`), and `home` and `config` for the two paths.
        environment: variables to read instead of the process's own.

    Raises:
        ConfigurationError: a name is unknown or a value is bad; says which, whence, and what is allowed.
    """
    return resolve(flags, environment).settings


def offer(variables: Mapping[str, str]) -> None:
    """Put variables into this process's environment for libraries to find; what the owner set stays."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def resolve(flags: Mapping[str, str], environment: Mapping[str, str] | None = None) -> Resolved:
    """As `load`, with the origin of every value that is not a default."""
    variables = os.environ if environment is None else environment
    home = Path(flags.get("home") or variables.get(PREFIX + "HOME") or default_home()).expanduser()
    given = {
        **_from_file(home, flags.get("config")),
        **_from_environment(variables),
        **_from_flags(flags),
    }
    rooms: dict[str, Any] = {name: _room(room, name, given) for name, room in _sections().items()}
    return Resolved(Settings(home, **rooms), {name: value.origin for name, value in given.items()})


def default_home() -> Path:
    """Where this platform keeps a user's data."""
    return Path(platformdirs.user_data_dir("allod", appauthor=False))


def client_key(environment: Mapping[str, str] | None = None) -> str | None:
    """The API key `allod chat` sends when `--key` is absent: a secret has no place on a command line."""
    variables = os.environ if environment is None else environment
    return variables.get(CLIENT_KEY_VARIABLE) or None


def describe() -> tuple[SettingDoc, ...]:
    """Every setting of every room, in declaration order."""
    return tuple(_declarations().values())


def values(settings: Settings) -> dict[str, object]:
    """Dotted name to value, in declaration order."""
    return {
        declared.dotted: getattr(getattr(settings, declared.section), declared.name)
        for declared in _declarations().values()
    }


# ---------------------------------------------------------------- what is declared


def _sections() -> dict[str, type]:
    hints: dict[str, type] = get_type_hints(Settings)
    return {name: hint for name, hint in hints.items() if name != "home"}


def _declarations() -> dict[str, SettingDoc]:
    """Dotted name to declaration."""
    rooms = _sections().items()
    return {item.dotted: item for section, room in rooms for item in declared_in(section, room)}


# ---------------------------------------------------------------- what is given


def _from_file(home: Path, chosen: str | None) -> dict[str, _Given]:
    """The values of the configuration file; a file nobody named need not exist."""
    path = Path(chosen).expanduser() if chosen else home / CONFIG_FILE_NAME
    if not chosen and not path.exists():
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # TOML syntax, or bytes that are not UTF-8
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error
    given: dict[str, _Given] = {}
    for section, table in tables.items():
        if section not in _sections():
            raise _unknown(section, tuple(_sections()), f"section of {path}")
        if not isinstance(table, dict):
            raise ConfigurationError(f"`{section}` in {path} must be a section: write [{section}]")
        for name, value in cast("dict[str, object]", table).items():
            given[_known(f"{section}.{name}", f"setting in {path}")] = _Given(value, str(path))
    return given


def _from_environment(variables: Mapping[str, str]) -> dict[str, _Given]:
    names = {declared.environment: declared.dotted for declared in _declarations().values()}
    given: dict[str, _Given] = {}
    for variable, value in variables.items():
        if not variable.startswith(PREFIX) or variable in (PREFIX + "HOME", CLIENT_KEY_VARIABLE):
            continue
        if variable not in names:
            raise _unknown(variable, tuple(names), "environment variable")
        given[names[variable]] = _Given(value, f"environment variable {variable}")
    return given


def _from_flags(flags: Mapping[str, str]) -> dict[str, _Given]:
    return {
        _known(name, "setting on the command line"): _Given(value, "command line")
        for name, value in flags.items()
        if name not in ("home", "config")
    }


def _known(dotted: str, what: str) -> str:
    if dotted not in _declarations():
        raise _unknown(dotted, tuple(_declarations()), what)
    return dotted


def _unknown(name: str, names: tuple[str, ...], what: str) -> ConfigurationError:
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "`allod config show` lists every setting"
    return ConfigurationError(f"unknown {what}: {name}; {hint}")


# ---------------------------------------------------------------- checking


def _room(room: type[_Room], section: str, given: Mapping[str, _Given]) -> _Room:
    chosen = {
        declared.name: _checked(declared, given[declared.dotted])
        for declared in _declarations().values()
        if declared.section == section and declared.dotted in given
    }
    try:
        return room(**chosen)
    except ValueError as error:  # a rule over several fields, kept in the room's __post_init__
        raise ConfigurationError(f"section {section}: {error}") from error


def _checked(declared: SettingDoc, given: _Given) -> object:
    try:
        prepared = _prepare(declared, given.value)
        adapter = TypeAdapter[object](declared.hint, config=ConfigDict(allow_inf_nan=False))
        return adapter.validate_python(prepared)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
    except ValueError as error:
        problem = str(error)
    allowed = ", ".join(part for part in (declared.type, declared.bounds) if part)
    raise ConfigurationError(
        f"{declared.dotted} = {given.value!r} (from {given.origin}): {problem}. Allowed: {allowed}."
    )


def _prepare(declared: SettingDoc, value: object) -> object:
    """Text as the environment and flags give it, brought near the declared type."""
    parts = get_args(declared.bare)
    if isinstance(value, bool) and declared.bare is not bool and bool not in parts:
        raise ValueError("a truth value is not allowed here")
    if not isinstance(value, str):
        return value
    if type(None) in parts and value.strip().lower() in ("", "none"):
        return None
    if get_origin(declared.bare) is tuple:
        return tuple(item.strip() for item in value.split(",") if item.strip())
    if declared.name.endswith("_bytes"):
        return int(_SIZE.validate_python(value))
    return value
