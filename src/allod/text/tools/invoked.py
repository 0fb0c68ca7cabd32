"""Calls as blocks of `<invoke name="f">` with a `<parameter name="k">` for each argument."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from allod.core.tools import Tool
from allod.text.markup import Parser, Spell
from allod.text.scan import Malformed, Reader, ScriptParser, Steps, ignore, marked
from allod.text.tools.argument_rules import ANY_TEXT, argument_rules, bare_value
from allod.text.tools.arguments import ArgumentWriter, argument_types
from allod.text.tools.framed import held_until
from allod.text.tools.rules import bare_call_rules

_NAME = re.compile(r"""\s*(?:"([^"<>]+)"|'([^'<>]+)'|([^"'<>\s]+))(?:\s+string="(true|false)")?\s*""")
_LINE = "\n"
_QUOTE = '"'
_TYPES = {"true": frozenset(("string",)), "false": frozenset(("null",))}
"""What `string="..."` says: a string, or JSON where the text is some and a string where it is not."""


@dataclass(frozen=True, slots=True)
class Invoked:
    """How a family writes its tags.

    Attributes:
        block: the mark before the first call.
        block_end: the mark after the last call.
        tag: what each tag's name begins with.
        says_strings: a parameter says whether its value is a string.
    """

    block: str
    block_end: str
    tag: str = ""
    says_strings: bool = False

    @property
    def invoke(self) -> str:
        """The beginning of a call's tag."""
        return f"<{self.tag}invoke name="

    @property
    def invoke_end(self) -> str:
        """The mark at the end of a call."""
        return f"</{self.tag}invoke>"

    @property
    def parameter(self) -> str:
        """The beginning of an argument's tag."""
        return f"<{self.tag}parameter name="

    @property
    def parameter_end(self) -> str:
        """The mark at the end of an argument."""
        return f"</{self.tag}parameter>"


def invoked_parser(*forms: Invoked) -> Callable[[Sequence[Tool]], Parser]:
    """Makes parsers of these forms, which differ in the marks of their blocks only."""
    blocks = tuple(form.block for form in forms)
    ends = tuple(form.block_end for form in forms)

    def parser(tools: Sequence[Tool]) -> Parser:
        return ScriptParser(
            marked(blocks, lambda reader, _: _Block(reader, tools, forms[0], ends).read(), ends)
        )

    return parser


class _Block:
    """Reads one block. Words within it are no part of the answer."""

    def __init__(self, reader: Reader, tools: Sequence[Tool], form: Invoked, ends: Sequence[str]) -> None:
        self._reader = reader
        self._tools = tools
        self._form = form
        self._ends = ends

    def read(self) -> Steps[None]:
        """Read all calls of the block, and its end; what is no call within it is left out."""
        reader = self._reader
        while (yield from reader.until(self._form.invoke, *self._ends, sink=ignore)) == self._form.invoke:
            head, _ = yield from held_until(reader, ">", "<")
            if found := _NAME.fullmatch(head):
                yield from self._call(_name_in(found))
            else:
                reader.failures += 1
            reader.settle()

    def _call(self, name: str) -> Steps[None]:
        reader, form = self._reader, self._form
        reader.open(name)
        arguments = ArgumentWriter(reader, self._tools, name)
        while mark := (yield from reader.until(form.parameter, form.invoke_end, *self._ends, sink=ignore)):
            if mark != form.parameter:
                break
            yield from self._argument(arguments)
        if not mark and not reader.complete:
            raise Malformed
        arguments.close()

    def _argument(self, arguments: ArgumentWriter) -> Steps[None]:
        head, mark = yield from held_until(self._reader, ">", "<")
        found = _NAME.fullmatch(head)
        if mark != ">" or not found:
            raise Malformed
        types = _TYPES.get(found[4])
        end = yield from arguments.read(_name_in(found), self._form.parameter_end, types=types)
        if not end:
            raise Malformed


def _name_in(found: re.Match[str]) -> str:
    return found[1] or found[2] or found[3]


def invoked_rules(form: Invoked) -> Callable[[Sequence[Tool], Spell, bool], str]:
    """The grammar of a form."""

    def grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
        rules: list[str] = []

        def body(tool: Tool, arguments: str) -> str:
            rules.extend(_argument_rules(form, tool, arguments, spell))
            head = spell(f'{form.invoke}"{tool.name}">{_LINE}')
            return f"{head} {arguments} {spell(form.invoke_end + _LINE)}"

        before, after = spell(form.block + _LINE), spell(form.block_end)
        calls = bare_call_rules(tools, body, many=many, before=before, after=after)
        return calls + "\n".join(rules) + "\n"

    return grammar


def _argument_rules(form: Invoked, tool: Tool, name: str, spell: Spell) -> list[str]:
    types = argument_types(tool)
    kinds = {spell(key): types[key] for key in types}

    def write(key: str, value: str) -> str:
        kind = kinds.get(key, frozenset())
        said = f' string="{"true" if not kind or "string" in kind else "false"}"' if form.says_strings else ""
        return f"{spell(form.parameter + _QUOTE)} {key} {spell(_QUOTE + said + '>')} {value} {spell(_LINE)}"

    lines = argument_rules(tool, name, spell, bare_value(spell, form.parameter_end), write)
    if not form.tag or spell(form.tag).startswith(_QUOTE):
        return lines
    # the end is several tokens: text runs on into the first, as only a token can tell that it stops
    text, stop = f"{ANY_TEXT} {spell(form.parameter_end)}", spell(f"{form.tag}parameter>")
    return [line.replace(text, rf"/(?s:.*)<\// {stop}") for line in lines]
