"""The official openai SDK, with its base URL changed and nothing else, against the starter model."""

import json
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from allod.registry.starter import STARTER_NAME

pytestmark = pytest.mark.model

SUM = [{"role": "user", "content": "What is 2+2?"}]
AUTHOR = [{"role": "user", "content": "Who wrote Romeo and Juliet?"}]

MLX_LM_SCRIPT = """
import json, sys
from allod.device import blas
blas.preload("auto")
import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.utils import dequantize_model, load_model, load_tokenizer
from pathlib import Path
folder = Path(sys.argv[1])
model, _ = load_model(folder, lazy=True)
if mx.default_device() == mx.Device(mx.cpu):
    model.set_dtype(mx.float32)
    dequantize_model(model)
tokenizer = load_tokenizer(folder)
texts = []
for messages in json.loads(sys.argv[2]):
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    tokens = []
    for token, _ in generate_step(mx.array(prompt), model, max_tokens=40):
        if token in tokenizer.eos_token_ids:
            break
        tokens.append(token)
    texts.append([len(prompt), tokenizer.decode(tokens)])
print(json.dumps(texts))
"""


@pytest.fixture(scope="module")
def mlx_lm_texts(starter_home: Path) -> list[tuple[int, str]]:
    """What mlx-lm itself generates: its template, its tokenizer, its loop, the same weights."""
    folder = starter_home / "models" / STARTER_NAME
    command = [sys.executable, "-W", "ignore", "-c", MLX_LM_SCRIPT, str(folder), json.dumps([SUM, AUTHOR])]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return [(length, text) for length, text in json.loads(result.stdout.splitlines()[-1])]


def ask(client: openai.OpenAI, messages: list[dict[str, str]], **options: object):
    arguments = {"model": STARTER_NAME, "messages": messages, "temperature": 0, "max_tokens": 40, **options}
    return client.chat.completions.create(**arguments)


def test_greedy_chats_are_right_and_equal_mlx_lm(
    starter: openai.OpenAI, mlx_lm_texts: list[tuple[int, str]]
) -> None:
    """2+2 and the author, in mlx-lm's words, with its count of prompt tokens."""
    answers = [ask(starter, messages) for messages in (SUM, AUTHOR)]
    texts = [answer.choices[0].message.content for answer in answers]
    assert "4" in texts[0]
    assert "Shakespeare" in texts[1]
    assert [(answer.usage.prompt_tokens, text) for answer, text in zip(answers, texts, strict=True)] == (
        mlx_lm_texts
    )
    assert [answer.choices[0].finish_reason for answer in answers] == ["stop", "length"]


def test_streaming_gives_the_same_text_and_usage(starter: openai.OpenAI) -> None:
    """The chunks join to the whole answer; usage comes once, at the end, with no choices."""
    whole = ask(starter, SUM)
    chunks = list(ask(starter, SUM, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    finishes = [chunk.choices[0].finish_reason for chunk in chunks[:-1]]
    assert finishes == [None] * (len(finishes) - 1) + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_seed_repeats_and_another_differs(starter: openai.OpenAI) -> None:
    """The same seed gives the same text, another seed another."""
    texts = [
        ask(starter, AUTHOR, temperature=1.0, seed=seed, max_tokens=16).choices[0].message.content
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_log_probabilities(starter: openai.OpenAI) -> None:
    """One entry per token, alternatives in order, the greedy token first among them, text rejoined."""
    answer = ask(starter, SUM, logprobs=True, top_logprobs=3).choices[0]
    entries = answer.logprobs.content
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == answer.message.content
    for entry in entries:
        values = [alternative.logprob for alternative in entry.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert entry.logprob == pytest.approx(values[0], abs=1e-5)
        assert entry.logprob <= 0


def test_stop_strings_cut_across_tokens(starter: openai.OpenAI) -> None:
    """The text ends before the stop string, streamed or whole, and the reason is stop."""
    full = ask(starter, AUTHOR).choices[0].message.content
    at = full.index("Juliet")
    stop = full[at - 3 : at + 4]
    cut = ask(starter, AUTHOR, stop=["never there", stop]).choices[0]
    assert cut.message.content == full[: at - 3]
    assert cut.finish_reason == "stop"
    stream = ask(starter, AUTHOR, stop=stop, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == full[: at - 3]


def test_several_choices_fork_one_prompt(starter: openai.OpenAI) -> None:
    """n=2: seeded choices differ from each other, repeat, and the first equals the single answer."""
    options = {"temperature": 1.0, "seed": 5, "max_tokens": 12}
    pair = ask(starter, AUTHOR, n=2, **options)
    again = ask(starter, AUTHOR, n=2, **options)
    single = ask(starter, AUTHOR, **options)
    texts = [choice.message.content for choice in pair.choices]
    assert [choice.index for choice in pair.choices] == [0, 1]
    assert texts[0] != texts[1]
    assert texts == [choice.message.content for choice in again.choices]
    assert texts[0] == single.choices[0].message.content
    assert pair.usage.prompt_tokens == single.usage.prompt_tokens


def test_length_and_usage(starter: openai.OpenAI) -> None:
    """max_completion_tokens wins, the cut is told, and totals add up."""
    answer = ask(starter, AUTHOR, max_tokens=30, max_completion_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 5


def test_completions(starter: openai.OpenAI) -> None:
    """The legacy endpoint continues text, streamed and whole alike."""
    options = {"model": STARTER_NAME, "prompt": "The capital of Italy is", "temperature": 0, "max_tokens": 8}
    whole = starter.completions.create(**options, logprobs=2)
    stream = starter.completions.create(**options, stream=True)
    assert "Rome" in whole.choices[0].text
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text
    assert len(whole.choices[0].logprobs.tokens) == 8


def test_models(starter: openai.OpenAI) -> None:
    """The list and the single model agree; an unknown one is a 404 that lists the known."""
    assert [model.id for model in starter.models.list()] == [STARTER_NAME]
    assert starter.models.retrieve(STARTER_NAME).id == STARTER_NAME
    with pytest.raises(openai.NotFoundError, match=STARTER_NAME) as caught:
        ask(starter, SUM, model="gpt-4o")
    assert caught.value.code == "model_not_found"


def test_context_overflow_is_an_exact_400_before_any_stream(starter: openai.OpenAI) -> None:
    """OpenAI's words, with the numbers, and no chunk before."""
    with pytest.raises(openai.BadRequestError, match="maximum context length is 8192 tokens") as caught:
        ask(starter, [{"role": "user", "content": "word " * 9000}], stream=True)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
