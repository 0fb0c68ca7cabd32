"""`allod dialect`: how a model writes tool calls."""

from typing import Annotated

import msgspec
import typer

from allod.cli import lazy
from allod.cli.options import catalog_of
from allod.cli.terminal import say, write

_AUTOMATIC = "auto"


def dialect(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A name of `allod models`.")],
    name: Annotated[
        str | None, typer.Argument(help="A dialect, or auto for the one that the chat template tells.")
    ] = None,
) -> None:
    """Choose how a model's tool calls are read, where its chat template does not tell. Alone: print it.

    Examples: `allod dialect qwen3-4b`, `allod dialect my-finetune hermes`, `allod dialect my-finetune auto`
    """
    catalog = catalog_of(context)
    card = catalog.card(model)
    if name is None:
        write(card.tool_dialect or _AUTOMATIC)
        return
    chosen = None if name == _AUTOMATIC else lazy.dialect_name(name)
    catalog.change(msgspec.structs.replace(card, tool_dialect=chosen))
    say(f"calls of {card.name} are read as {name}")
