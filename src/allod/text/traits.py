"""What a chat template takes as it is, and what has to be said differently for it."""

from dataclasses import dataclass
from typing import Literal

from allod.core.request import Role

SYSTEM_ROLES: frozenset[Role] = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class Traits:
    """What rendering canaries has shown of one template. The defaults take conversations as they are.

    Attributes:
        listed: roles whose content has to be a list of parts, not a string.
        system: a system message at the start is shown always, only in conversations whose last message
            is a user's, or never.
        several_systems: more than one system message at the start.
        late_systems: a system message after other turns, shown where it stands.
        developer: the developer role, by its own name.
        opens_with_answer: an assistant's turn before any user's.
        lives_without_user: a conversation without a user's turn.
        repeats: roles that may speak twice in a row.
        tools: the template writes the tools that are on offer.
        tools_are_listed: it walks the tools without asking whether there are any.
        tools_need_question: it writes them into the first turn, which therefore has to be a user's.
        calls: an assistant's calls are shown.
        arguments: a call's arguments as an object or as JSON text.
        null_content: calls are shown only where the content is null.
        identifiers: a call may have any; or must have one of nine letters and digits; or one that tells
            the tool's name, which is not shown otherwise.
        several_calls: more than one call in a turn.
        text_with_calls: words beside a call are kept, must stand in a turn apart, or are lost either way.
        results: the tool role is shown.
        stray_results: a result that no call precedes.
        parted_results: anything between a call and its result; False only where the result would be lost.
        unanswered_calls: a call that a user's turn follows without a result.
        user_after_result: a user's turn directly after a result.
        pictures: roles in whose turns pictures are shown; none for conversations without pictures.
        picture_words: pictures are words of a text, which hold their place as marks; else they are parts
            of a content that is a list.
        pictures_beside_system: pictures in a conversation with a system message.
    """

    listed: frozenset[Role] = frozenset()
    system: Literal["always", "before_user", "never"] = "always"
    several_systems: bool = True
    late_systems: bool = True
    developer: bool = False
    opens_with_answer: bool = True
    lives_without_user: bool = True
    repeats: frozenset[Role] = frozenset({"user", "assistant"})
    tools: bool = False
    tools_are_listed: bool = False
    tools_need_question: bool = False
    calls: bool = True
    arguments: Literal["object", "text"] = "object"
    null_content: bool = False
    identifiers: Literal["any", "short", "named"] = "any"
    several_calls: bool = True
    text_with_calls: Literal["kept", "apart", "lost"] = "kept"
    results: bool = True
    stray_results: bool = True
    parted_results: bool = True
    unanswered_calls: bool = True
    user_after_result: bool = True
    pictures: frozenset[Role] = frozenset()
    picture_words: bool = False
    pictures_beside_system: bool = True
