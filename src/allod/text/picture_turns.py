"""Pictures in the turns where a chat template shows them.

Templates show pictures in a user's turn; few show them in a tool's result, and fewer in what others say.
A picture that would be lost where it stands is shown in a user's turn next to it, and `[picture 1]` stays
in its place.
"""

from collections.abc import Sequence
from dataclasses import replace

from allod.core.pictures import mark_of, pieces_of
from allod.core.request import Message, Role
from allod.text.traits import Traits

_SPEAKERS: dict[Role, str] = {"tool": "the tool's result", "assistant": "the assistant's turn"}
_SYSTEM = "the system's message"


def with_pictures_shown(turns: Sequence[Message], traits: Traits) -> list[Message]:
    """Every picture in a turn that shows it.

    A result's picture comes after all results of its turn, since nothing may stand between calls and
    results. An assistant's comes before it, since the answer may go on from an assistant's last words.
    """
    done: list[Message] = []
    held: list[str] = []
    for message in turns:
        told, shown = _told(message, traits, first=len(held) + 1)
        if message.role == "assistant":
            held, shown = held + shown, []
        if held and message.role != "tool":
            done.append(_showing(held))
            held = []
        done.append(told)
        held += shown
    return [*done, _showing(held)] if held else done


def with_head_pictures_shown(
    head: Sequence[Message], turns: Sequence[Message], traits: Traits
) -> tuple[list[Message], list[Message]]:
    """Head and turns, the pictures that the head does not show in a user's turn right after it."""
    kept: list[Message] = []
    held: list[str] = []
    for message in head:
        told, shown = _told(message, traits, first=len(held) + 1)
        kept.append(told)
        held += shown
    return kept, [_showing(held), *turns] if held else list(turns)


def _showing(captioned: Sequence[str]) -> Message:
    return Message("user", "\n\n".join(captioned))


def _told(message: Message, traits: Traits, *, first: int) -> tuple[Message, list[str]]:
    """The message as its turn can show it, and its pictures with their captions if it can not."""
    if message.role in traits.pictures:
        return message, []
    words: list[str] = []
    shown: list[str] = []
    for piece in pieces_of(message.content):
        if isinstance(piece, str):
            words.append(piece)
            continue
        number = first + len(shown)
        words.append(f"[picture {number}]")
        shown.append(f"Picture {number} of {_SPEAKERS.get(message.role, _SYSTEM)}:{mark_of(piece)}")
    return (replace(message, content="".join(words)), shown) if shown else (message, [])
