"""`allod models`, `pull`, `import`, `rm`: the catalogue from the terminal; `show` is in `show`."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from allod.cli import draft, lazy, show
from allod.cli.options import AsJson, catalog_of, settings_of
from allod.cli.progress import showing
from allod.cli.terminal import bytes_words, say, write, write_json, write_table
from allod.config import Settings
from allod.core.card import ModelCard
from allod.registry.catalog import Catalog
from allod.registry.pairing import forget_draft
from allod.runner.measured import files_of_model

Name = Annotated[
    str | None, typer.Option("--name", help="What clients will call it.", show_default="made from it")
]


app = typer.Typer(invoke_without_command=True)


@app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the models that are here; with `show` what is known of one, with `draft` which drafts for it.

    Examples: `allod models --json`, `allod models show smollm2-135m`
    """
    if context.invoked_subcommand is not None:
        return
    cards = catalog_of(context).cards()
    if as_json:
        write_json(cards)
        return
    if not cards:
        say("no models yet; `allod pull smollm2-135m` fetches a small one")
        return
    rows = [_row(card) for card in cards]
    write_table(("name", "architecture", "weights", "size", "context"), rows)


app.command("show")(show.show)
app.command("draft")(draft.draft)


def pull(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="`smollm2-135m`, `all-minilm-l6-v2` (embeds), or ORG/REPO[@REVISION] of the Hub.",
        ),
    ],
    name: Name = None,
) -> None:
    """Fetch a model and put it into the catalogue. A download that stopped goes on where it was.

    Examples: `allod pull smollm2-135m`, `allod pull mlx-community/Qwen3-4B-4bit --name qwen3-4b`
    """
    fetch(settings_of(context), what, name)


def import_(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a checkpoint, or a .gguf file.")],
    name: Name = None,
) -> None:
    """Take a model from disk into the catalogue. The source stays as it is.

    Examples: `allod import ~/models/llama-3.2-1b-4bit`, `allod import model.Q4_1.gguf --name tiny`
    """
    with showing() as on_progress:
        card = lazy.import_path(catalog_of(context), source.expanduser(), name, on_progress)
    _report(card)


def rm(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name of `allod models`.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a model and its files. Asks first."""
    catalog = catalog_of(context)
    if not yes:
        size = _size_words(catalog, name)
        typer.confirm(f"Delete {name}{size}?", abort=True, err=True)
    catalog.remove(name)
    for file in files_of_model(settings_of(context).measured_file(name)):
        file.unlink(missing_ok=True)
    shutil.rmtree(settings_of(context).prefix_folder(name), ignore_errors=True)
    say(f"removed {name}")
    for other in forget_draft(catalog, name):
        say(f"no model drafts for {other} any more")


def fetch(settings: Settings, what: str, name: str | None = None) -> None:
    """Pull one model with its progress on stderr.

    Raises:
        ImportRefused: it cannot be found, fetched or taken in, or `registry.offline` is on.
    """
    with showing() as on_progress:
        card = lazy.pull(Catalog(settings.models_folder), what, name, on_progress, settings.registry)
    _report(card)


def _size_words(catalog: Catalog, name: str) -> str:
    """How much goes with it; a damaged entry has no card to tell, and can be removed all the same."""
    card = next((card for card in catalog.cards() if card.name == name), None)
    if card is None and not catalog.holds(name):
        catalog.named(name)
    return f" ({bytes_words(card.weights_bytes)})" if card else ""


def _row(card: ModelCard) -> tuple[str, ...]:
    size = bytes_words(card.weights_bytes)
    return card.name, card.architecture, card.quantization, size, str(card.context_tokens)


def _report(card: ModelCard) -> None:
    say(f"{card.name} is here: {card.architecture}, {card.quantization}, {bytes_words(card.weights_bytes)}")
    write(card.name)
