"""DeepSeek: V3 and R1 write a call's arguments in a fence, V3.1 bare, V3.2 and V4 as DSML.

V3 and R1: `<｜tool▁call▁begin｜>function<｜tool▁sep｜>f`, then the object in a fence of JSON.
V3.1: `<｜tool▁call▁begin｜>f<｜tool▁sep｜>{...}<｜tool▁call▁end｜>`.
V3.2 and V4: `<｜DSML｜invoke name="f">` with a parameter for each argument.
"""

from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Malformed, Reader, ScriptParser, Steps, marked
from allod.text.tools.framed import held_until, read_framed
from allod.text.tools.invoked import Invoked, invoked_parser, invoked_rules
from allod.text.tools.rules import call_rules

_CALLS = "<｜tool▁calls▁begin｜>"
_CALLS_END = "<｜tool▁calls▁end｜>"
_CALL = "<｜tool▁call▁begin｜>"
_CALL_END = "<｜tool▁call▁end｜>"
_SEPARATOR = "<｜tool▁sep｜>"
_FENCE = "```json"
_FENCE_END = "```"
_MARKS = (_CALLS, _CALLS_END, _CALL, _CALL_END, _SEPARATOR)


def _parser(_tools: Sequence[Tool]) -> Parser:
    return ScriptParser(marked((_CALLS, _CALL), _calls, (_CALLS_END, _CALL_END, _SEPARATOR)))


def _calls(reader: Reader, mark: str) -> Steps[None]:
    if mark == _CALLS:
        yield from reader.skip_space()
    while mark == _CALL:
        reader.settle()
        name = yield from _name(reader)
        mark = yield from read_framed(reader, name, _CALL_END, _CALLS_END, _CALL)


def _name(reader: Reader) -> Steps[str]:
    """The name, with all that stands before the arguments' brace read."""
    name, mark = yield from held_until(reader, _SEPARATOR, _FENCE, _CALL_END, _CALLS_END)
    yield from reader.skip_space()
    if mark == _SEPARATOR and (yield from reader.peek()) != "{":
        name, mark = yield from held_until(reader, _FENCE, "{", _CALL_END, _CALLS_END)
    if mark not in (_SEPARATOR, _FENCE):
        raise Malformed
    return name


def _fenced(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    def body(tool: Tool, arguments: str) -> str:
        head = f"{spell(_CALL)} {spell('function')} {spell(_SEPARATOR)}"
        fence = spell(f"{tool.name}\n{_FENCE}\n")
        return f"{head} {fence} {arguments} {spell(chr(10) + _FENCE_END)} {spell(_CALL_END)}"

    return call_rules(
        tools, body, many=many, between=spell("\n"), before=spell(_CALLS), after=spell(_CALLS_END)
    )


def _bare(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    def body(tool: Tool, arguments: str) -> str:
        head = f"{spell(_CALL)} {spell(tool.name)} {spell(_SEPARATOR)}"
        return f"{head} {arguments} {spell(_CALL_END)}"

    return call_rules(tools, body, many=many, before=spell(_CALLS), after=spell(_CALLS_END))


_DSML = "｜DSML｜"
_V32 = Invoked(
    block=f"<{_DSML}function_calls>",
    block_end=f"</{_DSML}function_calls>",
    tag=_DSML,
    says_strings=True,
)
_V4 = Invoked(
    block=f"<{_DSML}tool_calls>",
    block_end=f"</{_DSML}tool_calls>",
    tag=_DSML,
    says_strings=True,
)

DIALECT = Dialect(
    name="deepseek",
    marks=_MARKS,
    fingerprints=((_CALL, _SEPARATOR),),
    parser=_parser,
    grammar=_bare,
    trigger=_CALLS,
)
FENCED = Dialect(
    name="deepseek-v3",
    marks=_MARKS,
    fingerprints=((_CALL, _SEPARATOR, _FENCE),),
    parser=_parser,
    grammar=_fenced,
    trigger=_CALLS,
)
DSML = Dialect(
    name="deepseek-dsml",
    marks=(_DSML,),
    fingerprints=((_DSML, "function_calls>"),),
    parser=invoked_parser(_V32, _V4),
    grammar=invoked_rules(_V32),
    trigger=_V32.block,
)
DSML_V4 = Dialect(
    name="deepseek-v4",
    marks=(_DSML,),
    fingerprints=((_DSML, "tool_calls>"),),
    parser=invoked_parser(_V4, _V32),
    grammar=invoked_rules(_V4),
    trigger=_V4.block,
)
