"""`allod config`: what is in force, and who said so."""

import typer

from allod import config
from allod.cli.options import AsJson, flags_of
from allod.cli.terminal import write, write_json, write_table
from allod.declared import value_words

app = typer.Typer(no_args_is_help=True, help="Show settings.")


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Print every setting with its value and where the value comes from.

    Example: `ALLOD_API_PORT=9000 allod config show`
    """
    resolved = config.resolve(flags_of(context))
    values = config.values(resolved.settings)
    origins = {name: resolved.origins.get(name, "default") for name in values}
    if as_json:
        shown = {name: {"value": value, "from": origins[name]} for name, value in values.items()}
        write_json({"home": str(resolved.settings.home), "settings": shown})
        return
    write(f"home\t{resolved.settings.home}")
    rows = [(name, value_words(value), origins[name]) for name, value in values.items()]
    write_table(("setting", "value", "from"), rows)


@app.callback()
def group() -> None:
    """Show settings."""
