"""What a checkpoint says about itself, gathered into a card.

Checkpoints disagree with themselves: the end of a turn alone may stand in four files. Everything that is
resolved here is resolved once, at import.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, cast

import msgspec

from allod.core.card import ModelCard
from allod.core.errors import ImportRefused
from allod.core.ids import ModelName
from allod.core.sampling import SamplingWishes
from allod.registry.jsonfile import child, integer, number, read_object, read_object_if_any
from allod.registry.policy import (
    CONFIG_FILE,
    EMBEDDING_FAMILIES,
    GENERATION_CONFIG_FILE,
    PROCESSOR_FILES,
    TEMPLATE_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    require_model_type,
)
from allod.registry.weights import StoredTensor, read_tensors

Kind = Literal["directory", "gguf", "hub", "package"]

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "model_max_length",
)
_DEFAULT_CONTEXT_TOKENS = 4096
_LARGEST_CONTEXT_TOKENS = 100_000_000  # transformers writes 1e30 into model_max_length for "no limit"

_TURN_ENDS: Mapping[str, str | None] = {
    # token -> a token that makes it something else where both exist
    "<|im_end|>": None,
    "<|eot_id|>": None,
    "<|eom_id|>": None,
    "<|eot|>": None,
    "<end_of_turn>": None,
    "<turn|>": None,
    "<|end|>": "<|return|>",  # ends a turn for Phi, but only one message of a turn in the harmony format
    "<|return|>": None,
    "<|call|>": None,
    "<|endoftext|>": None,
    "<|END_OF_TURN_TOKEN|>": None,
    "<|end_of_turn|>": None,
    "<|endofturn|>": None,
    "<|end_of_text|>": None,
    "</s>": None,
}

_DTYPE_WORDS: Mapping[str, str] = {
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8",
    "F8_E5M2": "float8",
}


class _AddedToken(msgspec.Struct):
    id: int
    content: str


class _TokenizerFile(msgspec.Struct):
    added_tokens: list[_AddedToken] = []


def describe(folder: Path, name: str, kind: Kind, source: str) -> ModelCard:
    """The card of a checkpoint in a folder.

    Raises:
        ImportRefused: a file of it is damaged.
    """
    config = read_object(folder / CONFIG_FILE)
    generation = read_object_if_any(folder / GENERATION_CONFIG_FILE)
    tokenizer = read_object_if_any(folder / TOKENIZER_CONFIG_FILE)
    added = added_tokens(folder / TOKENIZER_FILE)
    template = chat_template(folder, tokenizer)
    tensors = [tensor for path in sorted(folder.glob("*.safetensors")) for tensor in read_tensors(path)]
    return ModelCard(
        name=ModelName(name),
        architecture=require_model_type(config, folder.name),
        context_tokens=context_tokens(config, tokenizer),
        weights_bytes=sum(tensor.stored_bytes for tensor in tensors),
        quantization=quantization_words(config, tensors),
        created=int(time.time()),
        source=source,
        kind=kind,
        vocabulary=_vocabulary(config, folder),
        stop_tokens=stop_tokens(config, generation, tokenizer, added, template),
        sampling=sampling_wishes(generation),
        has_chat_template=bool(template),
        purpose="embedding" if config.get("model_type") in EMBEDDING_FAMILIES else "text",
        vision=sees(config, folder),
    )


def sees(config: Mapping[str, object], folder: Path) -> bool:
    """Whether a checkpoint has a vision tower and what its pictures are prepared by.

    Where mlx-vlm does not know the family, the worker says so when it loads.
    """
    return bool(child(config, "vision_config")) and any((folder / name).is_file() for name in PROCESSOR_FILES)


def added_tokens(path: Path) -> Mapping[str, int]:
    """The added tokens of a tokenizer.json: content -> id.

    Raises:
        ImportRefused: the file is not a tokenizer.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_TokenizerFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ImportRefused(f"{path.name} is damaged ({error}); fetch the checkpoint again") from error
    return {token.content: token.id for token in found.added_tokens}


def chat_template(folder: Path, tokenizer: Mapping[str, object]) -> str:
    """The source of the chat template, from the three places where it may stand; empty when nowhere."""
    path = folder / TEMPLATE_FILE
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    beside = read_object_if_any(folder / "chat_template.json").get("chat_template")
    return _template_text(tokenizer.get("chat_template")) or _template_text(beside)


def context_tokens(config: Mapping[str, object], tokenizer: Mapping[str, object]) -> int:
    """The longest sequence a checkpoint was made for."""
    for part in (child(config, "text_config"), config):
        for key in _CONTEXT_KEYS:
            value = integer(part.get(key))
            if value is not None and 0 < value <= _LARGEST_CONTEXT_TOKENS:
                return value
    limit = number(tokenizer.get("model_max_length"))
    return (
        int(limit) if limit is not None and 1 <= limit <= _LARGEST_CONTEXT_TOKENS else _DEFAULT_CONTEXT_TOKENS
    )


def stop_tokens(
    config: Mapping[str, object],
    generation: Mapping[str, object],
    tokenizer: Mapping[str, object],
    added: Mapping[str, int],
    template: str,
) -> tuple[int, ...]:
    """Every id that ends an answer, by the word of any file."""
    found: set[int] = set()
    for part in (config, child(config, "text_config"), generation):
        found |= _ids(part.get("eos_token_id"))
    end = token_text(tokenizer.get("eos_token"))
    if end in added:
        found.add(added[end])
    for token, unless in _TURN_ENDS.items():
        if token in template and token in added and unless not in added:
            found.add(added[token])
    return tuple(sorted(found))


def token_text(value: object) -> str:
    """The content of a token in tokenizer_config.json, which writes it as text or as an object."""
    if isinstance(value, dict):
        value = cast("dict[str, object]", value).get("content")
    return value if isinstance(value, str) else ""


def sampling_wishes(generation: Mapping[str, object]) -> SamplingWishes:
    """What a generation_config asks of sampling; nothing at all when it says not to sample."""
    if generation.get("do_sample") is False:
        return SamplingWishes()
    top_k = integer(generation.get("top_k"))
    return SamplingWishes(
        temperature=_within(generation.get("temperature"), 0.0, 100.0),
        top_p=_within(generation.get("top_p"), 0.0, 1.0),
        top_k=top_k if top_k is not None and top_k >= 0 else None,
        min_p=_within(generation.get("min_p"), 0.0, 1.0),
        repetition_penalty=_within(generation.get("repetition_penalty"), 0.01, 100.0),
    )


def quantization_words(config: Mapping[str, object], tensors: Iterable[StoredTensor]) -> str:
    """The stored form of the weights, in words."""
    stored = child(config, "quantization") or child(config, "quantization_config")
    bits, group = integer(stored.get("bits")), integer(stored.get("group_size"))
    if bits is not None:
        method = stored.get("quant_method", stored.get("mode", "affine"))
        words = [f"{bits}-bit", *([f"g{group}"] if group is not None else [])]
        others = sorted({integer(child(stored, key).get("bits")) or bits for key in stored} - {bits})
        words += [str(method)] if method != "affine" else []
        return " ".join(words) + "".join(f", some {other}-bit" for other in others)
    if isinstance(stored.get("quant_method"), str):
        return str(stored["quant_method"])
    bytes_by_dtype: Counter[str] = Counter()
    for tensor in tensors:
        bytes_by_dtype[tensor.dtype] += tensor.stored_bytes
    most = bytes_by_dtype.most_common(1)
    return _DTYPE_WORDS.get(most[0][0], most[0][0].lower()) if most else "no weights"


def _vocabulary(config: Mapping[str, object], folder: Path) -> int:
    for part in (config, child(config, "text_config")):
        size = integer(part.get("vocab_size"))
        if size is not None and size > 0:
            return size
    vocab = child(child(read_object(folder / TOKENIZER_FILE), "model"), "vocab")
    if not vocab:
        raise ImportRefused(
            f"neither {CONFIG_FILE} (`vocab_size`) nor {TOKENIZER_FILE} gives a vocabulary size"
        )
    ids = [integer(value) or 0 for value in vocab.values()]
    return max(ids + list(added_tokens(folder / TOKENIZER_FILE).values())) + 1


def _ids(value: object) -> set[int]:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return {item for item in map(integer, items) if item is not None and item >= 0}


def _within(value: object, least: float, most: float) -> float | None:
    found = number(value)
    return float(found) if found is not None and least <= found <= most else None


def _template_text(value: object) -> str:
    """A template is text, or a list of named ones of which `default` counts."""
    if isinstance(value, list):
        entries = [
            cast("dict[str, object]", item) for item in cast("list[object]", value) if isinstance(item, dict)
        ]
        value = next((item.get("template") for item in entries if item.get("name") == "default"), None)
    return value if isinstance(value, str) else ""
