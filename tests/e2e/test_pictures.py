"""Pictures through real SDKs, with their base URL changed and nothing else, against small models that see.

The models have random weights: what they say means nothing, but it depends on every picture and every word.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from tests.e2e.conftest import run_script
from tests.e2e.seeing import (
    BLIND,
    CHAT,
    DIALECTS,
    FAMILIES,
    FIRST,
    GREEDY,
    MESSAGES,
    RESPONSES,
    SECOND,
    SEEING,
    TOKENS,
    WORDS,
    Body,
    base64_of,
    counted,
    file_of,
    folder_of,
    is_idle,
    looked_at,
    name_of,
    png,
    post,
    question,
    said,
    shown,
    text_of,
    uri_of,
)
from tests.scaffolding.messages_usage import prompt_tokens_of
from tests.scaffolding.server import RunningServer
from tests.scaffolding.vision_families import picture

pytestmark = pytest.mark.model

AT_ONCE = 8

MLX_VLM_SCRIPT = """
import json, sys
from pathlib import Path
from allod.device import blas
blas.preload("auto")
from mlx_vlm.generate import generate
from mlx_vlm.utils import load_model, load_processor
tokens, questions, *folders = map(json.loads, sys.argv[1:])
texts = []
for folder in map(Path, folders):
    model, processor = load_model(folder), load_processor(folder)
    tokenizer = processor.tokenizer
    for words, files in questions:
        content = [*({"type": "image"} for _ in files), {"type": "text", "text": words}]
        turns = [{"role": "user", "content": content}]
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        prompt = prompt.removeprefix(tokenizer.bos_token or "")  # or generate puts it there twice
        answer = generate(model, processor, prompt, image=files, max_tokens=tokens, temperature=0.0)
        texts.append([answer.prompt_tokens, answer.text])
print(json.dumps(texts))
"""
QUESTIONS = ((WORDS, (FIRST,)), ("Which is larger?", (FIRST, (64, 96, 2))))


@pytest.fixture(scope="module")
def mlx_vlm_texts(
    seeing_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[int, str]]]:
    """What mlx-vlm itself generates: its processors, its loop, the checkpoints' own templates and weights."""
    folder = tmp_path_factory.mktemp("pictures")

    def written(shape: tuple[int, int, int]) -> str:
        path = folder / f"{'-'.join(map(str, shape))}.png"
        path.write_bytes(png(*shape))
        return str(path)

    questions = [(words, list(map(written, shapes))) for words, shapes in QUESTIONS]
    given = [TOKENS, questions, *(str(folder_of(seeing_home, family)) for family in FAMILIES)]
    command = [sys.executable, "-W", "ignore", "-c", MLX_VLM_SCRIPT, *map(json.dumps, given)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    texts = iter(json.loads(result.stdout.splitlines()[-1]))
    return {family: [tuple(next(texts)) for _ in QUESTIONS] for family in FAMILIES}


@pytest.fixture(scope="module")
def claude(seeing_server: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=seeing_server.base_url, api_key="any", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, messages: Sequence[Body], **options: Any) -> Any:
    arguments: Body = {"model": SEEING, "max_tokens": TOKENS, **GREEDY, **options}
    return client.chat.completions.create(messages=messages, **arguments)  # type: ignore[call-overload]


def answered(client: openai.OpenAI, messages: Sequence[Body], **options: Any) -> str:
    text = ask(client, messages, **options).choices[0].message.content
    assert text
    return text


# ---------------------------------------------------------------- chat


def test_the_model_list_says_who_sees(seeing: openai.OpenAI) -> None:
    """Models that look at pictures have the capability `vision`; the others do not."""
    able = {model.id: "vision" in model.model_extra["capabilities"] for model in seeing.models.list()}  # type: ignore[index]
    assert able == {**{name_of(family): True for family in FAMILIES}, BLIND: False}


def test_the_kind_of_file_does_not_matter_only_its_pixels(seeing: openai.OpenAI) -> None:
    """PNG, GIF and lossless WebP of the same pixels give one answer; a JPEG, which alters them, gives one."""
    image = picture(*FIRST).quantize(64)
    flat = image.convert("RGB")
    files = {
        "image/png": file_of(flat),
        "image/gif": file_of(image, "GIF"),
        "image/webp": file_of(flat, "WEBP", lossless=True),
    }
    uris = [uri_of(file, kind) for kind, file in files.items()]
    uris.append(uri_of(files["image/webp"], "image/png"))  # what the client calls it counts for nothing
    assert len({answered(seeing, question(uri)) for uri in uris}) == 1
    assert answered(seeing, question(uri_of(file_of(flat, "JPEG"), "image/jpeg")))


def test_every_picture_and_its_place_count(seeing: openai.OpenAI) -> None:
    """Words in strings and in parts, pictures in several turns: whatever differs, the answer differs."""
    one, other = png(*FIRST), png(*SECOND)

    def turns(first: list[Body], last: list[Body] | str) -> list[Body]:
        return [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": first},
            {"role": "assistant", "content": "A picture."},
            {"role": "user", "content": last},
        ]

    conversations = [
        turns([shown(one), said(WORDS)], "And now?"),
        turns([said(WORDS), shown(one)], "And now?"),
        turns([shown(one), shown(other), said(WORDS)], "And now?"),
        turns([shown(other), shown(one), said(WORDS)], "And now?"),
        turns([shown(one), said(WORDS)], [shown(other), said("And now?")]),
        turns([shown(other), said(WORDS)], [shown(one), said("And now?")]),
        turns([said(WORDS)], "And now?"),
    ]
    answers = [ask(seeing, conversation) for conversation in conversations]
    assert len({answer.choices[0].message.content for answer in answers}) == len(conversations)
    tokens = [answer.usage.prompt_tokens for answer in answers]
    one_picture = tokens[0] - tokens[-1]
    assert one_picture > 1
    assert tokens == [tokens[-1] + count * one_picture for count in (1, 1, 2, 2, 2, 2, 0)]


def test_low_detail_is_fewer_tokens(seeing: openai.OpenAI, seeing_server: RunningServer) -> None:
    """A large picture at low detail has fewer tokens and another answer; auto, original and none are high."""
    large = png(900, 700, 3)
    answers: dict[str, Any] = {
        detail: ask(seeing, [{"role": "user", "content": [shown(large, detail=detail), said(WORDS)]}])
        for detail in ("low", "high", "auto", "original")
    }
    answers["none"] = ask(seeing, question(large))
    tokens = {detail: answer.usage.prompt_tokens for detail, answer in answers.items()}
    assert tokens["low"] < tokens["high"] / 2
    assert {tokens[detail] for detail in ("high", "auto", "original", "none")} == {tokens["high"]}
    texts = {detail: answer.choices[0].message.content for detail, answer in answers.items()}
    assert texts["low"] != texts["high"]
    assert {texts[detail] for detail in ("high", "auto", "original", "none")} == {texts["high"]}


def test_a_stream_has_the_same_text_and_usage_and_both_repeat(seeing: openai.OpenAI) -> None:
    """At temperature 0, whole and streamed, twice each: one text, one usage, image tokens within it."""
    messages = question(png(*FIRST), png(*SECOND))
    texts: list[str] = []
    usages: list[tuple[int, int, int]] = []
    for _ in range(2):
        whole = ask(seeing, messages)
        chunks = list(ask(seeing, messages, stream=True, stream_options={"include_usage": True}))
        texts.append(whole.choices[0].message.content)
        texts.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
        usages += [
            (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
            for usage in (whole.usage, chunks[-1].usage)
        ]
    assert len(set(texts)) == 1
    assert all(usage == usages[0] for usage in usages)
    assert usages[0][2] == usages[0][0] + usages[0][1]


def test_several_choices_look_once(seeing: openai.OpenAI, seeing_server: RunningServer) -> None:
    """n=2: the picture is looked at once and counted once; seeded choices differ, the first is the single."""
    messages = question(png(96, 96, 11))
    before = looked_at(seeing_server)
    options = {"temperature": 1.0, "seed": 5}
    pair = ask(seeing, messages, n=2, **options)
    single = ask(seeing, messages, **options)
    texts = [choice.message.content for choice in pair.choices]
    assert [choice.index for choice in pair.choices] == [0, 1]
    assert texts[0] != texts[1]
    assert texts[0] == single.choices[0].message.content
    assert pair.usage.prompt_tokens == single.usage.prompt_tokens
    assert looked_at(seeing_server) == before + 1
    greedy = ask(seeing, messages, n=2)
    assert len({choice.message.content for choice in greedy.choices}) == 1


def test_a_form_holds_for_answers_about_pictures(seeing: openai.OpenAI) -> None:
    """A pattern, a schema and a forced call bind the answer to a picture as they bind any other."""
    messages = question(png(*FIRST))
    pattern = {"type": "regex", "pattern": "(yes|no), [0-9]{2}"}
    word = answered(seeing, messages, response_format=pattern)
    assert word.startswith(("yes, ", "no, "))
    schema = {
        "type": "object",
        "properties": {"cat": {"type": "boolean"}},
        "required": ["cat"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "seen", "strict": True, "schema": schema}}
    made = json.loads(answered(seeing, messages, response_format=form, max_tokens=64))
    assert set(made) == {"cat"}
    tool = {"type": "function", "function": {"name": "tell", "parameters": schema, "strict": True}}
    called = ask(
        seeing, messages, tools=[tool], tool_choice="required", parallel_tool_calls=False, max_tokens=200
    )
    (call,) = called.choices[0].message.tool_calls
    assert call.function.name == "tell"
    assert set(json.loads(call.function.arguments)) == {"cat"}


def test_a_picture_is_told_from_another_and_looked_at_once(
    seeing: openai.OpenAI, seeing_server: RunningServer
) -> None:
    """Two pictures of one size differ in their answers; the same one again is not looked at again."""
    one, other = png(104, 88, 21), png(104, 88, 22)
    before = looked_at(seeing_server)
    first, second, again = (ask(seeing, question(file)) for file in (one, other, one))
    assert first.usage.prompt_tokens == second.usage.prompt_tokens
    assert first.choices[0].message.content != second.choices[0].message.content
    assert first.choices[0].message.content == again.choices[0].message.content
    for dialect in DIALECTS:
        assert (
            text_of(post(seeing_server, dialect.path, dialect.body(one))) == first.choices[0].message.content
        )
    assert answered(seeing, question(one, words="And now?")) != first.choices[0].message.content
    assert looked_at(seeing_server) == before + 2


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_equal_mlx_vlm(
    seeing: openai.OpenAI, mlx_vlm_texts: dict[str, list[tuple[int, str]]], family: str
) -> None:
    """One picture and two, in mlx-vlm's own words, with its count of prompt tokens."""
    answers = [
        ask(seeing, question(*(png(*shape) for shape in shapes), words=words), model=name_of(family))
        for words, shapes in QUESTIONS
    ]
    ours = [(answer.usage.prompt_tokens, answer.choices[0].message.content) for answer in answers]
    assert ours == mlx_vlm_texts[family]


# ---------------------------------------------------------------- the other dialects


def test_one_conversation_has_one_number_of_tokens(seeing_server: RunningServer) -> None:
    """Three dialects and three counting routes agree on a conversation with pictures, and on its answer."""
    one, other, last = png(*FIRST), png(*SECOND), png(64, 96, 2)

    def part(file: bytes) -> Body:
        return {"type": "input_image", "image_url": uri_of(file)}

    def block(file: bytes) -> Body:
        source = {"type": "base64", "media_type": "image/png", "data": base64_of(file)}
        return {"type": "image", "source": source}

    def turns(show: Callable[[bytes], Body], text: str) -> list[Body]:
        return [
            {"role": "user", "content": [show(one), {"type": text, "text": WORDS}, show(other)]},
            {"role": "assistant", "content": "A picture."},
            {"role": "user", "content": [{"type": text, "text": "And this?"}, show(last)]},
        ]

    system = {"role": "system", "content": "Be brief."}
    common: Body = {"model": SEEING, **GREEDY}
    chat = {**common, "messages": [system, *turns(shown, "text")], "max_tokens": TOKENS}
    responses = {
        **common,
        "instructions": "Be brief.",
        "input": turns(part, "input_text"),
        "max_output_tokens": TOKENS,
    }
    messages = {**common, "system": "Be brief.", "messages": turns(block, "text"), "max_tokens": TOKENS}
    bodies = {CHAT: chat, RESPONSES: responses, MESSAGES: messages}
    answers = [post(seeing_server, dialect.path, body) for dialect, body in bodies.items()]
    assert len({text_of(answer) for answer in answers}) == 1
    usages = [answer.json()["usage"] for answer in answers]
    tokens = {
        usage.get("prompt_tokens") or usage["input_tokens"] + usage.get("cache_read_input_tokens", 0)
        for usage in usages
    }
    tokens |= {counted(post(seeing_server, dialect.counting, body)) for dialect, body in bodies.items()}
    assert len(tokens) == 1


def test_responses_go_on_seeing(seeing: openai.OpenAI) -> None:
    """A stored response keeps its picture as it was sent; whatever continues it sees it, and new ones too."""
    uris = [uri_of(png(*shape)) for shape in (FIRST, SECOND)]
    common: Body = {"model": SEEING, "temperature": 0, "max_output_tokens": TOKENS}

    def turn(uri: str, words: str) -> list[Body]:
        content = [
            {"type": "input_image", "image_url": uri, "detail": "auto"},
            {"type": "input_text", "text": words},
        ]
        return [{"role": "user", "content": content}]

    for one, other in (uris, reversed(uris)):
        first = seeing.responses.create(input=turn(one, WORDS), **common)  # type: ignore[call-overload]
        second = seeing.responses.create(input="And now?", previous_response_id=first.id, **common)
        third = seeing.responses.create(
            input=turn(other, "And this?"),  # type: ignore[arg-type]
            previous_response_id=second.id,
            **common,
        )
        chat = question(one)
        for response, following in (
            (first, "And now?"),
            (second, [shown(other), said("And this?")]),
            (third, ""),
        ):
            answer = ask(seeing, chat)
            assert response.output_text == answer.choices[0].message.content
            assert response.usage.input_tokens == answer.usage.prompt_tokens
            chat += [
                {"role": "assistant", "content": response.output_text},
                {"role": "user", "content": following},
            ]
        (kept,) = (item for item in seeing.responses.input_items.list(first.id) if item.type == "message")
        assert kept.content[0].image_url == one  # type: ignore[union-attr]


def test_a_streamed_response_sees(seeing: openai.OpenAI) -> None:
    """Streamed, and not stored: the same words as whole."""
    asked: Body = {
        "model": SEEING,
        "temperature": 0,
        "max_output_tokens": TOKENS,
        "store": False,
        "input": RESPONSES.body(png(*FIRST))["input"],
    }
    whole = seeing.responses.create(**asked)
    events = list(seeing.responses.create(**asked, stream=True))
    streamed = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert streamed == whole.output_text != ""
    assert events[-1].type == "response.incomplete"  # at the limit of tokens, as every answer here
    told = events[-1].response.usage
    assert told is not None
    assert whole.usage is not None
    assert (told.input_tokens, told.output_tokens) == (whole.usage.input_tokens, whole.usage.output_tokens)


def test_pictures_in_results_of_tools(
    seeing: openai.OpenAI, claude: anthropic.Anthropic, seeing_server: RunningServer
) -> None:
    """A picture that a tool gave back is seen, and is the same in three dialects; another differs."""
    answers: list[str] = []
    for file in (png(*FIRST), png(*SECOND)):
        uri = uri_of(file)
        call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        chat = ask(
            seeing,
            [
                {"role": "user", "content": "Look."},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": [shown(uri), said("Here.")]},
            ],
        )
        output = [{"type": "input_image", "image_url": uri}, {"type": "input_text", "text": "Here."}]
        response = seeing.responses.create(
            model=SEEING,
            input=[
                {"role": "user", "content": "Look."},
                {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": output},  # type: ignore[list-item]
            ],
            temperature=0,
            max_output_tokens=TOKENS,
        )
        source = {"type": "base64", "media_type": "image/png", "data": base64_of(file)}
        result = [{"type": "image", "source": source}, said("Here.")]
        message = claude.messages.create(
            model=SEEING,
            messages=[
                {"role": "user", "content": "Look."},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": result}],
                },
            ],
            max_tokens=TOKENS,
            extra_body=GREEDY,
        )
        assert response.usage is not None
        told = {chat.usage.prompt_tokens, response.usage.input_tokens, prompt_tokens_of(message.usage)}
        assert len(told) == 1
        texts = {chat.choices[0].message.content, response.output_text, words_of(message)}
        assert len(texts) == 1
        answers += texts
    assert answers[0] != answers[1]


def words_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_anthropic_messages(claude: anthropic.Anthropic, seeing: openai.OpenAI) -> None:
    """Whole, streamed and counted agree with each other and with chat."""
    asked: Body = {"model": SEEING, "messages": MESSAGES.body(png(*FIRST))["messages"]}
    limits: Body = {"max_tokens": TOKENS, "extra_body": GREEDY}
    whole = claude.messages.create(**asked, **limits)
    with claude.messages.stream(**asked, **limits) as stream:
        streamed = stream.get_final_message()
    tokens = claude.messages.count_tokens(**asked).input_tokens
    chat = ask(seeing, question(png(*FIRST)))
    assert words_of(whole) == words_of(streamed) == chat.choices[0].message.content
    assert (
        prompt_tokens_of(whole.usage)
        == prompt_tokens_of(streamed.usage)
        == tokens
        == chat.usage.prompt_tokens
    )


def test_langchain(seeing: openai.OpenAI, seeing_server: RunningServer) -> None:
    """It sends a picture in a form of its own, and gets the answer that the SDK gets."""
    file = png(*FIRST)
    langchain = ChatOpenAI(
        model=SEEING,
        base_url=seeing_server.openai_url,
        api_key=SecretStr("any"),
        temperature=0,
        max_completion_tokens=TOKENS,
        max_retries=0,
    )
    message = HumanMessage(
        [{"type": "image", "base64": base64_of(file), "mime_type": "image/png"}, said(WORDS)]
    )
    assert langchain.invoke([message]).content == answered(seeing, question(file))


async def test_pydantic_ai(seeing: openai.OpenAI, seeing_server: RunningServer) -> None:
    """It sends bytes with their media type, and gets the answer that the SDK gets."""
    file = png(*FIRST)
    async with openai.AsyncOpenAI(base_url=seeing_server.openai_url, api_key="any") as client:
        model = OpenAIChatModel(SEEING, provider=OpenAIProvider(openai_client=client))
        agent = Agent(model, model_settings=ModelSettings(temperature=0.0, max_tokens=TOKENS))
        ours = (await agent.run([BinaryContent(file, media_type="image/png"), WORDS])).output
    assert ours == answered(seeing, question(file))


def test_javascript(
    scripts: Path, seeing: openai.OpenAI, seeing_server: RunningServer, tmp_path: Path
) -> None:
    """OpenAI's, Anthropic's and Vercel's SDKs, whole and streamed, get the answer that Python's gets."""
    (tmp_path / "picture.png").write_bytes(png(*FIRST))
    wanted = ask(seeing, question(png(*FIRST)))
    arguments = (seeing_server.base_url, SEEING, str(tmp_path / "picture.png"), WORDS)
    found = run_script(scripts, "pictures.mjs", *arguments)
    texts = {*found["openai"], *found["anthropic"], *found["vercel"]}
    assert texts == {wanted.choices[0].message.content}
    assert set(found["tokens"]) == {wanted.usage.prompt_tokens}


def test_lines_of_a_batch_see(seeing: openai.OpenAI) -> None:
    """A batch answers a line with a picture as chat does."""
    bodies = [CHAT.body(png(*shape)) for shape in (FIRST, SECOND)]
    lines = [
        {"custom_id": str(index), "method": "POST", "url": "/v1/chat/completions", "body": body}
        for index, body in enumerate(bodies)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = seeing.files.create(file=("lines.jsonl", content), purpose="batch")
    batch = seeing.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    deadline = time.monotonic() + 30
    while batch.status in ("validating", "in_progress", "finalizing"):
        assert time.monotonic() < deadline, batch
        time.sleep(0.1)
        batch = seeing.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert batch.output_file_id is not None
    told = {
        line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"]
        for line in map(json.loads, seeing.files.content(batch.output_file_id).text.splitlines())
    }
    assert told == {str(index): answered(seeing, body["messages"]) for index, body in enumerate(bodies)}


# ---------------------------------------------------------------- together


def test_requests_at_once_are_answered_as_alone(seeing: openai.OpenAI, seeing_server: RunningServer) -> None:
    """Words, pictures, several pictures, whole and streamed, eight at once: each says what it says alone.

    Alone, the same pixels come in other files, so that each picture is looked at anew.
    """
    images = [picture(80 + 8 * index, 100, 40 + index) for index in range(6)]
    together = [file_of(image) for image in images]
    alone = [file_of(image, "WEBP", lossless=True) for image in images]

    def conversations(files: list[bytes]) -> list[list[Body]]:
        texts = [question(words=f"{number} is a number. {WORDS}") for number in range(8)]
        singles = [question(file, words=words) for words in (WORDS, "Which colour?") for file in files]
        pairs = [question(*pair) for pair in zip(files[:4], files[2:], strict=True)]
        every = [*texts, *singles, *pairs]
        return [every[index * 7 % len(every)] for index in range(len(every))]

    def streamed(messages: list[Body]) -> str:
        chunks = ask(seeing, messages, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    def told(way: int, messages: list[Body]) -> str:
        return streamed(messages) if way % 2 else answered(seeing, messages)

    before = looked_at(seeing_server)
    asked = conversations(together)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(told, range(len(asked)), asked))
    assert looked_at(seeing_server) == before + len(images)
    assert is_idle(seeing_server)
    wanted = list(map(partial(told, 0), conversations(alone)))
    assert looked_at(seeing_server) == before + 2 * len(images)
    assert answers == wanted
    assert len(set(answers)) == len(answers)
