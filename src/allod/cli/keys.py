"""`allod keys`: who may use the server."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from allod.api.keys import KeyFile
from allod.cli.options import AsJson, settings_of
from allod.cli.terminal import say, write, write_json, write_table

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


@app.command()
def add(
    context: typer.Context, label: Annotated[str, typer.Argument(help="Whose key it is, in your words.")]
) -> None:
    """Make a key and print it: this once, since only its hash is kept.

    Once a key exists, a running server asks for one. Example: `allod keys add laptop`
    """
    write(_file(context).add(label))
    say("This key is shown only now. Clients send it as `Authorization: Bearer KEY`.")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the keys: id, label and day of making, never the secret."""
    records = _file(context).list()
    if as_json:
        write_json([{"id": item.id, "label": item.label, "created": item.created} for item in records])
        return
    rows = [(item.id, item.label, _day(item.created)) for item in records]
    write_table(("id", "label", "created"), rows)


@app.command()
def revoke(
    context: typer.Context, identifier: Annotated[str, typer.Argument(help="An id of `allod keys list`.")]
) -> None:
    """Forget a key; a running server refuses it from the next request on."""
    record = _file(context).revoke(identifier)
    say(f"revoked {record.id} ({record.label})")


def _file(context: typer.Context) -> KeyFile:
    return KeyFile(settings_of(context).keys_file)


def _day(created: int) -> str:
    return datetime.fromtimestamp(created, UTC).date().isoformat()
