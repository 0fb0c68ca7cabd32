"""GGUF tokenizer metadata as tokenizer.json and tokenizer_config.json."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from allod.registry.gguf.metadata import Metadata
from allod.registry.jsonfile import write_object
from allod.registry.policy import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE

_PREFIX = "tokenizer.ggml"
_CONTROL, _USER_DEFINED = 3, 4
_WAY_OUT = "import the model's safetensors checkpoint, which brings its own tokenizer.json"

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS_AND_SPACES = r"[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _by_pattern(digits: str) -> pre_tokenizers.PreTokenizer:
    pattern = Regex(f"{_CONTRACTIONS}|{_WORDS_AND_SPACES % digits}")
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _byte_level() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _single_digits() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _byte_level()])


@dataclass(frozen=True, slots=True)
class Splitting:
    """How text is cut before the merges, and what goes with it.

    Attributes:
        build: makes the pre-tokeniser.
        composes: text is put into Unicode's composed form (NFC) first.
        ignores_merges: a whole word that is a token is taken without merging.
        adds_begin: a begin token is added where the file does not say.
    """

    build: Callable[[], pre_tokenizers.PreTokenizer]
    composes: bool = False
    ignores_merges: bool = False
    adds_begin: bool = False


_LLAMA3 = Splitting(lambda: _by_pattern(r"\p{N}{1,3}"), ignores_merges=True, adds_begin=True)
_GPT2 = Splitting(_byte_level)

SPLITTINGS: Mapping[str, Splitting] = {
    "default": _GPT2,
    "gpt-2": _GPT2,
    "smollm": Splitting(_single_digits),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": Splitting(lambda: _by_pattern(r"\p{N}"), composes=True),
}


def write_tokenizer(metadata: Metadata, folder: Path) -> None:
    """Write the tokenizer files of a model.

    Raises:
        ImportRefused: the tokenizer is of a kind that is not known exactly, or contradicts itself.
    """
    model = metadata.text(f"{_PREFIX}.model")
    if model != "gpt2":
        raise metadata.refusal(
            f"{_PREFIX}.model", f"is {model!r}; `gpt2` (byte-level BPE) is taken: {_WAY_OUT}"
        )
    splitting = _splitting(metadata)
    tokens = metadata.texts(f"{_PREFIX}.tokens")
    named = _named_tokens(metadata, tokens)
    adds_begin = metadata.flag_or(f"{_PREFIX}.add_bos_token", default=splitting.adds_begin)
    tokenizer = _tokenizer(metadata, tokens, splitting)
    if adds_begin and "bos_token" in named:
        begin = named["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A $B", special_tokens=[(begin, tokens.index(begin))]
        )
    tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    config: dict[str, object] = {
        **named,
        "add_bos_token": adds_begin,
        "add_eos_token": metadata.flag_or(f"{_PREFIX}.add_eos_token", default=False),
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if "tokenizer.chat_template" in metadata:
        config["chat_template"] = metadata.text("tokenizer.chat_template")
    write_object(folder / TOKENIZER_CONFIG_FILE, config)


def _splitting(metadata: Metadata) -> Splitting:
    key = f"{_PREFIX}.pre"
    name = metadata.text_or(key, "default")
    if name not in SPLITTINGS:
        raise metadata.refusal(key, f"is {name[:100]!r}; known are {', '.join(SPLITTINGS)}: {_WAY_OUT}")
    return SPLITTINGS[name]


def _tokenizer(metadata: Metadata, tokens: Sequence[str], splitting: Splitting) -> Tokenizer:
    ids = {token: number for number, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        raise metadata.refusal(f"{_PREFIX}.tokens", "holds a token twice")
    merges = _merges(metadata, ids)
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=splitting.ignores_merges))
    if splitting.composes:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = splitting.build()
    tokenizer.decoder = decoders.ByteLevel()
    types = _token_types(metadata, len(tokens))
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        found = [token for token, its_kind in zip(tokens, types, strict=True) if its_kind == kind and token]
        added = [AddedToken(token, special=special, normalized=False) for token in found]
        if special:
            tokenizer.add_special_tokens(added)  # pyright: ignore[reportUnknownMemberType]
        else:
            tokenizer.add_tokens(added)  # pyright: ignore[reportUnknownMemberType]
    return tokenizer


def _merges(metadata: Metadata, ids: Mapping[str, int]) -> list[tuple[str, str]]:
    key = f"{_PREFIX}.merges"
    merges: list[tuple[str, str]] = []
    for line in metadata.texts(key):
        left, space, right = line.partition(" ")
        if not space or left not in ids or right not in ids or left + right not in ids:
            raise metadata.refusal(key, f"holds {line[:100]!r}, which does not join two tokens to a third")
        merges.append((left, right))
    return merges


def _token_types(metadata: Metadata, count: int) -> Sequence[int]:
    key = f"{_PREFIX}.token_type"
    types = metadata.integers(key)
    if len(types) != count:
        raise metadata.refusal(key, f"has {len(types)} entries for {count} tokens")
    return types


def _named_tokens(metadata: Metadata, tokens: Sequence[str]) -> dict[str, str]:
    """Tokens with a role, under the names that tokenizer_config.json has for them."""
    roles = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    named: dict[str, str] = {}
    for role, ours in roles.items():
        key = f"{_PREFIX}.{ours}_token_id"
        if key not in metadata:
            continue
        number = metadata.integer(key)
        if not 0 <= number < len(tokens):
            raise metadata.refusal(key, f"is {number}, outside of {len(tokens)} tokens")
        named[role] = tokens[number]
    return named
