"""MiniMax M3: elements as in XML, each tag behind a mark: `]<]minimax[>[<city>Rome]<]minimax[>[</city>`.

An argument is an element of its name; an object has an element for each key, a list one `item` for each
of its items, and everything else is bare text.
"""

import json
import re
from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Parser, Spell
from allod.text.scan import Malformed, Reader, ScriptParser, Steps, ignore, marked
from allod.text.tools.arguments import TEXT, ArgumentWriter, argument_types, as_json
from allod.text.tools.element_rules import element_rules
from allod.text.tools.framed import held_until
from allod.text.tools.rules import Schema, bare_call_rules, mapping, schema_of

_MARK = "]<]minimax[>["
_BLOCK = "<tool_call>"
_BLOCK_END = "</tool_call>"
_INVOKE = re.compile(r"""invoke\s+name=["']([^"'<>]+)["']""")
_ITEM = "item"
_EMPTY = {"array": "[]", "object": "{}"}


def _parser(tools: Sequence[Tool]) -> Parser:
    def block(reader: Reader, _mark: str) -> Steps[None]:
        yield from reader.expect(_BLOCK)
        while tag := (yield from _tag(reader)):
            if f"<{tag}>" == _BLOCK_END:
                return
            if found := _INVOKE.fullmatch(tag):
                yield from _call(reader, tools, found[1])
            reader.settle()

    return ScriptParser(marked((_MARK,), block))


def _tag(reader: Reader) -> Steps[str]:
    """Read up to the next tag, and it; what is between its brackets, or nothing at the end of the answer."""
    if not (yield from reader.until(_MARK, sink=ignore)):
        return ""
    return (yield from _rest_of_tag(reader))


def _rest_of_tag(reader: Reader) -> Steps[str]:
    yield from reader.expect("<")
    tag, end = yield from held_until(reader, ">")
    if not end:
        raise Malformed
    return tag


def _call(reader: Reader, tools: Sequence[Tool], name: str) -> Steps[None]:
    reader.open(name)
    tool = next((tool for tool in tools if tool.name == name), Tool(name))
    arguments = ArgumentWriter(reader, tools, name)
    while (tag := (yield from _tag(reader))) and not tag.startswith("/"):
        if argument_types(tool).get(tag) == TEXT:
            yield from arguments.read(tag, _MARK)
            while (yield from _rest_of_tag(reader)) != f"/{tag}":
                yield from _expect_mark(reader)
        else:
            arguments.write_json(tag, (yield from _Elements(reader, schema_of(tool), tag).read()))
    if tag != "/invoke" and not (not tag and reader.complete):
        raise Malformed
    arguments.close()


def _expect_mark(reader: Reader) -> Steps[None]:
    if not (yield from reader.until(_MARK, sink=ignore)):
        raise Malformed


class _Elements:
    """Reads an element with all that is in it as JSON text; a stack stands for nesting."""

    def __init__(self, reader: Reader, root: Schema, tag: str) -> None:
        self._reader = reader
        self._root = root
        self._open: list[tuple[str, Schema, list[tuple[str, str]]]] = []
        self._begin(tag, mapping(mapping(root.get("properties")).get(tag)))

    def read(self) -> Steps[str]:
        """Read from after the opening tag to the closing tag."""
        while True:
            held: list[str] = []
            if not (yield from self._reader.until(_MARK, sink=held.append)):
                raise Malformed
            inner = yield from _rest_of_tag(self._reader)
            tag, schema, members = self._open[-1]
            if not inner.startswith("/"):
                known = schema.get("items") if inner == _ITEM else None
                self._begin(inner, mapping(known or mapping(schema.get("properties")).get(inner)))
            elif inner != f"/{tag}":
                raise Malformed
            else:
                self._open.pop()
                value = self._value("".join(held), schema, members)
                if not self._open:
                    return value
                self._open[-1][2].append((tag, value))

    def _begin(self, tag: str, schema: Schema) -> None:
        self._open.append((tag, schema, []))

    def _value(self, text: str, schema: Schema, members: list[tuple[str, str]]) -> str:
        types = self._types(schema)
        names = {name for name, _ in members}
        if names == {_ITEM} and ("array" in types or not types):
            return f"[{', '.join(value for _, value in members)}]"
        if names:
            pairs = [f"{json.dumps(name, ensure_ascii=False)}: {value}" for name, value in members]
            return "{" + ", ".join(pairs) + "}"
        if text.strip() or not types & _EMPTY.keys():
            return as_json(text, types)
        return next(_EMPTY[kind] for kind in sorted(types & _EMPTY.keys()))

    def _types(self, schema: Schema) -> frozenset[str]:
        definitions = {key: self._root[key] for key in ("$defs", "definitions") if key in self._root}
        probe = json.dumps({**definitions, "properties": {"value": schema}})
        return argument_types(Tool("", parameters=probe))["value"]


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    mark, line = spell(_MARK), spell("\n")
    rules: list[str] = []

    def body(tool: Tool, arguments: str) -> str:
        rules.extend(element_rules(schema_of(tool), arguments, spell, _MARK))
        head, tail = spell(f'<invoke name="{tool.name}">'), spell("</invoke>\n")
        return f"{mark} {head} {line}? {arguments} {tail}"

    before, after = f"{mark} {spell(_BLOCK)} {line}", f"{mark} {spell(_BLOCK_END)}"
    calls = bare_call_rules(tools, body, many=many, before=before, after=after)
    is_text = mark.startswith('"')
    text = f"mark_text[suffix={mark}]: /(?s:.*)/" if is_text else f"mark_text: /(?s:.*)/ {mark}"
    return calls + "\n".join([*rules, text]) + "\n"


DIALECT = Dialect(
    name="minimax-m3",
    marks=(_MARK, _BLOCK, _BLOCK_END),
    fingerprints=((_MARK, "invoke name="),),
    parser=_parser,
    grammar=_grammar,
    trigger=_MARK,
)
