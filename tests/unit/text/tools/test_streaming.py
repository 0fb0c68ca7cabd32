"""Long arguments come out while the model writes them."""

import pytest
from tests.scaffolding.tool_answers import TOOLS

from allod.text.markup import CallArguments, Dialect
from allod.text.tools import deepseek, gemma, glm, granite, kimi, minimax, minimax_m3, phi

_LONG = "if a < b: print('<a>')  # " * 100
_BEGUN = {
    "glm": (glm.DIALECT, "<tool_call>write_file\n<arg_key>content</arg_key>\n<arg_value>"),
    "deepseek": (
        deepseek.DIALECT,
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>write_file<｜tool▁sep｜>{"content": "',
    ),
    "deepseek-v3": (
        deepseek.FENCED,
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>write_file\n```json\n{"content": "',
    ),
    "deepseek-dsml": (
        deepseek.DSML,
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="write_file">\n'
        '<｜DSML｜parameter name="content" string="true">',
    ),
    "kimi": (
        kimi.DIALECT,
        '<|tool_call_begin|>functions.write_file:0<|tool_call_argument_begin|>{"content": "',
    ),
    "minimax": (
        minimax.DIALECT,
        '<minimax:tool_call>\n<invoke name="write_file">\n<parameter name="content">',
    ),
    "minimax-m3": (
        minimax_m3.DIALECT,
        ']<]minimax[>[<tool_call>]<]minimax[>[<invoke name="write_file">]<]minimax[>[<content>',
    ),
    "gemma": (gemma.DIALECT, '<|tool_call>call:write_file{content:<|"|>'),
    "functiongemma": (gemma.FUNCTION, "<start_function_call>call:write_file{content:<escape>"),
    "granite": (granite.DIALECT, '<|tool_call|>[{"name": "write_file", "arguments": {"content": "'),
    "phi": (phi.DIALECT, '<|tool_call|>[{"name": "write_file", "arguments": {"content": "'),
}


@pytest.mark.parametrize(("dialect", "begun"), _BEGUN.values(), ids=_BEGUN)
def test_a_long_string_is_not_held_back(dialect: Dialect, begun: str) -> None:
    """Of a string that is still being written, at most the beginning of a mark is held at any time."""
    parser = dialect.parser(TOOLS)
    parser.feed(begun)
    longest = max(map(len, (*dialect.marks, "</｜DSML｜parameter>")))
    came = 0
    for fed, character in enumerate(_LONG, start=1):
        pieces = parser.feed(character)
        came += sum(len(piece.text) for piece in pieces if isinstance(piece, CallArguments))
        assert parser.held_chars < longest
        assert came > fed - longest
