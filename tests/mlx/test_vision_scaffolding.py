"""The small vision-language checkpoints are what mlx-vlm takes, and their answers depend on the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from mlx_vlm.generate.ar import generate_step
from mlx_vlm.utils import load_model, load_processor
from PIL import Image
from tests.scaffolding.vision.parts import PRINTABLE
from tests.scaffolding.vision_families import VISION_FAMILIES, picture, save_vision_family

pytestmark = pytest.mark.mlx

TOKENS = 16
CLEAR = 1e-3
"""Two logits farther apart than this keep their order when a product is summed in another order."""

SEEN = 1e-2
"""By this part of the largest logit at least, another picture changes the logits."""

LONG_TEXT = " ".join(f"word{index}" for index in range(40))
FIRST, OTHER, TALL = picture(80, 64, 1), picture(80, 64, 2), picture(64, 100, 3)


@dataclass(frozen=True)
class Checkpoint:
    """A family's model and processor as mlx-vlm loads them."""

    name: str
    model: Any
    processor: Any


@dataclass(frozen=True)
class Answer:
    """Greedy tokens, the first token's log probabilities, and how near a tie the nearest one was."""

    tokens: tuple[int, ...]
    first: np.ndarray
    margin: float


@pytest.fixture(scope="module", params=sorted(VISION_FAMILIES))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = save_vision_family(request.param, tmp_path_factory.mktemp("vision") / request.param)
    return Checkpoint(request.param, load_model(folder), load_processor(folder))


def prompt_of(checkpoint: Checkpoint, pictures: Sequence[Image.Image], words: str) -> str:
    content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": words}]
    return checkpoint.processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )


def inputs_of(checkpoint: Checkpoint, pictures: Sequence[Image.Image], words: str) -> dict[str, Any]:
    prompt = prompt_of(checkpoint, pictures, words)
    # LLaVA's hands every option on to its image processor, which knows none of the tokenizer's.
    options = {} if checkpoint.name == "llava" else {"add_special_tokens": False}
    return dict(checkpoint.processor(text=[prompt], images=list(pictures), **options))


def answer(checkpoint: Checkpoint, pictures: Sequence[Image.Image], words: str) -> Answer:
    inputs = inputs_of(checkpoint, pictures, words)
    ids, mask, pixels = (inputs.pop(name) for name in ("input_ids", "attention_mask", "pixel_values"))
    steps = generate_step(ids, checkpoint.model, pixels, mask, max_tokens=TOKENS, temperature=0.0, **inputs)
    drawn = [(token, np.array(row.tolist())) for token, row in steps]
    best = [np.sort(row)[-2:] for _, row in drawn]
    tokens = tuple(cast("int", token) for token, _ in drawn)
    return Answer(tokens, drawn[0][1], min(float(top - second) for second, top in best))


def test_mlx_vlm_takes_the_checkpoint(checkpoint: Checkpoint):
    """Both the model and the processor are mlx-vlm's own classes for the family, by the folder alone."""
    assert type(checkpoint.model).__module__.startswith("mlx_vlm.models.")
    assert type(checkpoint.processor).__module__.startswith("mlx_vlm.models.")


def test_a_picture_becomes_the_same_ids_alone_and_beside_another(checkpoint: Checkpoint):
    """The processor puts a picture's ids where its placeholder was, whatever else is in the prompt."""
    alone = inputs_of(checkpoint, [FIRST], "What is it?")
    words = checkpoint.processor.tokenizer(prompt_of(checkpoint, [], "What is it?"))["input_ids"]
    pair = inputs_of(checkpoint, [FIRST, TALL], "What is it?")
    one, two = (inputs["input_ids"].tolist()[0] for inputs in (alone, pair))
    assert len(words) < len(one) < len(two)
    shared = next(index for index, (left, right) in enumerate(zip(one, two, strict=False)) if left != right)
    assert one[shared:] == two[len(two) - len(one) + shared :]
    assert len(pair["pixel_values"]) > 0


@pytest.mark.parametrize(
    ("pictures", "words"),
    [((FIRST,), "What is it?"), ((FIRST, TALL), "What is it?"), ((FIRST,), LONG_TEXT)],
    ids=["one picture", "two pictures", "a picture and a long text"],
)
def test_an_answer_is_text_without_ties(
    checkpoint: Checkpoint, pictures: tuple[Image.Image, ...], words: str
):
    """Greedy answers have their full length, are printable, and no step of them is a close call."""
    given = answer(checkpoint, pictures, words)
    assert len(given.tokens) == TOKENS
    assert max(given.tokens) < PRINTABLE
    assert given.margin >= CLEAR


def test_another_picture_gets_another_answer(checkpoint: Checkpoint):
    """Two pictures of the same size differ in the logits after the same prompt, and in the text."""
    left, right = (answer(checkpoint, [seen], "What is it?") for seen in (FIRST, OTHER))
    assert np.abs(left.first - right.first).max() > SEEN * np.abs(left.first).max()
    assert left.tokens != right.tokens


def test_the_order_of_pictures_matters(checkpoint: Checkpoint):
    """A model that mixes its pictures up gives itself away."""
    left, right = (answer(checkpoint, pictures, "What is it?") for pictures in ([FIRST, TALL], [TALL, FIRST]))
    assert left.tokens != right.tokens


def test_a_seed_names_the_weights(tmp_path: Path):
    """The same seed writes the same bytes; another one does not."""
    written = [
        (save_vision_family("llava", tmp_path / str(place), seed) / "model.safetensors").read_bytes()
        for place, seed in enumerate((5, 5, 6))
    ]
    assert written[0] == written[1] != written[2]


def test_a_seed_names_the_picture():
    """The same seed paints the same picture; another one does not."""
    assert picture(20, 30, 1).tobytes() == picture(20, 30, 1).tobytes() != picture(20, 30, 2).tobytes()
    assert picture(20, 30, 1).size == (20, 30)
