"""Who speaks when: conversations in an order of roles that a chat template takes.

- `developer` becomes `system`, unless the template names the developer role and shows it.
- Several system messages at the start become one where the template takes only one; where it takes none,
  their text opens the first user's turn.
- A later system message that the template does not show in its place becomes words of a user's turn,
  `[system] ...`. It is not moved into the head: that would change the start of the prompt, and with it
  everything that the prefix cache holds, each time such a message is added.
- Where roles must alternate, turns of the same role are joined by a blank line, a user's words after a
  tool's result go into it, and an empty user's turn comes before an assistant that opens.
- Pictures go where the template shows them (see `picture_turns`). A user's turn with pictures that can
  neither follow a tool's result nor go into it comes after a few words of the assistant.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from allod.core.pictures import marks_in
from allod.core.request import Message
from allod.core.tools import Tool
from allod.text.calls import arranged, joined, linked, systems_after_results
from allod.text.generic_tools import CallWriter, in_generic_form
from allod.text.picture_turns import with_head_pictures_shown, with_pictures_shown
from allod.text.traits import SYSTEM_ROLES, Traits

_LOOKS = "Let me look at the picture."


def canonical(
    messages: Sequence[Message], tools: Sequence[Tool], traits: Traits, writer: CallWriter
) -> list[Message]:
    """The conversation for a template with these traits, without losing a word of it.

    The tools are put into words where the template does not write them itself.

    Raises:
        InvalidRequest: a tool's parameters are not a JSON object.
    """
    turns = linked([_in_known_role(message, traits) for message in messages])
    turns = _merged_answers(turns, traits)
    turns = arranged(turns, traits, writer) if traits.tools else in_generic_form(turns, tools)
    head = list(takewhile(_is_system, turns))
    turns = turns[len(head) :]
    if not traits.late_systems:
        turns = _tagged(systems_after_results(turns))
    if traits.pictures:
        turns = with_pictures_shown(turns, traits)
        if traits.system != "never":
            head, turns = with_head_pictures_shown(head, turns, traits)
    if _lacks_question(turns, traits, has_native_tools=bool(tools) and traits.tools):
        turns = [Message("user", ""), *turns]
    turns = _merged_questions(turns, traits)
    if not traits.user_after_result:
        turns = _folded(turns, traits)
    return _with_head(head, turns, traits)


def _in_known_role(message: Message, traits: Traits) -> Message:
    if message.role == "developer" and not traits.developer:
        return replace(message, role="system")
    return message


def _with_head(head: Sequence[Message], turns: Sequence[Message], traits: Traits) -> list[Message]:
    text = joined(*(message.content for message in head))
    if not head or (traits.several_systems and _takes_head(turns, traits)):
        return [*head, *turns]
    if _takes_head(turns, traits):
        return [head[0] if len(head) == 1 else Message("system", text), *turns]
    if turns and turns[0].role == "user":
        return [replace(turns[0], content=joined(text, turns[0].content)), *turns[1:]]
    return [Message("user", text), *turns]


def _takes_head(turns: Sequence[Message], traits: Traits) -> bool:
    if not traits.pictures_beside_system and any(marks_in(message.content) for message in turns):
        return False
    ends_with_user = not turns or turns[-1].role == "user"
    return traits.system == "always" or (traits.system == "before_user" and ends_with_user)


def _tagged(turns: Sequence[Message]) -> list[Message]:
    """Late system messages as notes in the user's turn next to them, the one before if there is one."""
    done: list[Message] = []
    is_note = False
    for message in turns:
        if _is_system(message):
            note = f"[system] {message.content}"
            if done and done[-1].role == "user":
                done[-1] = replace(done[-1], content=joined(done[-1].content, note))
            else:
                done.append(Message("user", note))
                is_note = True
        elif is_note and message.role == "user":
            done[-1] = replace(message, content=joined(done[-1].content, message.content))
            is_note = False
        else:
            done.append(message)
            is_note = False
    return done


def _lacks_question(turns: Sequence[Message], traits: Traits, *, has_native_tools: bool) -> bool:
    """Whether an empty user's turn has to come first."""
    if turns and turns[0].role == "user":
        return False
    is_open = bool(turns) and not traits.opens_with_answer
    no_user = not any(message.role == "user" for message in turns)
    return (
        is_open
        or (no_user and not traits.lives_without_user)
        or (has_native_tools and traits.tools_need_question)
    )


def _merged_answers(messages: Sequence[Message], traits: Traits) -> list[Message]:
    done: list[Message] = []
    for message in messages:
        if done and _joins(done[-1], message, traits):
            last = done[-1]
            done[-1] = replace(
                last,
                content=joined(last.content, message.content),
                tool_calls=last.tool_calls + message.tool_calls,
                reasoning=joined(last.reasoning or "", message.reasoning or "") or None,
            )
        else:
            done.append(message)
    return done


def _joins(last: Message, message: Message, traits: Traits) -> bool:
    """Whether two turns in a row have to become one; `arranged` takes apart what must not stand together."""
    if not last.role == message.role == "assistant":
        return False
    if last.tool_calls and message.tool_calls:
        return not traits.several_calls or "assistant" not in traits.repeats
    if message.tool_calls and traits.text_with_calls == "lost":
        return True
    return "assistant" not in traits.repeats


def _merged_questions(messages: Sequence[Message], traits: Traits) -> list[Message]:
    if "user" in traits.repeats:
        return list(messages)
    done: list[Message] = []
    for message in messages:
        if done and done[-1].role == message.role == "user":
            name = message.name if message.name == done[-1].name else None
            done[-1] = Message("user", joined(done[-1].content, message.content), name)
        else:
            done.append(message)
    return done


def _folded(messages: Sequence[Message], traits: Traits) -> list[Message]:
    """A user's words that follow a result, in the result; pictures that it does not show stay out of it."""
    shows_all = not traits.pictures or "tool" in traits.pictures
    done: list[Message] = []
    for message in messages:
        if not (done and done[-1].role == "tool" and message.role == "user"):
            done.append(message)
        elif not shows_all and marks_in(message.content):
            done += [Message("assistant", _LOOKS), message]
        else:
            done[-1] = replace(done[-1], content=joined(done[-1].content, message.content))
    return done


def _is_system(message: Message) -> bool:
    return message.role in SYSTEM_ROLES
