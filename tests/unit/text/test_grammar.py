"""Grammars of answers: forms, calls, reasoning, and how they follow one another."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.scaffolding.tokenizers import MarkedBytes, marked_bytes

from allod.core.errors import InvalidRequest
from allod.core.formats import AnswerForm, Grammar, JsonObject, JsonSchema, PlainText, Regex
from allod.core.request import Conversation, Message
from allod.core.tools import NamedTool, Tool
from allod.text.grammar import GrammarBuilder, GrammarWish
from allod.text.markup import Dialect, ReasoningMarks
from allod.text.tools.harmony import DIALECT as HARMONY
from allod.text.tools.hermes import DIALECT as HERMES
from allod.text.tools.llama_json import DIALECT as LLAMA
from allod.text.tools.pythonic import DIALECT as PYTHONIC

TURN = (Message("user", "hello"),)
THINK = ReasoningMarks("<think>", "</think>")
POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
POINT_ONLY = {**POINT, "additionalProperties": False}
STRICT = Tool("draw", "", json.dumps(POINT_ONLY), strict=True)
LOOSE = Tool("look", "", json.dumps({**POINT, "not": {}}))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> MarkedBytes:
    return marked_bytes(tmp_path_factory.mktemp("marked"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> MarkedBytes:
    """A tokenizer for which the marks are text like any other."""
    return marked_bytes(tmp_path_factory.mktemp("plain"), marks=())


def build(tokens: MarkedBytes, form: AnswerForm | None = None, **wish: object) -> str:
    return GrammarBuilder(tokens.facts).build(GrammarWish(form or PlainText(), **wish))  # pyright: ignore[reportArgumentType]


def asks(*tools: Tool, **more: object) -> Conversation:
    return Conversation(TURN, tools, **more)  # pyright: ignore[reportArgumentType]


def call(name: str, arguments: str = '{"x": 1}') -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


WRONG = call("draw", '{"x": "one"}')


class TestForms:
    def test_free_text_has_no_grammar(self, tokens: MarkedBytes):
        """A request that asks for nothing is not slowed down."""
        assert build(tokens) == ""
        assert build(tokens, conversation=asks(LOOSE), dialect=HERMES, reasoning=THINK) == ""
        assert build(tokens, conversation=asks(STRICT, tool_choice="none"), dialect=HERMES) == ""

    def test_a_json_object_is_any_one_object(self, tokens: MarkedBytes):
        """Not an array, not two objects, not a half."""
        grammar = build(tokens, JsonObject())
        for text in ("{}", '{"a": [1, {"b": null}]}', '{"ä":"\\n\\"","b":-1.5e3}'):
            assert tokens.takes(grammar, text)
        for text in ("[]", "{}{}", '{"a": 1', '{"a"}', "text", ""):
            assert not tokens.takes(grammar, text)

    @pytest.mark.parametrize("wrong", ["(", "a(?=b)", "(a)\\1", "a" * 100_000])
    def test_a_regex_matches_the_whole_answer(self, tokens: MarkedBytes, wrong: str):
        """What the library cannot match is refused by its field."""
        grammar = build(tokens, Regex("[a-z]+/\\d{2}\n?"))
        assert tokens.takes(grammar, "ab/12")
        assert tokens.takes(grammar, "ab/12\n")
        assert not tokens.takes(grammar, "ab/123")
        with pytest.raises(InvalidRequest) as refusal:
            build(tokens, Regex(wrong))
        assert refusal.value.param == "guided_regex"

    @pytest.mark.parametrize(
        ("text", "syntax"),
        [('start: "a" NUM\nNUM: /[0-9]+/', "lark"), ('root ::= "a" digit+\ndigit ::= [0-9]', "gbnf")],
    )
    def test_grammars_of_both_syntaxes(self, tokens: MarkedBytes, text: str, syntax: str):
        """Lark and GBNF say the same thing the same way."""
        grammar = build(tokens, Grammar(text, syntax), reasoning=THINK)
        assert tokens.takes(grammar, "a12")
        assert tokens.takes(grammar, "<think>so</think>a12")
        assert not tokens.takes(grammar, "12")

    @pytest.mark.parametrize(
        ("text", "syntax"),
        [
            ("start: nowhere", "lark"),
            ('root ::= "a', "gbnf"),
            ("root ::= [a", "gbnf"),
            ("x", "yacc"),
            ("", "gbnf"),
        ],
    )
    def test_broken_grammars_are_refused(self, tokens: MarkedBytes, text: str, syntax: str):
        """With the field they came in."""
        with pytest.raises(InvalidRequest) as refusal:
            build(tokens, Grammar(text, syntax, "guided_grammar"))
        assert refusal.value.param == "guided_grammar"

    def test_only_end_tokens_follow_a_complete_answer(self, tokens: MarkedBytes):
        """An answer that cannot go on can end, and only so."""
        grammar = build(tokens, JsonObject())
        assert tokens.following(grammar, tokens.ids("{}")) == sorted(tokens.facts.ends)
        assert not set(tokens.facts.ends) & set(tokens.following(grammar, tokens.ids("{")))

    def test_a_tokenizer_that_cannot_be_used_is_refused(self, tokens: MarkedBytes, tmp_path: Path):
        """The request is wrong for this model; the server is not."""
        (tmp_path / "tokenizer.json").write_text("{}")
        facts = replace(tokens.facts, path=str(tmp_path / "tokenizer.json"))
        with pytest.raises(InvalidRequest):
            GrammarBuilder(facts).build(GrammarWish(JsonObject()))


class TestReasoning:
    def test_it_comes_first_if_it_comes(self, tokens: MarkedBytes):
        """Reasoning is free and optional, and the form begins behind its closing mark."""
        grammar = build(tokens, JsonObject(), reasoning=THINK)
        for text in ('{"a":1}', '<think>{ hm\n</think>{"a":1}', '<think></think>\n\n{"a":1}'):
            assert tokens.takes(grammar, text)
        for text in ('hm</think>{"a":1}', '<think>hm{"a":1}', "<think>hm</think>so"):
            assert not tokens.takes(grammar, text)

    def test_a_prompt_may_have_begun_it(self, tokens: MarkedBytes):
        """Then the closing mark must come."""
        grammar = build(tokens, JsonObject(), reasoning=THINK, starts_inside=True)
        assert tokens.takes(grammar, 'hm</think>\n\n{"a":1}')
        assert not tokens.takes(grammar, '{"a":1}')

    @pytest.mark.parametrize("form", [PlainText(), JsonObject()])
    def test_a_limit_closes_it(self, tokens: MarkedBytes, form: AnswerForm):
        """After so many tokens the closing mark is the only one left, whatever the form."""
        limited = Conversation(TURN, reasoning_tokens=3)
        grammar = build(tokens, form, conversation=limited, reasoning=THINK, starts_inside=True)
        closing = tokens.facts.added["</think>"]
        assert len(tokens.following(grammar, tokens.ids("ab"))) > 200
        assert tokens.following(grammar, tokens.ids("abc")) == [closing]
        assert tokens.takes(grammar, "abc</think>{}")
        assert not tokens.begins(grammar, "a</think>{}<think>")

    @pytest.mark.parametrize("inside", [True, False])
    def test_a_limit_of_zero_leaves_none(self, tokens: MarkedBytes, inside: bool):
        """Reasoning that has begun is closed at once, and does not begin otherwise."""
        limited = Conversation(TURN, reasoning_tokens=0)
        grammar = build(tokens, conversation=limited, reasoning=THINK, starts_inside=inside)
        if inside:
            assert tokens.following(grammar, []) == [tokens.facts.added["</think>"]]
        assert tokens.takes(grammar, "</think>so" if inside else "so")
        assert not tokens.begins(grammar, "<think>")

    def test_marks_of_plain_text(self, plain: MarkedBytes):
        """Where the marks are no tokens, characters are counted, four for each token of the limit."""
        limited = Conversation(TURN, reasoning_tokens=2)
        grammar = build(plain, conversation=limited, reasoning=THINK, starts_inside=True)
        assert plain.takes(grammar, "abcdefgh</think>so")
        assert not plain.begins(grammar, "abcdefghi")
        free = build(plain, JsonObject(), reasoning=THINK)
        assert plain.takes(free, "<think>hm</think>{}")
        assert plain.takes(free, "{}")

    def test_it_can_be_switched_off(self, tokens: MarkedBytes):
        """`thinking: false` is kept where the template leaves the choice to the model."""
        off = Conversation(TURN, thinking=False)
        assert not tokens.begins(build(tokens, JsonObject(), conversation=off, reasoning=THINK), "<think>")


class TestCalls:
    @pytest.mark.parametrize("marked", [True, False])
    def test_strict_tools_under_auto(self, tokens: MarkedBytes, plain: MarkedBytes, marked: bool):
        """Text is free until a call begins; then arguments of strict tools follow their schema."""
        reader = tokens if marked else plain
        grammar = build(reader, conversation=asks(STRICT, LOOSE), dialect=HERMES)
        for text in ("hello", call("draw"), "so: " + call("draw"), call("look", '{"y": [1]}'), ""):
            assert reader.takes(grammar, text)
        assert reader.takes(grammar, f"{call('draw')}\n{call('look')}")
        for text in (WRONG, "so: " + WRONG, call("fly"), call("look", "[]"), f"{call('draw')}\n{WRONG}"):
            assert not reader.takes(grammar, text)

    @pytest.mark.parametrize("dialect", [LLAMA, PYTHONIC])
    def test_calls_without_marks_begin_an_answer(self, tokens: MarkedBytes, dialect: Dialect):
        """Where a call starts with a mere bracket, one in the middle of a text is no call."""
        grammar = build(tokens, conversation=asks(STRICT), dialect=dialect)
        assert tokens.takes(grammar, "see [1] and {2}")
        assert not tokens.takes(grammar, dialect.trigger + "1 and more")

    def test_required_means_calls_alone(self, tokens: MarkedBytes):
        """Any tool, and no text; a loose tool's schema is followed where it can be."""
        grammar = build(tokens, conversation=asks(STRICT, LOOSE, tool_choice="required"), dialect=HERMES)
        assert tokens.takes(grammar, call("draw"))
        assert tokens.takes(grammar, call("look", '{"y":1}'))
        for text in ("hello", "so: " + call("draw"), WRONG, ""):
            assert not tokens.takes(grammar, text)
        loose = Tool("look", "", json.dumps(POINT_ONLY))
        forced = build(tokens, conversation=asks(loose, tool_choice="required"), dialect=HERMES)
        assert not tokens.takes(forced, call("look", '{"y":1}'))

    def test_a_named_tool_is_the_only_one(self, tokens: MarkedBytes):
        """The others cannot be called."""
        wish = asks(STRICT, LOOSE, tool_choice=NamedTool("look"))
        grammar = build(tokens, conversation=wish, dialect=HERMES)
        assert tokens.takes(grammar, call("look"))
        assert not tokens.takes(grammar, call("draw"))

    @pytest.mark.parametrize("choice", ["auto", "required"])
    def test_one_call_at_a_time(self, tokens: MarkedBytes, choice: str):
        """Without parallel calls the answer ends behind the first, also where nothing is strict."""
        wish = asks(LOOSE, tool_choice=choice, parallel_tool_calls=False)
        grammar = build(tokens, conversation=wish, dialect=HERMES)
        assert tokens.takes(grammar, call("look"))
        assert not tokens.begins(grammar, f"{call('look')}\n<tool_call>")

    def test_a_form_or_calls(self, tokens: MarkedBytes):
        """With a response format, an answer is in form or calls a tool."""
        wish = {"conversation": asks(LOOSE), "dialect": HERMES, "reasoning": THINK}
        grammar = build(tokens, JsonSchema(json.dumps(POINT_ONLY)), **wish)
        for text in ('{"x": 2}', call("look"), f"<think>hm</think>\n\n{call('look')}"):
            assert tokens.takes(grammar, text)
        for text in ('{"y": 2}', "hello", f'{{"x": 2}}{call("look")}'):
            assert not tokens.takes(grammar, text)

    def test_reasoning_comes_before_calls(self, tokens: MarkedBytes):
        """Marks of calls do not come inside it."""
        wish = asks(STRICT, tool_choice="required", reasoning_tokens=20)
        grammar = build(tokens, conversation=wish, dialect=HERMES, reasoning=THINK, starts_inside=True)
        assert tokens.takes(grammar, f"I call it</think>\n{call('draw')}")
        assert not tokens.takes(grammar, call("draw"))

    def test_schemas_are_refused_by_the_tools_place(self, tokens: MarkedBytes):
        """A strict tool must be enforceable; a loose one need not."""
        bad = Tool("bad", "", json.dumps({"properties": {"a": {"not": {}}}}), strict=True)
        with pytest.raises(InvalidRequest, match="#/properties/a") as refusal:
            build(tokens, conversation=asks(STRICT, bad), dialect=HERMES)
        assert refusal.value.param == "tools[1].function.parameters"
        with pytest.raises(InvalidRequest, match="one object"):
            build(
                tokens, conversation=asks(Tool("bad", "", '{"type": "array"}', strict=True)), dialect=HERMES
            )

    def test_choices_that_cannot_be_are_refused(self, tokens: MarkedBytes):
        """A tool that is not there, no tools at all, and a model whose calls nobody knows."""
        for conversation, dialect in (
            (asks(STRICT, tool_choice=NamedTool("fly")), HERMES),
            (asks(tool_choice="required"), HERMES),
            (asks(STRICT), None),
        ):
            with pytest.raises(InvalidRequest):
                build(tokens, conversation=conversation, dialect=dialect)


def message(channel: str, text: str) -> str:
    return f"<|channel|>{channel}<|message|>{text}"


NEXT = "<|end|><|start|>assistant"
DRAW = '<|channel|>commentary to=functions.draw <|constrain|>json<|message|>{"x": 1}'


class TestHarmony:
    def test_the_form_is_what_the_final_channel_says(self, tokens: MarkedBytes):
        """Analysis may come first, and more than once."""
        grammar = build(tokens, JsonObject(), dialect=HARMONY)
        thought = message("analysis", "hm {") + NEXT
        for text in (
            message("final", "{}"),
            thought + message("final", "{}"),
            thought * 2 + message("final", "{}"),
        ):
            assert tokens.takes(grammar, text)
        assert tokens.takes(grammar, '<|channel|>final <|constrain|>json<|message|>{"a":1}')
        for text in ("{}", message("final", "so"), message("analysis", "{}"), DRAW):
            assert not tokens.takes(grammar, text)

    def test_calls_stand_in_commentary(self, tokens: MarkedBytes):
        """A remark may lead up to them; end tokens are left to the end of the answer."""
        grammar = build(tokens, conversation=asks(STRICT), dialect=HARMONY)
        thought = message("analysis", "hm") + NEXT
        for text in (
            message("final", "so"),
            DRAW,
            thought + DRAW,
            message("commentary", "I draw") + NEXT + DRAW,
        ):
            assert tokens.takes(grammar, text)
        assert tokens.following(grammar, tokens.ids(DRAW)) == sorted(tokens.facts.ends)
        forced = build(tokens, conversation=asks(STRICT, tool_choice="required"), dialect=HARMONY)
        assert tokens.takes(forced, thought + DRAW)
        assert not tokens.begins(forced, message("final", ""))

    def test_a_limit_holds_for_analysis(self, tokens: MarkedBytes):
        """After so many tokens the message ends, and no other begins."""
        limited = Conversation(TURN, reasoning_tokens=2)
        grammar = build(tokens, conversation=limited, dialect=HARMONY)
        assert tokens.following(grammar, tokens.ids(message("analysis", "ab"))) == [
            tokens.facts.added["<|end|>"]
        ]
        assert not tokens.begins(grammar, message("analysis", "a") + NEXT + "<|channel|>a")
        none = build(tokens, conversation=Conversation(TURN, reasoning_tokens=0), dialect=HARMONY)
        assert not tokens.begins(none, "<|channel|>a")
        assert tokens.takes(none, message("final", "so"))
