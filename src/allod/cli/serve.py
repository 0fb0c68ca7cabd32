"""`allod up` and `allod serve`: run the server until it is told to stop."""

from typing import Annotated

import typer

from allod.cli import lazy
from allod.cli.announce import Announcer
from allod.cli.models import fetch
from allod.cli.options import settings_of
from allod.cli.terminal import say
from allod.config import Settings
from allod.registry.catalog import Catalog

Host = Annotated[str | None, typer.Option(help="Address to listen on; short for --set api.host=.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; short for --set api.port=.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="Load this model at the start; may be repeated."),
]


Compute = Annotated[
    str | None,
    typer.Option(help="Form of the weights: auto, stored or dense; short for --set runner.compute=."),
]


def up(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    models: Models = None,
    compute: Compute = None,
) -> None:
    """Fetch a small model if the catalogue is empty, then serve.

    Stop it with Ctrl-C. Example: `allod up --port 9000`
    """
    settings = _settings(context, host, port, models, compute)
    if not Catalog(settings.models_folder).cards():
        starter = lazy.starter_name()
        say(f"the catalogue is empty; fetching {starter}")
        fetch(settings, starter)
    _run(settings)


def serve(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    models: Models = None,
    compute: Compute = None,
) -> None:
    """Serve the models that are here; fetches nothing.

    Examples: `allod serve --model qwen3-4b`, `allod serve --set engine.max_batch_rows=8`
    """
    _run(_settings(context, host, port, models, compute))


def _settings(
    context: typer.Context,
    host: str | None,
    port: int | None,
    models: list[str] | None,
    compute: str | None,
) -> Settings:
    text = None if port is None else str(port)
    preload = ",".join(models or ())
    return settings_of(context, api_host=host, api_port=text, api_preload=preload, runner_compute=compute)


def _run(settings: Settings) -> None:
    announcer = Announcer(str(settings.home), _first_model(settings))
    raise typer.Exit(lazy.serve(settings, announcer.on_listening))


def _first_model(settings: Settings) -> str | None:
    cards = Catalog(settings.models_folder).cards()
    return next(iter((*settings.api.preload, *(card.name for card in cards))), None)
