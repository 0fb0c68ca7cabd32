"""Random requests as agents send them, broken in the ways agents break them."""

import random
from collections.abc import Callable, Mapping, Sequence

Body = dict[str, object]

WORDS = ("", "hi", " ", "\n", "<tool_call>", "</think>", "{", "naïve 😀", "<|im_end|>", "a" * 200, "{{ x }}")
BROKEN = ("", "{", "null", "[1]", '"x"', '{"a": 1', '{"city": "Rome"}', '{"a": {"b": [1, "<"]}}', "not json")
SCHEMAS: Sequence[object] = (
    None,
    {},
    {"type": "object"},
    {"type": "object", "properties": {}},
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    {"type": "string"},
    {"$ref": "#/nowhere"},
    {"type": ["object", "null"], "properties": {"x": {"anyOf": [{"type": "null"}, {"type": "integer"}]}}},
    {"type": 5},
    {"properties": {"a": True}, "additionalProperties": False, "patternProperties": {"^x": {}}},
)
ODD: Sequence[object] = (None, 0, -1, 1.5, True, "x", [], {}, [None], {"a": None}, "\ud800", "\0", 10**30)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
"""A PNG of one pixel. Images by their addresses are left out: nothing here may be fetched."""
IMAGES: Sequence[object] = (
    PIXEL, PIXEL, PIXEL[:40], "aGk=", "", "!", "=", "%41", "\ud800", "\0", "é", 5, None, {}, "a" * 5000,
)  # fmt: skip
ADDRESSES: Sequence[object] = (
    *(f"data:image/png;base64,{data}" if isinstance(data, str) else data for data in IMAGES),
    PIXEL, "data:", "data:,", "data:,%00", "DATA:;base64,AA", "file:///etc/passwd", "ftp://a", "image.png",
)  # fmt: skip


class Chaos:
    """Draws from one seed, so that a failure can be repeated."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        """True that often."""
        return self.random.random() < probability

    def one(self, *choices: object) -> object:
        """One of these."""
        return self.random.choice(choices)

    def word(self) -> str:
        """A piece of text."""
        return self.random.choice(WORDS)

    def images(self, make: Callable[["Chaos"], Body]) -> list[Body]:
        """Now and then an image."""
        return [make(self)] if self.chance(0.05) else []

    def some(self, make: Callable[[], object], most: int) -> list[object]:
        """Up to so many of these."""
        return [make() for _ in range(self.random.randint(0, most))]

    def spoiled(self, body: Mapping[str, object], probability: float = 0.04) -> Body:
        """The same, perhaps with one field of a wrong kind, one missing or one too many."""
        spoiled = dict(body)
        if spoiled and self.chance(probability):
            name = self.random.choice(sorted(spoiled))
            if self.chance(0.5):
                spoiled[name] = self.random.choice(ODD)
            else:
                del spoiled[name]
        if self.chance(0.05):
            spoiled[self.random.choice(("cache_control", "x", "metadata", "store", "weight"))] = {"a": 1}
        return spoiled


def chat_body(chaos: Chaos, model: str) -> Body:
    """A body of /v1/chat/completions."""
    body: Body = {"model": model, "messages": [_chat_turn(chaos) for _ in range(chaos.random.randint(1, 6))]}
    if chaos.chance(0.5):
        body["tools"] = chaos.some(lambda: _chat_tool(chaos), 2)
        body["tool_choice"] = chaos.one("auto", "auto", "none", "required", None, None, _named("f0"))
    if chaos.chance(0.3):
        body["response_format"] = chaos.one(
            {"type": "text"}, {"type": "json_object"}, {"type": "json_schema"}, {}, "json",
            {"type": "json_schema", "json_schema": {"name": "n", "schema": chaos.random.choice(SCHEMAS)}},
        )  # fmt: skip
    if chaos.chance(0.2):
        body["reasoning_effort"] = chaos.one("none", "low", "high", "medium")
        body["chat_template_kwargs"] = chaos.one({}, {"enable_thinking": False}, {"messages": []}, 5)
    return chaos.spoiled({**body, **_limits(chaos, "max_tokens")})


def messages_body(chaos: Chaos, model: str) -> Body:
    """A body of /v1/messages."""
    body: Body = {
        "model": model,
        "max_tokens": chaos.random.choice((1, 5, 100)),
        "messages": [_anthropic_turn(chaos) for _ in range(chaos.random.randint(1, 6))],
    }
    if chaos.chance(0.5):
        body["system"] = chaos.one(
            chaos.word(), [_block(chaos), {"type": "text", "text": "x-anthropic-billing-header: a"}]
        )
    if chaos.chance(0.5):
        body["tools"] = chaos.some(lambda: _anthropic_tool(chaos), 2)
        body["tool_choice"] = chaos.one(
            {"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "f0"}, "auto"
        )
    if chaos.chance(0.2):
        body["thinking"] = chaos.one(
            {"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}, {"type": "adaptive"}
        )
    return chaos.spoiled({**body, **_limits(chaos, "max_output")})


def responses_body(chaos: Chaos, model: str) -> Body:
    """A body of /v1/responses."""
    items = [_item(chaos) for _ in range(chaos.random.randint(0, 6))]
    body: Body = {"model": model, "input": chaos.one(chaos.word(), items, items), "store": chaos.chance(0.3)}
    if chaos.chance(0.5):
        body["instructions"] = chaos.word()
    if chaos.chance(0.5):
        body["tools"] = chaos.some(
            lambda: chaos.one(_flat_tool(chaos), {"type": "web_search"}, {"type": "custom"}), 3
        )
        body["tool_choice"] = chaos.one("auto", "none", "required", {"type": "function", "name": "f0"})
    if chaos.chance(0.3):
        body["text"] = chaos.one(
            {}, {"format": {"type": "text"}}, {"format": {"type": "json_object"}}, {"format": {}}
        )
    if chaos.chance(0.2):
        body["previous_response_id"] = chaos.one("resp_gone", None, None, None)
        body["reasoning"] = chaos.one({"effort": "low"}, {"effort": None, "summary": "auto"}, {})
    return chaos.spoiled({**body, **_limits(chaos, "max_output_tokens")})


def _limits(chaos: Chaos, name: str) -> Body:
    limits: Body = {"stream": chaos.chance(0.3)}
    if chaos.chance(0.5):
        limits[name] = chaos.random.choice((1, 16, -1, None))
    if chaos.chance(0.3):
        limits["temperature"] = chaos.random.choice((0, 0.5, 1, 1, 1, 3))
    return limits


def _named(name: str) -> Body:
    return {"type": "function", "function": {"name": name}}


def _chat_tool(chaos: Chaos) -> Body:
    function = chaos.spoiled(
        {
            "name": f"f{chaos.random.randint(0, 3)}",
            "description": chaos.word(),
            "parameters": chaos.random.choice(SCHEMAS),
            "strict": chaos.chance(0.3),
        },
        0.01,
    )
    return {"type": "function", "function": function}


def _flat_tool(chaos: Chaos) -> Body:
    return chaos.spoiled(
        {
            "type": "function",
            "name": f"f{chaos.random.randint(0, 3)}",
            "parameters": chaos.random.choice(SCHEMAS),
            "strict": chaos.chance(0.3),
        },
        0.01,
    )


def _anthropic_tool(chaos: Chaos) -> Body:
    return chaos.spoiled(
        {
            "name": f"f{chaos.random.randint(0, 3)}",
            "description": chaos.word(),
            "input_schema": chaos.random.choice(SCHEMAS),
        },
        0.01,
    )


def _call(chaos: Chaos) -> Body:
    arguments = chaos.one(chaos.random.choice(BROKEN), {"city": "Rome"}, None)
    function = chaos.spoiled({"name": f"f{chaos.random.randint(0, 3)}", "arguments": arguments}, 0.01)
    return chaos.spoiled(
        {"id": f"call_{chaos.random.randint(0, 3)}", "type": "function", "function": function}, 0.05
    )


def _chat_turn(chaos: Chaos) -> Body:
    role = chaos.random.choice(
        ("system", "developer", "user", "user", "assistant", "assistant", "tool", "tool")
    )
    parts: list[Body] = [{"type": "text", "text": chaos.word()} for _ in range(chaos.random.randint(0, 3))]
    parts += chaos.images(_chat_image)
    chaos.random.shuffle(parts)
    turn: Body = {
        "role": role,
        "content": chaos.one(
            chaos.word(), chaos.word(), parts, None if role in ("assistant", "tool") else "hi"
        ),
    }
    if role == "assistant" and chaos.chance(0.6):
        turn["tool_calls"] = chaos.some(lambda: _call(chaos), 3)
        turn["reasoning_content"] = chaos.word()
    if role == "tool":
        turn["tool_call_id"] = f"call_{chaos.random.randint(0, 5)}"
    return chaos.spoiled(turn, 0.01)


def _chat_image(chaos: Chaos) -> Body:
    address = chaos.random.choice(ADDRESSES)
    detail = chaos.one("auto", "low", "high", "original", None, "x")
    shape = chaos.one({"url": address}, {"url": address, "detail": detail}, address)
    kind = chaos.one("image_url", "image_url", "image_url", "input_image", "image", "input_audio")
    return chaos.spoiled({"type": kind, "image_url": shape}, 0.1)


def _responses_image(chaos: Chaos) -> Body:
    part: Body = {"type": "input_image", "image_url": chaos.random.choice(ADDRESSES)}
    if chaos.chance(0.3):
        part["detail"] = chaos.one("auto", "low", "high", "original", None, "x")
        part["file_id"] = chaos.one(None, None, "file-1")
    return chaos.spoiled(part, 0.1)


def _anthropic_image(chaos: Chaos) -> Body:
    data, address = chaos.random.choice(IMAGES), chaos.random.choice(ADDRESSES)
    encoded = {"type": "base64", "media_type": "image/png", "data": data}
    source = chaos.one(
        encoded, encoded, {"type": "url", "url": address}, {"type": "file", "file_id": "f"}, data
    )
    return chaos.spoiled({"type": "image", "source": source}, 0.1)


def _block(chaos: Chaos) -> Body:
    return chaos.spoiled({"type": "text", "text": chaos.word(), "cache_control": {"type": "ephemeral"}}, 0.01)


def _anthropic_turn(chaos: Chaos) -> Body:
    role = chaos.random.choice(("user", "user", "assistant", "system"))
    use = {
        "type": "tool_use",
        "id": f"toolu_{chaos.random.randint(0, 3)}",
        "name": "f0",
        "input": chaos.one({}, {"city": "Rome"}),
    }
    result = {
        "type": "tool_result",
        "tool_use_id": f"toolu_{chaos.random.randint(0, 5)}",
        "content": chaos.one(chaos.word(), [_block(chaos), *chaos.images(_anthropic_image)], None),
        "is_error": chaos.chance(0.2),
    }
    thinking = {"type": "thinking", "thinking": chaos.word(), "signature": chaos.word()}
    pool = (use, thinking, _block(chaos)) if role == "assistant" else (result, _block(chaos))
    pool = (_block(chaos),) if role == "system" else (*pool, *chaos.images(_anthropic_image))
    blocks = [
        chaos.spoiled(block, 0.01) for block in chaos.random.sample(pool, chaos.random.randint(0, len(pool)))
    ]
    return chaos.spoiled({"role": role, "content": chaos.one(chaos.word(), blocks, blocks)}, 0.01)


def _item(chaos: Chaos) -> Body:
    role = chaos.random.choice(("user", "assistant", "system", "developer"))
    kind = "output_text" if role == "assistant" else "input_text"
    message = {
        "type": "message",
        "role": role,
        "content": chaos.one(
            chaos.word(), [{"type": kind, "text": chaos.word()}, *chaos.images(_responses_image)]
        ),
    }
    call = {
        "type": "function_call",
        "call_id": f"call_{chaos.random.randint(0, 3)}",
        "name": "f0",
        "arguments": chaos.random.choice(BROKEN),
    }
    output = {
        "type": "function_call_output",
        "call_id": f"call_{chaos.random.randint(0, 5)}",
        "output": chaos.one(
            chaos.word(), [*chaos.images(_responses_image), {"type": "input_text", "text": "x"}]
        ),
    }
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": chaos.word()}],
    }
    other = {
        "type": chaos.random.choice(("item_reference", "web_search_call", "custom_tool_call", "compaction")),
        "id": "x",
    }
    return chaos.spoiled(chaos.random.choice((message, message, call, output, thought, other)), 0.01)
