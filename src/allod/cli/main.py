"""The `allod` command: which commands there are, and how each failure ends."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from allod.cli import (
    alias,
    bench,
    chat,
    dialect,
    doctor,
    keys,
    models,
    options,
    serve,
    settings,
    store,
    version,
)
from allod.cli.exits import ExitCode, code_of, epilog
from allod.cli.terminal import say, write
from allod.core.errors import AllodError
from allod.version import __version__

app = typer.Typer(
    name="allod",
    help="A server for language models on your own machine, with OpenAI's API.\n\n"
    "`allod up` is all it takes: it fetches a small model if there is none, and serves it.",
    epilog="--home, --config and --set may stand before or after the command.\n\n" + epilog(),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(serve.up)
app.command("serve")(serve.serve)
app.command("chat", cls=chat.ChatCommand)(chat.chat)
app.add_typer(models.app, name="models")
app.command("pull")(models.pull)
app.command("import")(models.import_)
app.command("rm")(models.rm)
app.command("alias")(alias.alias)
app.command("unalias")(alias.unalias)
app.command("dialect")(dialect.dialect)
app.add_typer(bench.app, name="bench")
app.add_typer(keys.app, name="keys")
app.add_typer(store.app, name="store")
app.add_typer(settings.app, name="config")
app.command("doctor")(doctor.doctor)
app.command("version")(version.version)


def _print_version(wanted: bool) -> None:
    if wanted:
        write(__version__)
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    home: options.Home = None,
    file: options.ConfigFile = None,
    pairs: options.Pairs = None,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Settings come from config.toml, ALLOD_SECTION_NAME variables, and flags: the last one wins."""
    options.remember(context, home, file, pairs or ())


def run(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `allod` script; ends the process with one of the documented codes."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(options.hoist(given), prog_name="allod")
    except AllodError as error:
        say(f"allod: {error.message}")
        sys.exit(code_of(error))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
