import pytest

from allod.text.infill import infill_prompt


@pytest.mark.parametrize(
    ("tokens", "prompt"),
    [
        ("<|fim_prefix|> <|fim_suffix|> <|fim_middle|>", "<|fim_prefix|>P{0}<|fim_suffix|>S{}<|fim_middle|>"),
        ("<fim_prefix> <fim_suffix> <fim_middle>", "<fim_prefix>P{0}<fim_suffix>S{}<fim_middle>"),
        ("<fim-prefix> <fim-suffix> <fim-middle>", "<fim-prefix>P{0}<fim-suffix>S{}<fim-middle>"),
        ("<｜fim▁begin｜> <｜fim▁hole｜> <｜fim▁end｜>", "<｜fim▁begin｜>P{0}<｜fim▁hole｜>S{}<｜fim▁end｜>"),
        (
            "<|code_prefix|> <|code_suffix|> <|code_middle|>",
            "<|code_prefix|>P{0}<|code_suffix|>S{}<|code_middle|>",
        ),
        ("▁<PRE> ▁<SUF> ▁<MID> ▁<EOT>", "▁<PRE>P{0}▁<SUF>S{}▁<MID>"),
        ("[PREFIX] [SUFFIX] [INST]", "[SUFFIX]S{}[PREFIX]P{0}"),
    ],
)
def test_each_family_has_its_marks(tokens: str, prompt: str) -> None:
    """Braces in code are code."""
    assert infill_prompt("P{0}", "S{}", {"<s>", *tokens.split()}) == prompt


@pytest.mark.parametrize("tokens", [(), ("<|im_start|>",), ("<fim_prefix>", "<fim_suffix>")])
def test_a_vocabulary_without_marks_has_no_form(tokens: tuple[str, ...]) -> None:
    """Half a set of marks is none."""
    assert infill_prompt("a", "b", tokens) is None
