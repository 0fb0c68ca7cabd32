"""`allod store`: what is kept for callers, and how to be rid of it."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer

from allod.cli.options import AsJson, settings_of
from allod.cli.terminal import bytes_words, say, write_json, write_table
from allod.store.database import Database

app = typer.Typer(no_args_is_help=True, help="Show and delete what is kept: responses, files, batches.")

Kind = Annotated[str | None, typer.Option("--kind", help="Only of this kind; `allod store show` lists them.")]
OlderThan = Annotated[
    float | None, typer.Option("--older-than", metavar="DAYS", min=0, help="Only older ones.")
]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only of this key: an id of `allod keys list`.")]


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Print how much is kept of each kind, and since when.

    Example: `allod store show --json`
    """
    with _opened(context) as store:
        kinds = store.summary()
    if as_json:
        write_json(kinds)
        return
    rows = [(item.kind, str(item.records), bytes_words(item.bytes), _day(item.oldest)) for item in kinds]
    if not rows:
        say("nothing is kept")
        return
    write_table(("kind", "records", "size", "oldest"), rows)


@app.command()
def purge(
    context: typer.Context,
    kind: Kind = None,
    older_than: OlderThan = None,
    tenant: Tenant = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete what is kept, for good, and give the space back. Asks first. The server may be running.

    Examples: `allod store purge --older-than 7`, `allod store purge --kind response --yes`
    """
    before = None if older_than is None else int(time.time() - older_than * 86_400)
    with _opened(context) as store:
        count = store.count(kind, tenant, before)
        if count and not yes:
            typer.confirm(f"Delete {count} records?", abort=True, err=True)
        gone = store.purge(kind, tenant, before)
    say(f"deleted {gone} records")


@contextmanager
def _opened(context: typer.Context) -> Generator[Database]:
    settings = settings_of(context)
    store = Database(settings.store_file, settings.store)
    try:
        yield store
    finally:
        store.close()


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
