"""Laws of every dialect's grammar: it takes what the family writes, and the parser reads what it takes."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from tests.scaffolding.tokenizers import marked_bytes
from tests.scaffolding.tool_answers import TOOLS, read

from allod.text.lark import Speller
from allod.text.markup import CallArguments, CallClosed, CallOpened, Dialect
from allod.text.tools import (
    deepseek,
    gemma,
    glm,
    granite,
    hermes,
    kimi,
    llama_json,
    minimax,
    minimax_m3,
    mistral,
    phi,
    pythonic,
    qwen_xml,
)

TOKENIZER = LLTokenizer("byte")
Arguments = Mapping[str, object]
Call = tuple[str, Arguments]
Writer = Callable[[list[Call]], str]
Taker = Callable[..., bool]


def dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def bare(value: object) -> str:
    return value if isinstance(value, str) else dumped(value)


def glm_text(calls: list[Call]) -> str:
    def one(call: Call) -> str:
        pairs = [f"<arg_key>{k}</arg_key>\n<arg_value>{bare(v)}</arg_value>\n" for k, v in call[1].items()]
        return f"<tool_call>{call[0]}\n{''.join(pairs)}</tool_call>"

    return "\n".join(map(one, calls))


def deepseek_text(calls: list[Call]) -> str:
    def one(call: Call) -> str:
        return f"<｜tool▁call▁begin｜>{call[0]}<｜tool▁sep｜>{dumped(call[1])}<｜tool▁call▁end｜>"

    return f"<｜tool▁calls▁begin｜>{''.join(map(one, calls))}<｜tool▁calls▁end｜>"


def fenced_text(calls: list[Call]) -> str:
    def one(call: Call) -> str:
        fence = f"{call[0]}\n```json\n{dumped(call[1])}\n```"
        return f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{fence}<｜tool▁call▁end｜>"

    return "<｜tool▁calls▁begin｜>" + "\n".join(map(one, calls)) + "<｜tool▁calls▁end｜>"


def dsml_text(calls: list[Call], block: str = "function_calls") -> str:
    def one(call: Call) -> str:
        pairs = [
            f'<｜DSML｜parameter name="{k}" string="{"true" if isinstance(v, str) else "false"}">{bare(v)}'
            "</｜DSML｜parameter>\n"
            for k, v in call[1].items()
        ]
        return f'<｜DSML｜invoke name="{call[0]}">\n{"".join(pairs)}</｜DSML｜invoke>\n'

    return f"<｜DSML｜{block}>\n{''.join(map(one, calls))}</｜DSML｜{block}>"


def kimi_text(calls: list[Call]) -> str:
    each = [
        f"<|tool_call_begin|>functions.{name}:{number}"
        f"<|tool_call_argument_begin|>{dumped(arguments)}<|tool_call_end|>"
        for number, (name, arguments) in enumerate(calls)
    ]
    return f"<|tool_calls_section_begin|>{''.join(each)}<|tool_calls_section_end|>"


def minimax_text(calls: list[Call]) -> str:
    def one(call: Call) -> str:
        pairs = [f'<parameter name="{k}">{bare(v)}</parameter>\n' for k, v in call[1].items()]
        return f'<invoke name="{call[0]}">\n{"".join(pairs)}</invoke>\n'

    return f"<minimax:tool_call>\n{''.join(map(one, calls))}</minimax:tool_call>"


M3 = "]<]minimax[>["


def m3_value(value: object) -> str:
    if isinstance(value, dict):
        return "".join(f"{M3}<{k}>{m3_value(v)}{M3}</{k}>" for k, v in value.items())
    if isinstance(value, list):
        return "".join(f"{M3}<item>{m3_value(item)}{M3}</item>" for item in value)
    return bare(value)


def m3_text(calls: list[Call]) -> str:
    def one(call: Call) -> str:
        return f'{M3}<invoke name="{call[0]}">\n{m3_value(dict(call[1]))}{M3}</invoke>\n'

    return f"{M3}<tool_call>\n{''.join(map(one, calls))}{M3}</tool_call>"


def gemma_value(value: object, quote: str) -> str:
    if isinstance(value, str):
        return quote + value + quote
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=lambda pair: str(pair[0]).lower())
        return "{" + ",".join(f"{k}:{gemma_value(v, quote)}" for k, v in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(gemma_value(item, quote) for item in value) + "]"
    return json.dumps(value)


def gemma_text(calls: list[Call]) -> str:
    quote = '<|"|>'
    return "".join(f"<|tool_call>call:{n}{gemma_value(dict(a), quote)}<tool_call|>" for n, a in calls)


def function_gemma_text(calls: list[Call]) -> str:
    each = [f"call:{name}{gemma_value(dict(arguments), '<escape>')}" for name, arguments in calls]
    return "".join(f"<start_function_call>{call}<end_function_call>" for call in each)


def list_text(calls: list[Call]) -> str:
    return dumped([{"name": name, "arguments": arguments} for name, arguments in calls])


def hermes_text(calls: list[Call]) -> str:
    each = [dumped({"name": name, "arguments": arguments}) for name, arguments in calls]
    return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in each)


def qwen_text(calls: list[Call]) -> str:
    def one(call: Call) -> str:
        pairs = [f"<parameter={k}>\n{bare(v)}\n</parameter>\n" for k, v in call[1].items()]
        return f"<tool_call>\n<function={call[0]}>\n{''.join(pairs)}</function>\n</tool_call>"

    return "\n".join(map(one, calls))


def llama_text(calls: list[Call]) -> str:
    return "; ".join(dumped({"name": name, "parameters": arguments}) for name, arguments in calls)


def python_text(calls: list[Call]) -> str:
    def one(call: Call) -> str:
        return f"{call[0]}({', '.join(f'{k}={python(v)}' for k, v in call[1].items())})"

    return f"[{', '.join(map(one, calls))}]"


def python(value: object) -> str:
    return str(value) if isinstance(value, bool) else dumped(value)


def mistral_text(calls: list[Call]) -> str:
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{dumped(arguments)}" for name, arguments in calls)


FAMILIES: list[tuple[Dialect, Writer]] = [
    (hermes.DIALECT, hermes_text),
    (qwen_xml.DIALECT, qwen_text),
    (llama_json.DIALECT, llama_text),
    (pythonic.DIALECT, python_text),
    (mistral.DIALECT, mistral_text),
    (glm.DIALECT, glm_text),
    (deepseek.DIALECT, deepseek_text),
    (deepseek.FENCED, fenced_text),
    (deepseek.DSML, dsml_text),
    (deepseek.DSML_V4, lambda calls: dsml_text(calls, "tool_calls")),
    (kimi.DIALECT, kimi_text),
    (minimax.DIALECT, minimax_text),
    (minimax_m3.DIALECT, m3_text),
    (gemma.DIALECT, gemma_text),
    (gemma.FUNCTION, function_gemma_text),
    (granite.DIALECT, lambda calls: "<|tool_call|>" + list_text(calls)),
    (phi.DIALECT, lambda calls: f"<|tool_call|>{list_text(calls)}<|/tool_call|>"),
]
each_family = pytest.mark.parametrize(
    ("dialect", "write"), [pytest.param(*family, id=family[0].name) for family in FAMILIES]
)
each_dialect = pytest.mark.parametrize("dialect", [pytest.param(d, id=d.name) for d, _ in FAMILIES])

# text that is no mark and has no part of one, so that every family can write it
strings = st.text(st.characters(codec="utf-8", exclude_characters="<>｜|", exclude_categories=["Cc", "Cs"]))
numbers = st.integers(-1000, 1000)
points = st.tuples(numbers, numbers).map(lambda pair: {"x": pair[0], "y": pair[1]})
KEYS = [key for tool in TOOLS for key in json.loads(tool.parameters)["properties"]]
CALLS: st.SearchStrategy[Call] = st.one_of(
    st.tuples(
        st.just("get_weather"),
        st.fixed_dictionaries(
            {"city": strings},
            optional={"unit": st.sampled_from(["celsius", "fahrenheit"]), "days": numbers},
        ),
    ),
    st.tuples(
        st.just("write_file"),
        st.fixed_dictionaries({"path": strings, "content": strings}, optional={"append": st.booleans()}),
    ),
    st.tuples(
        st.just("plot"),
        st.fixed_dictionaries(
            {"points": st.lists(points, max_size=3)},
            optional={"title": strings.filter(lambda text: not text.strip().startswith("null"))},
        ),
    ),
    st.tuples(st.just("ping"), st.just({})),
).map(lambda call: (call[0], {key: call[1][key] for key in KEYS if key in call[1]}))


@pytest.fixture(params=["text", "tokens"])
def taker(request: pytest.FixtureRequest, dialect: Dialect, tmp_path: Path) -> Taker:
    """Whether a grammar takes an answer, where marks are text and where each is a token of its own."""
    marks = dialect.marks if request.param == "tokens" else ()
    tokenizer = marked_bytes(tmp_path, marks=marks)
    spell = Speller(tokenizer.facts).term

    def takes(text: str, *, many: bool = True) -> bool:
        return tokenizer.takes("start: calls\n" + dialect.grammar(TOOLS, spell, many), text)

    return takes


def calls_read(dialect: Dialect, text: str) -> list[tuple[str, object]]:
    """The calls of an answer that is nothing but calls, all of them complete."""
    pieces = read(dialect, [text], complete=True)
    calls: list[tuple[str, object]] = []
    for at, piece in enumerate(pieces):
        if isinstance(piece, CallOpened):
            arguments, closed = pieces[at + 1], pieces[at + 2]
            assert isinstance(arguments, CallArguments)
            assert isinstance(closed, CallClosed)
            calls.append((piece.name, json.loads(arguments.text)))
    assert len(pieces) == 3 * len(calls)
    return calls


@each_family
def test_what_the_family_writes_is_taken_and_read_back(dialect: Dialect, write: Writer, taker: Taker) -> None:
    """Calls as the template writes them are in the grammar, and read as the calls they were."""

    @settings(max_examples=25, deadline=None)
    @given(st.lists(CALLS, min_size=1, max_size=3))
    def law(calls: list[Call]) -> None:
        text = write(calls)
        assert taker(text), text
        assert taker(text, many=False) == (len(calls) == 1)
        assert calls_read(dialect, text) == [(name, dict(arguments)) for name, arguments in calls]

    law()


@each_family
def test_calls_that_break_the_schema_are_not_taken(dialect: Dialect, write: Writer, taker: Taker) -> None:
    """A tool nobody offered, a missing parameter, a value of a wrong type or none of its list: not taken."""
    good: Arguments = {"city": "Rome", "unit": "celsius", "days": 3}
    bad: list[Arguments] = [
        {"unit": "celsius"},
        {"city": "Rome", "days": "x"},
        {"city": "a", "unit": "kelvin"},
    ]
    assert dialect.name
    assert taker(write([("get_weather", good)]))
    assert not any(taker(write([("get_weather", arguments)])) for arguments in bad)
    assert not taker(write([("web_search", good)]))


@each_dialect
def test_the_grammar_starts_with_the_trigger(dialect: Dialect) -> None:
    """Nothing but the text that a call starts with can come first."""
    trigger = TOKENIZER.tokenize_str(dialect.trigger)
    for place, token in enumerate(trigger):
        walk = matcher(dialect)
        assert walk.try_consume_tokens(trigger[:place]) == place
        assert [other for other, bias in enumerate(walk.compute_logit_bias()) if bias] == [token]


@each_dialect
@pytest.mark.parametrize("seed", range(8))
def test_a_walk_through_the_grammar_is_read_as_calls_that_follow_the_schema(
    dialect: Dialect, seed: int
) -> None:
    """Whatever the grammar takes reads as calls of offered tools with arguments that their schemas accept."""
    chance = random.Random(seed)
    walk = matcher(dialect)
    tokens: list[int] = []
    while not walk.is_accepting():
        allowed = [token for token, bias in enumerate(walk.compute_logit_bias()[:256]) if bias]
        usual = [token for token in allowed if chr(token) in _USUAL] or allowed
        closing = _closing(allowed, tokens) if chance.random() < len(tokens) / 300 else []
        token = chance.choice(closing or usual)
        walk.consume_token(token)
        tokens.append(token)
        assert len(tokens) < 5000, TOKENIZER.decode_bytes(tokens[-80:])
    schemas = {tool.name: json.loads(tool.parameters) for tool in TOOLS}
    calls = calls_read(dialect, TOKENIZER.decode_bytes(tokens).decode())
    assert calls
    for name, arguments in calls:
        jsonschema.validate(arguments, schemas[name])


_USUAL = '<>[]{}"|/`abcfnt01-,: '
_ENDS = ["</arg_value>", "</parameter>", "</｜DSML｜parameter>", M3, '<|"|>', "<escape>", '"', "}", "]", ")"]


def matcher(dialect: Dialect) -> LLMatcher:
    """A walk through the grammar with a tokenizer of bytes."""
    many = True

    def plain(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    return LLMatcher(TOKENIZER, "start: calls\n" + dialect.grammar(TOOLS, plain, many), log_level=0)


def _closing(allowed: list[int], tokens: list[int]) -> list[int]:
    """The bytes that go on with an end of a value, or begin one; those that have come furthest most often."""
    written = bytes(tokens[-40:])
    return [
        end[length]
        for end in map(str.encode, _ENDS)
        for length in range(len(end))
        if written.endswith(end[:length]) and end[length] in allowed
        for _ in range(4 ** min(length, 5))
    ]
