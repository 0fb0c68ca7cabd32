"""Random schemas: whatever the masks let through is valid, and whatever is valid they let through."""

import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher
from tests.scaffolding.tokenizers import MarkedBytes, marked_bytes

from allod.core.formats import JsonSchema
from allod.text.grammar import GrammarBuilder, GrammarWish

MOST_TOKENS = 400
CLOSERS = '"}],:0123456789tfn'


@dataclass(frozen=True)
class Example:
    """A schema, and a value that it allows."""

    schema: dict[str, object]
    value: object


@cache
def tokens() -> MarkedBytes:
    return marked_bytes(Path(mkdtemp()))


@cache
def builder() -> GrammarBuilder:
    return GrammarBuilder(tokens().facts)


def scalars(draw: st.DrawFn) -> Example:
    text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6)
    match draw(st.integers(0, 5)):
        case 0:
            values = draw(st.lists(text | st.integers(-99, 99) | st.none(), min_size=1, max_size=4))
            return Example({"enum": values}, draw(st.sampled_from(values)))
        case 1:
            low = draw(st.integers(-200, 200))
            high = low + draw(st.integers(0, 300))
            schema = {"type": "integer", "minimum": low, "maximum": high}
            return Example(schema, draw(st.integers(low, high)))
        case 2:
            least = draw(st.integers(0, 3))
            schema = {"type": "string", "minLength": least, "maxLength": least + draw(st.integers(0, 4))}
            word = draw(st.text("abé€😀 ", min_size=least, max_size=least))
            return Example(schema, word)
        case 3:
            return Example(
                {"type": "string", "pattern": "^[a-c]{1,3}-\\d$"}, draw(st.sampled_from("abc")) + "-7"
            )
        case 4:
            low = draw(st.integers(-50, 50)) / 4
            schema = {"type": "number", "minimum": low, "exclusiveMaximum": low + 10}
            return Example(schema, low + draw(st.sampled_from([0, 1, 2.5, 9.75])))
        case _:
            return Example({"type": ["boolean", "null"]}, draw(st.sampled_from([True, False, None])))


def objects(draw: st.DrawFn, depth: int) -> Example:
    names = draw(st.lists(st.sampled_from(["a", "b", "ab", "ä", 'q"', "x y"]), unique=True, max_size=3))
    inner = {name: examples(draw, depth - 1) for name in names}
    required = [name for name in names if draw(st.booleans())]
    schema: dict[str, object] = {
        "type": "object",
        "properties": {name: each.schema for name, each in inner.items()},
        "required": required,
    }
    value = {name: each.value for name, each in inner.items() if name in required or draw(st.booleans())}
    match draw(st.sampled_from(["closed", "open", "typed"])):
        case "closed":
            schema["additionalProperties"] = False
        case "typed":
            schema["additionalProperties"] = {"type": "integer"}
            value["more"] = 7
        case _:
            value["more"] = ["anything", {}]
    return Example(schema, value)


def arrays(draw: st.DrawFn, depth: int) -> Example:
    each = examples(draw, depth - 1)
    count = draw(st.integers(0, 3))
    schema = {"type": "array", "items": each.schema, "minItems": min(count, 2), "maxItems": 3}
    return Example(schema, [each.value] * count)


def unions(draw: st.DrawFn, depth: int) -> Example:
    first, second = examples(draw, depth - 1), examples(draw, depth - 1)
    return Example({"anyOf": [first.schema, second.schema]}, draw(st.sampled_from([first, second])).value)


def references(draw: st.DrawFn, depth: int) -> Example:
    leaf = examples(draw, depth - 1)
    tree = {
        "type": "object",
        "properties": {"leaf": {"$ref": "#/$defs/leaf"}, "next": {"anyOf": [{"$ref": "#/$defs/tree"}]}},
        "required": ["leaf"],
        "additionalProperties": False,
    }
    defined = {"leaf": leaf.schema, "tree": tree}
    return Example(
        {"$ref": "#/$defs/tree", "$defs": defined}, {"leaf": leaf.value, "next": {"leaf": leaf.value}}
    )


def examples(draw: st.DrawFn, depth: int) -> Example:
    if depth == 0:
        return scalars(draw)
    make = draw(st.sampled_from([objects, arrays, unions]))
    return make(draw, depth)


@st.composite
def schemas(draw: st.DrawFn) -> Example:
    depth = draw(st.integers(0, 2))
    # References name places from the root, so they are drawn for whole schemas only.
    return references(draw, depth + 1) if draw(st.booleans()) and depth else examples(draw, depth)


def grammar(example: Example) -> str:
    return builder().build(GrammarWish(JsonSchema(json.dumps(example.schema))))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schemas())
def test_a_valid_value_can_be_said(example: Example):
    """With and without spaces."""
    jsonschema.validate(example.value, example.schema)
    built = grammar(example)
    assert tokens().takes(built, json.dumps(example.value, ensure_ascii=False))
    assert tokens().takes(built, json.dumps(example.value, ensure_ascii=False, separators=(",", ":")))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schemas(), st.randoms(use_true_random=False))
def test_whatever_can_be_said_is_valid(example: Example, chance: random.Random):
    """Tokens are drawn from the mask, those that lead to an end more often, until the answer ends."""
    matcher = LLMatcher(tokens().reader, grammar(example), log_level=0)
    closers = set(tokens().ids(CLOSERS))
    ends = set(tokens().facts.ends)
    said: list[int] = []
    while len(said) < MOST_TOKENS:
        mask = matcher.compute_bitmask()
        may = [token for token in range(len(mask) * 8) if mask[token // 8] >> token % 8 & 1]
        assert may, matcher.get_error()
        hasty = [token for token in may if token in closers or token in ends]
        token = chance.choice(hasty if hasty and chance.random() < 0.7 else may)
        if token in ends:
            value = json.loads(tokens().codec.decode(said))
            jsonschema.validate(value, example.schema)
            return
        said.append(token)
        assert matcher.consume_token(token)
