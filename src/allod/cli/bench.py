"""`allod bench`: measure servers, make models to measure them with, and measure a model without a server."""

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from allod import config
from allod.bench.client import Target
from allod.bench.loop import raw_loop
from allod.bench.moments import Moment, OnMoment
from allod.bench.raw import RawLoop
from allod.bench.recipe import Recipe, config_file, preset
from allod.bench.report import Report
from allod.bench.settings import BenchSettings
from allod.bench.tables import Table, loop_table, tables
from allod.cli import lazy
from allod.cli.fields import spread
from allod.cli.options import AsJson, catalog_of, own_url, settings_of
from allod.cli.progress import showing
from allod.cli.terminal import bytes_words, say, write, write_json, write_table
from allod.config import WorkerSettings
from allod.core.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, help="Measure servers and models.")

_FLAGS = {"scenarios": "--scenario", "budget_seconds": "--seconds", "patience_seconds": "--timeout"}
_LOOP_ROWS = (1, 2, 4, 8, 16, 32)

JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write everything that was measured there.")
]
Plots = Annotated[
    Path | None,
    typer.Option(
        "--plots", metavar="FOLDER", help="Write PNG files and one HTML page there (needs matplotlib)."
    ),
]


@dataclass(frozen=True, slots=True)
class Orders:
    """Whom to ask, and what to make of it."""

    models: Annotated[
        tuple[str, ...],
        typer.Option("--model", help="Whom to ask; several for `models`.", show_default="the first listed"),
    ] = ()
    key: Annotated[
        str | None, typer.Option("--key", help="API key.", show_default=config.CLIENT_KEY_VARIABLE)
    ] = None
    loop: Annotated[
        str | None,
        typer.Option("--loop", metavar="MODEL", help="Measure the raw loop of this model here, too."),
    ] = None
    json: JsonFile = None
    plots: Plots = None


@dataclass(frozen=True, slots=True)
class LoopSizes:
    """What the raw loop measures."""

    rows: Annotated[
        tuple[int, ...], typer.Option("--rows", help="Row counts.", show_default="1,2,4,8,16,32")
    ] = _LOOP_ROWS
    context_tokens: Annotated[
        int, typer.Option("--context", min=2, help="Tokens of each row at the start.", show_default="256")
    ] = 256
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Decode steps of each repeat.", show_default="32")
    ] = 32
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Repeats of each row count.", show_default="3")
    ] = 3


@dataclass(frozen=True, slots=True)
class Making:
    """What a model is made of."""

    like: Annotated[
        str | None,
        typer.Option(
            "--like", help="A known size: llama-8b, llama-1b, gemma3-27b, qwen3-32b, qwen3-30b-a3b."
        ),
    ] = None
    config_json: Annotated[
        Path | None, typer.Option("--config-json", metavar="FILE", help="The config.json of any model.")
    ] = None
    bits: Annotated[
        int,
        typer.Option("--bits", help="Of a weight: 2, 3, 4, 5, 6, 8, or 16 for bfloat16.", show_default="4"),
    ] = 4
    group_size: Annotated[
        int,
        typer.Option("--group-size", help="Weights that share a scale: 32, 64 or 128.", show_default="64"),
    ] = 64
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the weights.", show_default="0")] = 0
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", metavar="MODEL", help="Whose tokenizer it gets.", show_default="the starter's"
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Write a plain folder, not into the catalogue."),
    ] = None


@app.command()
@spread(_FLAGS)
def run(
    context: typer.Context,
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[[NAME=]URL[#MODEL]]...",
            help="Servers, measured in turn; the first is what the others are compared with.",
            show_default="the server of these settings",
        ),
    ] = None,
    *,
    orders: Orders,
    sizes: BenchSettings,
) -> None:
    """Measure any server with OpenAI's chat API, or several in turn.

    Prints tables. `--json` keeps every number, `--plots` draws them. docs/bench.md says what each figure
    means and how to compare fairly.

    Examples: `allod bench run`, `allod bench run --scenario streams --streams 1,8,32`,
    `allod bench run new=http://127.0.0.1:8484 old=http://127.0.0.1:8485 --json out.json --plots out`
    """
    draw = lazy.drawing() if orders.plots is not None else None
    key = orders.key or config.client_key()
    found = [target_of(text, orders.models, key) for text in targets or [own_url(context)]]
    with _progress() as on_moment:
        report = lazy.bench(found, sizes, sys.argv, on_moment)
    if orders.loop is not None:
        say(f"measuring the raw loop of {orders.loop}")
        loop = _loop(context, orders.loop, LoopSizes(rows=sizes.streams))
        report = msgspec.structs.replace(report, loop=loop)
    if orders.json is not None:
        orders.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    _print(tables(report))
    if draw is not None and orders.plots is not None:
        write(str(draw(report, orders.plots)))


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `--json` wrote.")], plots: Plots = None
) -> None:
    """Print the tables of an earlier run, and draw it.

    Example: `allod bench show out.json --plots out`
    """
    try:
        report = msgspec.json.decode(file.read_bytes(), type=Report)
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{file} is not what `allod bench run --json` writes: {error}") from error
    draw = lazy.drawing() if plots is not None else None
    _print(tables(report))
    if draw is not None and plots is not None:
        write(str(draw(report, plots)))


@app.command()
@spread({})
def loop(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name of `allod models`.")],
    as_json: AsJson = False,
    *,
    sizes: LoopSizes,
) -> None:
    """Measure a model without a server: its steps alone, and how near they come to what memory allows.

    The model is loaded in a process of its own, beside whatever serves it already.

    Example: `allod bench loop smollm2-135m --rows 1,8 --context 1024`
    """
    found = _loop(context, model, sizes)
    if as_json:
        write_json(found)
        return
    _print([loop_table(found)])
    for left in found.left_out:
        say(f"left out: {left}")


@app.command()
@spread({})
def synthesize(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What clients will call it.")],
    *,
    making: Making,
) -> None:
    """Make a model of any size with random weights: it costs what a trained one costs, and says nothing.

    Its answers are as long as they are asked to be, since it never says the token that would end them.

    Examples: `allod bench synthesize big --like gemma3-27b`,
    `allod bench synthesize mine --config-json config.json --bits 8 --out folder`
    """
    catalog = catalog_of(context)
    speaker = catalog.named(making.tokenizer or lazy.starter_name())
    recipe = Recipe(_config(making), making.bits, making.group_size, making.seed)
    with showing() as on_progress:
        if making.out is None:
            card = lazy.synthesize_model(catalog, name, recipe, speaker, on_progress)
            say(f"{card.name} is here: {card.quantization}, {bytes_words(card.weights_bytes)}")
        else:
            making.out.mkdir(parents=True, exist_ok=True)
            lazy.synthesize_folder(making.out, recipe, catalog.folder(speaker), on_progress)
    write(name if making.out is None else str(making.out))


@app.callback()
def group() -> None:
    """Measure servers and models."""


def target_of(text: str, models: Sequence[str], key: str | None) -> Target:
    """What `[NAME=]URL[#MODEL[,MODEL]]` means; a target without models of its own gets those of `--model`."""
    name, sign, url = text.partition("=")
    if not sign or "/" in name or ":" in name:
        name, url = "", text
    url, _, own = url.partition("#")
    asked = tuple(word for word in own.split(",") if word) or tuple(models)
    return Target(name or url.rpartition("://")[2].rstrip("/"), url, asked, key)


def _config(making: Making) -> Mapping[str, object]:
    if making.like is not None and making.config_json is None:
        return preset(making.like)
    if making.config_json is not None and making.like is None:
        return config_file(making.config_json.expanduser())
    raise ConfigurationError("say which model to make, once: --like NAME or --config-json FILE")


def _loop(context: typer.Context, model: str, sizes: LoopSizes) -> RawLoop:
    settings = settings_of(context)
    catalog = catalog_of(context)
    card = catalog.named(model)
    argv = [sys.executable, "-m", "allod.worker.measure", "--model", str(catalog.folder(card))]
    argv += [
        "--context-tokens",
        str(card.context_tokens),
        "--settings",
        WorkerSettings.of(settings).to_json(),
    ]
    argv += ["--measured", str(settings.measured_file(card.name))]
    argv += ["--rows", *map(str, sizes.rows), "--prompt-tokens", str(sizes.context_tokens)]
    argv += ["--steps", str(sizes.steps), "--repeats", str(sizes.repeats)]
    return raw_loop(argv)


def _print(found: Sequence[Table]) -> None:
    for table in found:
        write(f"\n{table.title}")
        write_table(table.titles, table.rows)


@contextmanager
def _progress() -> Generator[OnMoment]:
    """A callback that shows how far a run is: a bar at a terminal, a line for each sample elsewhere."""
    if not sys.stderr.isatty():
        yield lambda moment: say(f"{moment.done}/{moment.total} {moment.words}")
        return
    columns = (BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"), TimeElapsedColumn())
    words = TextColumn("{task.description}", markup=False)
    with Progress(*columns, words, console=Console(stderr=True), refresh_per_second=2) as bars:
        task = bars.add_task("", total=1)

        def move(moment: Moment) -> None:
            bars.update(task, description=moment.words, completed=moment.done, total=moment.total)

        yield move
