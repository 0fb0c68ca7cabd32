"""`allod models draft`: which smaller model drafts for a model."""

from typing import Annotated

import typer

from allod.cli.options import catalog_of
from allod.cli.terminal import say, write
from allod.registry import pairing

_NOBODY = "none"
_LATER = "from its next load on"


def draft(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name of `allod models`.")],
    draft_model: Annotated[
        str | None,
        typer.Argument(metavar="[DRAFT]", help="A smaller model of the same family, by its name."),
    ] = None,
    nobody: Annotated[bool, typer.Option("--none", help="Let no model draft for it any more.")] = False,
) -> None:
    """Let a smaller model say first what a model may say next, where that is faster. Alone: print which does.

    The answers stay the same. Both are loaded together, and share the model's part of the memory.

    Examples: `allod models draft qwen3-32b qwen3-0.6b`, `allod models draft qwen3-32b --none`
    """
    catalog = catalog_of(context)
    if nobody and draft_model is not None:
        raise typer.BadParameter(f"give either {draft_model} or --none")
    if nobody:
        card = pairing.unpair(catalog, name)
        say(f"no model drafts for {card.name} {_LATER}")
    elif draft_model is None:
        write(catalog.card(name).draft or _NOBODY)
    else:
        paired = pairing.pair(catalog, name, draft_model)
        if paired.warning:
            say(f"warning: {paired.warning}")
        say(f"{paired.card.draft} drafts for {paired.card.name} {_LATER}")
