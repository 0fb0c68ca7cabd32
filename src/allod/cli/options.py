"""Options every command understands, and how they become settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from allod import config
from allod.config import Settings
from allod.core.errors import ConfigurationError
from allod.registry.catalog import Catalog

_GLOBAL = ("--home", "--config", "--set")

Home = Annotated[
    Path | None,
    typer.Option(help="Folder of models, keys and config.toml.", show_default="the user's data folder"),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Configuration file.", show_default="config.toml in the home")
]
Pairs = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.NAME=VALUE", help="Any setting; may be given several times."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move the options of every command to the front, so that they may stand anywhere before a `--`."""
    moved: list[str] = []
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            kept += [argument, *rest]
        elif argument in _GLOBAL:
            moved += [argument, *([value] if (value := next(rest, None)) is not None else [])]
        elif argument.startswith(tuple(f"{name}=" for name in _GLOBAL)):
            moved.append(argument)
        else:
            kept.append(argument)
    return moved + kept


def remember(context: typer.Context, home: Path | None, file: Path | None, pairs: Sequence[str]) -> None:
    """Keep what the command line says about settings for the command that runs."""
    flags = dict(_split(pair) for pair in pairs)
    if home is not None:
        flags["home"] = str(home)
    if file is not None:
        flags["config"] = str(file)
    context.obj = flags


def flags_of(context: typer.Context) -> dict[str, str]:
    """What `remember` kept, as `config.load` takes it."""
    return dict(cast("dict[str, str]", context.obj or {}))


def settings_of(context: typer.Context, **shortcuts: str | None) -> Settings:
    """The settings in force; a shortcut such as `api_port` stands for `--set api.port=`."""
    named = {name.replace("_", ".", 1): value for name, value in shortcuts.items() if value}
    return config.load(flags_of(context) | named)


def own_url(context: typer.Context) -> str:
    """Where a server with these settings answers on this machine."""
    api = settings_of(context).api
    host = "127.0.0.1" if api.host in ("0.0.0.0", "::", "") else api.host
    return f"http://[{host}]:{api.port}" if ":" in host else f"http://{host}:{api.port}"


def catalog_of(context: typer.Context) -> Catalog:
    """The catalogue in the home that is in force."""
    return Catalog(settings_of(context).models_folder)


def _split(pair: str) -> tuple[str, str]:
    name, sign, value = pair.partition("=")
    if not sign or "." not in name:
        raise ConfigurationError(f"--set {pair}: write SECTION.NAME=VALUE, for example --set api.port=8485")
    return name.strip(), value
