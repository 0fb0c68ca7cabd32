"""Fill in the middle: the text around a gap, marked up as a family of models was trained to see it."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Family:
    """One way to mark up a gap.

    Attributes:
        name: models that use it.
        tokens: the special tokens it is known by.
        form: the prompt, with `{prefix}` and `{suffix}` in it once each.
    """

    name: str
    tokens: tuple[str, ...]
    form: str


def _prefix_first(name: str, prefix: str, suffix: str, middle: str) -> _Family:
    return _Family(name, (prefix, suffix, middle), f"{prefix}{{prefix}}{suffix}{{suffix}}{middle}")


_FAMILIES = (
    _prefix_first("Qwen Coder, CodeGemma, Granite 4", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    _prefix_first("StarCoder, Granite", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    _prefix_first("SantaCoder", "<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    _prefix_first("DeepSeek Coder", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    _prefix_first("GLM", "<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    _prefix_first("Code Llama", "▁<PRE>", "▁<SUF>", "▁<MID>"),
    _Family("Codestral", ("[PREFIX]", "[SUFFIX]"), "[SUFFIX]{suffix}[PREFIX]{prefix}"),
)


def infill_prompt(prefix: str, suffix: str, special_tokens: Collection[str]) -> str | None:
    """The prompt whose answer fills the gap; None when the vocabulary has no marks for gaps.

    The tokenizer's own beginning-of-text token is not part of it.

    Args:
        prefix: the text before the gap.
        suffix: the text after it.
        special_tokens: the text of every token added to the vocabulary.
    """
    known = frozenset(special_tokens)
    family = next((family for family in _FAMILIES if known.issuperset(family.tokens)), None)
    return None if family is None else family.form.format(prefix=prefix, suffix=suffix)
