import json
from pathlib import Path

import pytest

from allod.core.errors import ImportRefused
from allod.core.sampling import SamplingWishes
from allod.registry.card import (
    chat_template,
    context_tokens,
    describe,
    quantization_words,
    sampling_wishes,
    stop_tokens,
)
from allod.registry.weights import StoredTensor


@pytest.mark.parametrize(
    ("config", "tokenizer", "tokens"),
    [
        ({"max_position_embeddings": 8192}, {}, 8192),
        ({"n_positions": 1024}, {}, 1024),
        ({"max_position_embeddings": 5, "text_config": {"max_position_embeddings": 131072}}, {}, 131072),
        ({}, {"model_max_length": 2048}, 2048),
        ({}, {"model_max_length": 1e30}, 4096),
        ({"max_position_embeddings": True}, {}, 4096),
        ({"max_position_embeddings": -1}, {"model_max_length": "x"}, 4096),
    ],
)
def test_the_context_comes_from_the_first_sane_place(config, tokenizer, tokens: int) -> None:
    """Config before tokenizer before a default; a nonsense number is no number."""
    assert context_tokens(config, tokenizer) == tokens


def test_stop_tokens_are_the_union_of_every_file() -> None:
    """No file's word is lost."""
    found = stop_tokens(
        {"eos_token_id": 1, "text_config": {"eos_token_id": [2, True, -1]}},
        {"eos_token_id": [3, 1]},
        {"eos_token": {"content": "</end>"}},
        {"</end>": 4, "<|im_end|>": 5, "<|eot_id|>": 6},
        "...<|im_end|>...",
    )
    assert found == (1, 2, 3, 4, 5)


def test_an_end_of_turn_counts_only_as_a_token_of_the_template() -> None:
    """Text of a template that is not one token, and a token the template never writes, end nothing."""
    assert stop_tokens({}, {}, {}, {"<|eot_id|>": 6}, "<|im_end|>") == ()


def test_a_message_end_of_the_harmony_format_is_no_turn_end() -> None:
    """`<|end|>` ends a turn for one family and only a message for another."""
    template = "<|end|> <|return|>"
    assert stop_tokens({}, {}, {}, {"<|end|>": 7}, template) == (7,)
    assert stop_tokens({}, {}, {}, {"<|end|>": 7, "<|return|>": 8}, template) == (8,)


def test_sampling_wishes_need_sampling() -> None:
    """A generation_config that says `do_sample: false` wishes nothing; nonsense is no wish."""
    config = {"temperature": 0.6, "top_p": 0.9, "top_k": 20, "min_p": 0.1, "repetition_penalty": 1.1}
    wishes = SamplingWishes(temperature=0.6, top_p=0.9, top_k=20, min_p=0.1, repetition_penalty=1.1)
    assert sampling_wishes(config) == wishes
    assert sampling_wishes(config | {"do_sample": False}) == SamplingWishes()
    assert sampling_wishes({"temperature": -1, "top_p": "x", "top_k": -5}) == SamplingWishes()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quantization": {"bits": 4, "group_size": 64}}, "4-bit g64"),
        (
            {"quantization": {"bits": 4, "group_size": 32, "e": {"bits": 8, "group_size": 32}}},
            "4-bit g32, some 8-bit",
        ),
        ({"quantization": {"bits": 4, "group_size": 32, "mode": "mxfp4"}}, "4-bit g32 mxfp4"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4"),
        ({}, "bfloat16"),
    ],
)
def test_the_stored_form_in_words(config, words: str) -> None:
    """Quantised checkpoints say how; others name the type that most bytes have."""
    tensors = [StoredTensor("a", "F32", (1,), 0, 4), StoredTensor("b", "BF16", (8,), 4, 20)]
    assert quantization_words(config, tensors) == words


def test_a_template_may_stand_in_three_places(tmp_path: Path) -> None:
    """The file of its own wins over tokenizer_config, which wins over chat_template.json."""
    assert chat_template(tmp_path, {}) == ""
    (tmp_path / "chat_template.json").write_text('{"chat_template": "json"}')
    assert chat_template(tmp_path, {}) == "json"
    assert chat_template(tmp_path, {"chat_template": [{"name": "default", "template": "list"}]}) == "list"
    (tmp_path / "chat_template.jinja").write_text("jinja")
    assert chat_template(tmp_path, {"chat_template": "config"}) == "jinja"


def test_a_checkpoint_is_described_from_its_files(checkpoint) -> None:
    """The card of a small checkpoint is right in every field."""
    checkpoint.write("generation_config.json", '{"eos_token_id": 3, "temperature": 0.5}')
    checkpoint.write(
        "tokenizer_config.json", json.dumps({"chat_template": "<|im_end|>", "eos_token": "<eos>"})
    )
    card = describe(checkpoint.folder, "tiny", "directory", "there")
    assert (card.name, card.architecture, card.context_tokens, card.weights_bytes) == (
        "tiny",
        "llama",
        128,
        12,
    )
    assert (card.vocabulary, card.stop_tokens, card.has_chat_template) == (4, (2, 3), True)
    assert (card.quantization, card.kind, card.source) == ("bfloat16", "directory", "there")
    assert card.sampling == SamplingWishes(temperature=0.5)


def test_the_vocabulary_is_counted_where_the_config_is_silent(checkpoint) -> None:
    """Without `vocab_size`, one more than the largest id of the tokenizer."""
    checkpoint.config(vocab_size=None)
    assert describe(checkpoint.folder, "tiny", "directory", "there").vocabulary == 4


@pytest.mark.parametrize("content", ["", "[]", '{"added_tokens": 5}', '{"added_tokens": [{"id": "x"}]}'])
def test_a_damaged_tokenizer_is_refused(checkpoint, content: str) -> None:
    """A tokenizer.json that is none is found at import, not at the first request."""
    checkpoint.write("tokenizer.json", content)
    with pytest.raises(ImportRefused, match=r"tokenizer\.json"):
        describe(checkpoint.folder, "tiny", "directory", "there")
