"""Requests to prompts."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.scaffolding.local_house import CARD, ask, card
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from allod.core.card import ModelCard
from allod.core.errors import InvalidRequest, ModelUnavailable
from allod.core.request import Conversation, Message, RawText, RawTokens
from allod.local.render import PromptRenderer

TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def write_model(folder: Path, **config: object) -> None:
    """A byte-level tokenizer without merges, whose post-processor puts <s> in front."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture
def renderer(tmp_path: Path) -> Iterator[PromptRenderer]:
    made = PromptRenderer(lambda _: tmp_path)
    yield made
    made.close()


HELLO = ask(source=Conversation((Message("user", "hé"),)))


async def test_a_conversation_has_the_special_tokens_of_its_template_only(
    tmp_path: Path, renderer: PromptRenderer
) -> None:
    """The template writes BOS; the tokenizer, which would add one, does not add a second."""
    write_model(
        tmp_path, chat_template=TEMPLATE, bos_token={"content": "<s>"}, eos_token="</s>", pad_token=None
    )
    rendered = await renderer.render(HELLO, CARD)
    assert rendered.reading.codec.decode(rendered.tokens) == "[user]hé"
    assert [rendered.reading.codec.token_bytes(token) for token in rendered.tokens].count(b"<s>") == 1


async def test_a_template_without_bos_gets_none(tmp_path: Path, renderer: PromptRenderer) -> None:
    """As apply_chat_template does it: what the template does not write is not there."""
    write_model(tmp_path, chat_template="{{ messages[0].content }}")
    rendered = await renderer.render(HELLO, CARD)
    assert rendered.reading.codec.token_bytes(rendered.tokens[0]) == b"h"


async def test_the_file_decides_over_the_config(tmp_path: Path, renderer: PromptRenderer) -> None:
    """chat_template.jinja is the newer place and comes first."""
    write_model(tmp_path, chat_template="old")
    (tmp_path / "chat_template.jinja").write_text("new{{ messages[0].content }}")
    rendered = await renderer.render(HELLO, CARD)
    assert rendered.reading.codec.decode(rendered.tokens) == "newhé"


async def test_of_named_templates_the_default_is_used(tmp_path: Path, renderer: PromptRenderer) -> None:
    """A list of templates holds one for plain conversations."""
    named = [
        {"name": "tool_use", "template": "tools"},
        {"name": "default", "template": "plain{{ messages[0].content }}"},
    ]
    write_model(tmp_path, chat_template=named)
    rendered = await renderer.render(HELLO, CARD)
    assert rendered.reading.codec.decode(rendered.tokens) == "plainhé"


async def test_plain_text_gets_what_the_tokenizer_adds(tmp_path: Path, renderer: PromptRenderer) -> None:
    """Without a template the tokenizer's own BOS is wanted."""
    write_model(tmp_path)
    rendered = await renderer.render(ask(source=RawText("hi")), CARD)
    assert [rendered.reading.codec.token_bytes(token) for token in rendered.tokens] == [b"<s>", b"h", b"i"]


async def test_token_ids_are_left_alone(tmp_path: Path, renderer: PromptRenderer) -> None:
    """Raw ids are the prompt."""
    write_model(tmp_path)
    assert (await renderer.render(ask(source=RawTokens((5, 6))), CARD)).tokens == (5, 6)


async def test_a_model_without_a_template_takes_no_conversation(
    tmp_path: Path, renderer: PromptRenderer
) -> None:
    """The error names the endpoint that works."""
    write_model(tmp_path)
    with pytest.raises(InvalidRequest, match="/v1/completions") as caught:
        await renderer.render(HELLO, CARD)
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", '{"chat_template": 3}'),
        ("tokenizer_config.json", "\udcff"),
        ("chat_template.jinja", "{% if %}"),
    ],
)
async def test_broken_files_are_told(
    tmp_path: Path, renderer: PromptRenderer, file: str, content: str
) -> None:
    """Files that cannot be used are a model that is unavailable, with the file's fault in the message."""
    write_model(tmp_path)
    (tmp_path / file).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ModelUnavailable, match="'fable' cannot be used") as caught:
        await renderer.render(ask(source=RawText("hi")), CARD)
    assert "Import it again" in caught.value.message


async def test_a_model_is_read_once_and_again_after_an_import(tmp_path: Path) -> None:
    """Files are read on a thread of the renderer, once for every import of a model."""
    write_model(tmp_path)
    threads: list[str] = []

    def folder_of(_: object) -> Path:
        threads.append(threading.current_thread().name)
        return tmp_path

    renderer = PromptRenderer(folder_of)
    await renderer.prepare(card("fable", created=1))
    for created in (1, 1, 2):
        await renderer.render(ask(source=RawText("hi")), card("fable", created=created))
    renderer.close()
    assert len(threads) == 2
    assert all(name.startswith("render") for name in threads)


async def test_a_model_that_is_read_keeps_no_other_waiting(tmp_path: Path) -> None:
    """A large tokenizer takes a while."""
    write_model(tmp_path)
    begun, goes_on = threading.Event(), threading.Event()

    def folder_of(asked: ModelCard) -> Path:
        if asked.name == "large":
            begun.set()
            assert goes_on.wait(10)
        return tmp_path

    renderer = PromptRenderer(folder_of)
    await renderer.prepare(CARD)
    reading = asyncio.create_task(renderer.prepare(card("large")))
    await asyncio.to_thread(begun.wait)
    async with asyncio.timeout(5):
        await renderer.render(ask(source=RawText("hi")), CARD)
    assert not reading.done()
    goes_on.set()
    await reading
    renderer.close()
