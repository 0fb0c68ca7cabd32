"""A tokenizer of bytes and marks, without MLX, and what a grammar accepts of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llguidance import LLMatcher, LLTokenizer
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from allod.text.lark import TokenFacts
from allod.text.tokenizer import FileTokenCodec

MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
"""Added tokens that are text, as Qwen 3 has them."""

SPECIAL = ("<|end|>", "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|return|>", "<|call|>")


@dataclass(frozen=True)
class MarkedBytes:
    """Facts about the tokenizer, and its two readers."""

    facts: TokenFacts
    codec: FileTokenCodec
    reader: LLTokenizer

    def ids(self, text: str) -> list[int]:
        return list(self.codec.encode(text, special=False))

    def takes(self, grammar: str, text: str) -> bool:
        """Whether this is a whole answer by the grammar."""
        matcher = self._matcher(grammar)
        tokens = self.ids(text)
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

    def begins(self, grammar: str, text: str) -> bool:
        """Whether an answer may begin like this."""
        tokens = self.ids(text)
        return self._matcher(grammar).try_consume_tokens(tokens) == len(tokens)

    def following(self, grammar: str, tokens: Sequence[int]) -> list[int]:
        """The tokens that may come behind these."""
        matcher = self._matcher(grammar)
        assert matcher.consume_tokens(list(tokens))
        mask = matcher.compute_bitmask()
        return [token for token in range(len(mask) * 8) if mask[token // 8] >> token % 8 & 1]

    def _matcher(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self.reader, grammar, log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        return matcher


def marked_bytes(folder: Path, *, marks: Sequence[str] = MARKS, scored: int = 0) -> MarkedBytes:
    """Bytes, then `marks` as added tokens, then SPECIAL; answers end with `<|return|>`."""
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={mark: index for index, mark in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in marks])
    tokenizer.add_special_tokens(list(SPECIAL))
    path = str(folder / "tokenizer.json")
    tokenizer.save(path)
    codec = FileTokenCodec(Tokenizer.from_file(path))
    ends = (codec.added_tokens["<|return|>"], codec.added_tokens["<|call|>"])
    size = codec.vocabulary_size
    facts = TokenFacts(path, codec.added_tokens, codec.special_tokens, size, scored or size, ends)
    return MarkedBytes(facts, codec, LLTokenizer(path, n_vocab=scored or size, eos_token=list(ends)))
