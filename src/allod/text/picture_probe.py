"""Finding out where and how a chat template shows pictures, by rendering canaries with some."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from allod.core.errors import InvalidRequest
from allod.core.pictures import mark_of
from allod.core.request import Message, Role
from allod.core.tools import Tool, ToolCall
from allod.text.generic_tools import CallWriter, with_written_calls
from allod.text.picture_forms import form_in
from allod.text.traits import Traits

_FINCH, _ROBIN = "canary_finch", "canary_robin"
_QUESTION, _ANSWER = Message("user", "canary_wren"), Message("assistant", "canary_crow")
_CALL = ToolCall("call_canary_1", "canary_tool", '{"canary_key": "canary_value"}')
_TOOL = Tool(_CALL.name, "A bird.", '{"type": "object", "properties": {"canary_key": {"type": "string"}}}')
_MARK = mark_of(0)
_PAIR = f"{_FINCH}{_MARK}{_ROBIN}{_MARK}"
_MOST = 3

_PLACINGS: Sequence[Callable[[int], str]] = (
    lambda count: f"{_FINCH}{_MARK * count}{_ROBIN}",
    lambda count: f"{_MARK * count}{_FINCH}{_ROBIN}",
    lambda count: f"{_FINCH}{_ROBIN}{_MARK * count}",
    lambda count: f"{_MARK * min(count, 1)}{_FINCH}\n{_MARK * (count - 1)} {_ROBIN}",
)
"""Words with so many pictures before, between and behind them."""

_Draw = Callable[[Sequence[Message], Sequence[Tool], Traits], str]


def picture_form(draw: _Draw, traits: Traits) -> str:
    """What the template writes for a picture in a user's turn; empty if it shows none."""
    known = replace(traits, pictures=frozenset({"user"}))
    renderings = [
        [_drawn(draw, (Message("user", placing(count)),), known) for count in range(_MOST + 1)]
        for placing in _PLACINGS
    ]
    is_whole = all(_has_words(text) for texts in renderings for text in texts)
    return form_in(renderings) if is_whole else ""


def with_picture_manners(draw: _Draw, traits: Traits, writer: CallWriter, form: str) -> Traits:
    """The traits with what the template does with pictures that it writes in this form."""
    tool_call = Message("assistant", "", tool_calls=(_CALL,))
    call = tool_call if traits.calls else with_written_calls(tool_call, writer)
    places: dict[Role, tuple[Message, ...]] = {
        "system": (Message("system", _PAIR), _QUESTION),
        "assistant": (_QUESTION, Message("assistant", _PAIR), _QUESTION),
    }
    if traits.tools and traits.results:
        places["tool"] = (_QUESTION, call, Message("tool", _PAIR, _CALL.name, (), _CALL.identifier))
    roles: set[Role] = {"user"}
    for role, turns in places.items():
        text = _drawn(draw, turns, replace(traits, pictures=frozenset({role})))
        if _has_words(text) and text.count(form) == 2:
            roles.add(role)
    known = replace(traits, pictures=frozenset(roles))
    beside = _drawn(draw, (Message("system", _FINCH), Message("user", f"{_ROBIN}{_MARK}")), known)
    is_beside = traits.system == "never" or (_has_words(beside) and form in beside)
    return replace(known, pictures_beside_system=is_beside)


def _drawn(draw: _Draw, turns: Sequence[Message], traits: Traits) -> str:
    tools = (_TOOL,) if any(turn.role == "tool" for turn in turns) else ()
    try:
        return draw(turns, tools, traits)
    except InvalidRequest:
        return ""


def _has_words(text: str) -> bool:
    return text.count(_FINCH) == text.count(_ROBIN) == 1
