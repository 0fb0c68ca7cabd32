"""What an answer must follow, as a grammar for llguidance: its form, its calls, its reasoning.

An answer is reasoning up to its closing mark, if the model reasons, and then the form or the calls.
Everything a request can get wrong is refused here, because the worker's masks cannot refuse any more.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark

from allod.core.errors import InvalidRequest, refused
from allod.core.formats import AnswerForm, Grammar, JsonObject, JsonSchema, PlainText, Regex
from allod.core.request import Conversation
from allod.core.tools import NamedTool, Tool, ToolChoice
from allod.text.answer_rules import HARMONY, Answer, Calls, harmony_rules, marked_rules
from allod.text.lark import HEADER, Speller, TokenFacts, pattern, serialised
from allod.text.markup import Dialect, ReasoningMarks
from allod.text.schema_check import ANY_OBJECT, enforceable

MOST_GRAMMAR_CHARS = 64 * 1024
_MOST_FAULT_CHARS = 300
_REMEMBERED = 64
_POSITION = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")
_QUOTED_LINES = re.compile(r"\n +\d+ \|.*", re.DOTALL)

LIMITS = LLParserLimits(max_grammar_size=200_000, verbose_errors=False)


@dataclass(frozen=True, slots=True)
class GrammarWish:
    """What a grammar is to be made from.

    Attributes:
        form: what form the answer must have.
        conversation: brings tools, tool choice and the reasoning limit; None for plain prompts.
        dialect: how the model writes calls.
        reasoning: what stands around its reasoning; None when it does not reason.
        starts_inside: the prompt ends inside the reasoning.
    """

    form: AnswerForm
    conversation: Conversation | None = None
    dialect: Dialect | None = None
    reasoning: ReasoningMarks | None = None
    starts_inside: bool = False

    @property
    def may_reason(self) -> bool:
        """False when the request switched reasoning off, and the prompt does not start it all the same."""
        return self.starts_inside or self.conversation is None or self.conversation.thinking is not False


@dataclass(frozen=True, slots=True)
class _Form:
    """A form as a rule's right side; `grammar` is another grammar it refers to as `@answer`."""

    body: str
    is_json: bool = True
    grammar: str | None = None


class GrammarBuilder:
    """Makes grammars for one model.

    Args:
        tokens: the model's tokens.
    """

    def __init__(self, tokens: TokenFacts) -> None:
        self._tokens = tokens
        self._speller = lru_cache(maxsize=_REMEMBERED)(partial(Speller, tokens))
        self._fault = lru_cache(maxsize=_REMEMBERED)(self._compile)

    def build(self, wish: GrammarWish) -> str:
        """The grammar as `Submit.grammar` takes it; empty for free text.

        Raises:
            InvalidRequest: something in the request cannot be enforced.
        """
        form = self._form(wish.form)
        calls = self._calls(wish, form)
        limit = wish.conversation.reasoning_tokens if wish.conversation else None
        if form is None and calls is None and limit is None:
            return ""
        answer = Answer(
            form=form.body if form else None,
            is_json=form is not None and form.is_json,
            calls=calls,
            reasoning=wish.reasoning if wish.may_reason else None,
            starts_inside=wish.starts_inside,
            limit=limit,
        )
        speller = self._speller(wish.dialect.ending if wish.dialect else ())
        in_channels = wish.dialect is not None and wish.dialect.name == HARMONY
        rules = harmony_rules(answer, speller) if in_channels else marked_rules(answer, speller)
        others = {"answer": form.grammar} if form and form.grammar is not None else {}
        grammar = serialised(f"{HEADER}\n{rules}", **others)
        self._check(grammar, getattr(wish.form, "param", "tools"))
        return grammar

    # ------------------------------------------------------------ the answer's form

    def _form(self, form: AnswerForm) -> _Form | None:
        match form:
            case PlainText():
                return None
            case JsonObject():
                return _Form(f"%json {ANY_OBJECT}")
            case JsonSchema(schema=schema, param=param):
                return self._checked(_Form(f"%json {enforceable(schema, param)}"), param)
            case Regex(pattern=regex, param=param):
                _refuse_long(regex, param)
                return self._checked(_Form(pattern(regex), is_json=False), param)
            case Grammar(param=param):
                grammar = _as_lark(form)
                self._check(serialised(grammar), param)
                return _Form("@answer", is_json=False, grammar=grammar)

    def _checked(self, form: _Form, param: str) -> _Form:
        fault = self._fault(serialised(f"{HEADER}\nstart: form\nform: {form.body}\n"))
        if fault:
            # The library quotes the grammar's lines, which are ours and not the client's here.
            words = _QUOTED_LINES.sub("", _POSITION.sub("", fault))
            raise refused(param, f"it cannot be enforced: {words}")
        return form

    def _check(self, grammar: str, param: str) -> None:
        if fault := self._fault(grammar):
            message = f"{param}: it cannot be enforced: {fault[:_MOST_FAULT_CHARS]}"
            raise InvalidRequest(message, param=param)

    def _compile(self, grammar: str) -> str:
        """What is wrong with a grammar; empty when it works."""
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=LIMITS)
        if not matcher.is_error():
            matcher.compute_bitmask()
        return matcher.get_error().strip()

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        tokens = self._tokens
        try:
            ends = list(tokens.ends) or None
            return LLTokenizer(tokens.path, n_vocab=max(tokens.scored, tokens.size), eos_token=ends)
        except ValueError as error:
            message = f"response_format: this model's tokenizer cannot be used for structured output: {error}"
            raise InvalidRequest(message, param="response_format") from error

    # ------------------------------------------------------------ calls

    def _calls(self, wish: GrammarWish, form: _Form | None) -> Calls | None:
        conversation = wish.conversation
        if conversation is None or conversation.tool_choice == "none":
            return None
        choice = conversation.tool_choice
        if not conversation.tools:
            if choice == "auto":
                return None
            raise InvalidRequest("tool_choice: there are no tools to call", param="tool_choice")
        forced = choice != "auto"
        free = not (forced or form or conversation.reasoning_tokens is not None)
        if free and conversation.parallel_tool_calls and not any(tool.strict for tool in conversation.tools):
            return None
        if wish.dialect is None:
            message = "tools: how this model writes calls is not known, so they cannot be enforced"
            raise InvalidRequest(message, param="tools")
        tools = [self._armed(index, tool, forced=forced) for index, tool in enumerate(conversation.tools)]
        many = conversation.parallel_tool_calls and not isinstance(choice, NamedTool)
        return Calls(_offered(tools, choice), wish.dialect, many, forced)

    def _armed(self, index: int, tool: Tool, *, forced: bool) -> Tool:
        """The tool with the schema that is enforced; any object where nothing more was asked for.

        A call that is forced anyway follows the schema of a tool that is not strict too, if it can.
        """
        param = f"tools[{index}].function.parameters"
        if not (tool.strict or forced):
            return replace(tool, parameters=ANY_OBJECT)
        try:
            schema = enforceable(tool.parameters, param, must_be_object=True)
            self._checked(_Form(f"%json {schema}"), param)
        except InvalidRequest:
            if tool.strict:
                raise
            schema = ANY_OBJECT
        return replace(tool, parameters=schema)


def _offered(tools: Sequence[Tool], choice: ToolChoice) -> Sequence[Tool]:
    if not isinstance(choice, NamedTool):
        return tools
    named = [tool for tool in tools if tool.name == choice.name]
    if not named:
        raise InvalidRequest(f"tool_choice: there is no tool named '{choice.name}'", param="tool_choice")
    return named


def _as_lark(grammar: Grammar) -> str:
    _refuse_long(grammar.text, grammar.param)
    match grammar.syntax:
        case "lark":
            return grammar.text
        case "gbnf":
            try:
                return gbnf_to_lark(grammar.text)
            except Exception as error:  # the library raises bare Exception for every fault
                message = f"{grammar.param}: it is not a GBNF grammar: {error}"
                raise InvalidRequest(message, param=grammar.param) from error
        case syntax:
            message = f"{grammar.param}: the syntax '{syntax}' is not known; write 'lark' or 'gbnf'"
            raise InvalidRequest(message, param=grammar.param)


def _refuse_long(text: str, param: str) -> None:
    if len(text) > MOST_GRAMMAR_CHARS:
        message = f"{param}: it has {len(text)} characters, and {MOST_GRAMMAR_CHARS} are read"
        raise InvalidRequest(message, param=param)
