"""Llama 3: the whole answer is `{"name": "f", "parameters": {...}}`, several parted by semicolons."""

import json
from collections.abc import Sequence

from allod.core.tools import Tool
from allod.text.markup import Dialect, Spell
from allod.text.tools.rules import call_rules
from allod.text.tools.unmarked import MARKS, unmarked_parser


def _grammar(tools: Sequence[Tool], spell: Spell, many: bool) -> str:
    def body(tool: Tool, arguments: str) -> str:
        head = spell(f'{{"name": {json.dumps(tool.name)}, "parameters": ')
        return f"{head} {arguments} {spell('}')}"

    return call_rules(tools, body, many=many, between=spell("; "))


DIALECT = Dialect(
    name="llama_json",
    marks=MARKS,
    fingerprints=(
        ("<|start_header_id|>", '"parameters": '),
        ("<|start_header_id|>", "<|python_tag|>"),
        ("<|header_start|>", '"parameters": '),
    ),
    parser=unmarked_parser,
    grammar=_grammar,
    trigger="{",
    ending=("<|eom_id|>", "<|eom|>"),
)
