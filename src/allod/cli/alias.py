"""`allod alias`: other names for models."""

from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from allod.cli.options import AsJson, catalog_of
from allod.cli.terminal import say, write_json, write_table
from allod.core.alias import Alias
from allod.core.ids import ModelName


def alias(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="What clients write; * stands for any characters.")
    ] = None,
    model: Annotated[str | None, typer.Argument(help="The model that answers, by its name.")] = None,
    reasoning: Annotated[
        Literal["field", "inline", "none"] | None,
        typer.Option(help="Where reasoning goes: reasoning_content, between its marks in the text, or away."),
    ] = None,
    thinking: Annotated[
        bool | None, typer.Option("--thinking/--no-thinking", help="Switch the model's reasoning.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let clients that ask for one name get another model. Without arguments: print the aliases.

    Examples: `allod alias gpt-4o qwen3-4b`, `allod alias 'claude-*-haiku*' smollm2-135m --reasoning none`
    """
    catalog = catalog_of(context)
    if name is None:
        _list(catalog.aliases.all(), as_json=as_json)
    elif model is None:
        raise typer.BadParameter(f"say which model {name} stands for: `allod alias {name} MODEL`")
    else:
        card = catalog.card(model)
        catalog.aliases.put(Alias(name, ModelName(card.name), reasoning, thinking))
        say(f"{name} is answered by {card.name}")


def unalias(
    context: typer.Context, name: Annotated[str, typer.Argument(help="A name of `allod alias`.")]
) -> None:
    """Forget an alias; the model stays.

    Example: `allod unalias gpt-4o`
    """
    catalog_of(context).aliases.remove(name)
    say(f"forgot {name}")


def _list(aliases: Sequence[Alias], *, as_json: bool) -> None:
    if as_json:
        write_json(aliases)
    elif not aliases:
        say("no aliases yet; `allod alias gpt-4o MODEL` adds one")
    else:
        write_table(("alias", "model", "reasoning", "thinking"), [_row(one) for one in aliases])


def _row(alias: Alias) -> tuple[str, ...]:
    thinking = {None: "", True: "on", False: "off"}[alias.thinking]
    return alias.name, alias.model, alias.reasoning or "", thinking
