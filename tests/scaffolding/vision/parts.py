"""What every small vision-language checkpoint is made of."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

VOCABULARY = 384
BYTES = 256
PRINTABLE = 94
"""Ids below this are the printable ASCII characters without the space; the drawn weights answer in them."""

HALVES = [0.5, 0.5, 0.5]
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_DEVIATION = [0.26862954, 0.26130258, 0.27577711]

DECODER: dict[str, object] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class VisionFamily:
    """The files of one checkpoint, except the weights and what follows from the marks.

    Attributes:
        config: config.json.
        marks: the special tokens, whose ids follow those of the 256 bytes in this order.
        template: chat_template.jinja.
        preprocessor: preprocessor_config.json.
        processor: processor_config.json, where the family has one.
        tokenizer: fields of tokenizer_config.json beside the end mark.
        end: the mark that ends an answer.
        opening: the mark that the tokenizer itself puts before every text, as the real one does.
        embedding: factor of the token embeddings; small where they also make the logits, or else every
            answer would repeat its last token.
        draw: which weights seed 0 draws: of a few, those whose answers are farthest from ties.
    """

    config: dict[str, object]
    marks: tuple[str, ...]
    template: str
    preprocessor: dict[str, object]
    end: str
    processor: dict[str, object] = field(default_factory=dict)
    tokenizer: dict[str, object] = field(default_factory=dict)
    opening: str | None = None
    embedding: float = 1.0
    draw: int = 0


def identifier(marks: tuple[str, ...], mark: str) -> int:
    """The id that the tokenizer gives to a mark."""
    return BYTES + marks.index(mark)


def write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1))


def write_texts(family: VisionFamily, folder: Path) -> None:
    """Write every file but the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", family.config)
    if family.preprocessor:
        write_json(folder / "preprocessor_config.json", family.preprocessor)
    if family.processor:
        write_json(folder / "processor_config.json", family.processor)
    (folder / "chat_template.jinja").write_text(family.template)
    _tokenizer_of(family).save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", _tokenizer_config(family))


def _tokenizer_of(family: VisionFamily) -> Tokenizer:
    """Bytes, then the marks, then fillers up to the vocabulary's size."""
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={mark: index for index, mark in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(list(family.marks))
    fillers = VOCABULARY - BYTES - len(family.marks)
    tokenizer.add_tokens([f"<|filler_{index}|>" for index in range(fillers)])
    if family.opening is not None:
        tokenizer.post_processor = TemplateProcessing(
            single=f"{family.opening} $A",
            special_tokens=[(family.opening, identifier(family.marks, family.opening))],
        )
    return tokenizer


def _tokenizer_config(family: VisionFamily) -> dict[str, object]:
    opening = {} if family.opening is None else {"bos_token": family.opening}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": family.end,
        "pad_token": family.end,
        "clean_up_tokenization_spaces": False,
        **opening,
        **family.tokenizer,
    }
