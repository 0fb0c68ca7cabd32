"""Greedy text over pictures equals mlx-vlm's own, for every family, alone and in a batch with text rows."""

from collections.abc import Sequence
from typing import Any, cast

import mlx.core as mx
import pytest
from mlx_vlm.generate.ar import generate_step
from mlx_vlm.utils import load_model, load_processor
from PIL import Image
from tests.contract.test_runner_archive_contract import conversation
from tests.scaffolding.families import DEVICE
from tests.scaffolding.seer import Question, Seer, join_of, read, said, see, seer
from tests.scaffolding.vision_families import VISION_FAMILIES, picture

from allod.core.blocks import BLOCK_TOKENS
from allod.core.ids import SequenceId
from allod.core.sampling import Sampling
from allod.core.step import StepPlan
from allod.runner.step import MlxRunner
from allod.testing.archive import FakeArchive

pytestmark = [pytest.mark.mlx, pytest.mark.slow]

STEPS = 8
CHUNK = 11
"""Odd and short, so that chunks end within pictures wherever they may."""

LOGIT_TOLERANCE = 2e-3 if DEVICE == "cpu" else 2e-2
"""Sums in another order round otherwise, on a GPU more so."""

LONG = " ".join(f"and then word number {number} follows" for number in range(9))
"""More bytes than any window here is wide, and than the 256 places by which MLX's caches grow."""

FIRST, SECOND = picture(100, 80, 1), picture(64, 96, 2)
CASES: dict[str, tuple[Sequence[Image.Image], str]] = {
    "one": ([FIRST], "What is it?"),
    "two": ([FIRST, SECOND], "Which is larger?"),
    "long": ([FIRST], LONG),
}


@pytest.fixture(scope="module", params=sorted(VISION_FAMILIES))
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seer:
    return seer(request.param, tmp_path_factory.getbasetemp() / "seers")


@pytest.fixture(scope="module")
def theirs(own: Seer) -> tuple[Any, Any]:
    """mlx-vlm's model and processor of the same checkpoint."""
    return load_model(own.folder), load_processor(own.folder)


def reference(
    theirs: tuple[Any, Any], images: Sequence[Image.Image], question: Question
) -> tuple[list[int], list[float]]:
    """What mlx-vlm says to the same text and pictures, and its log probabilities of the first token.

    The tokens of the prompt are compared on the way.
    """
    model, processor = theirs
    # LLaVA's hands every option on to its image processor, which knows none of the tokenizer's.
    name = type(processor).__module__.split(".")[2]
    options = {} if name == "llava" else {"add_special_tokens": False}
    made = dict(processor(text=[question.text], images=list(images), **options))
    asked = made["input_ids"][0].tolist()
    if name == "llava":
        # Nor can it be told not to put a BOS before every text.
        made["input_ids"], made["attention_mask"] = made["input_ids"][:, 1:], made["attention_mask"][:, 1:]
        asked = asked[1:]
    assert asked == list(question.tokens)
    known = ("input_ids", "pixel_values", "attention_mask")
    more = {name: value for name, value in made.items() if name not in known}
    steps = generate_step(
        made["input_ids"],
        model,
        made["pixel_values"],
        made["attention_mask"],
        max_tokens=STEPS,
        temperature=0.0,
        **more,
    )
    drawn = list(zip(steps, range(STEPS), strict=False))
    first = cast("list[float]", drawn[0][0][1].tolist())
    return [int(token) for (token, _), _ in drawn], first


@pytest.mark.parametrize("case", CASES)
def test_alone_equals_mlx_vlm(own: Seer, theirs: tuple[Any, Any], case: str) -> None:
    """A row with pictures says what mlx-vlm says, however its prompt and its pictures are cut in pieces."""
    images, words = CASES[case]
    question = own.question(images, words)
    runner = own.runner()
    see(runner, question)
    read(runner, 1, question, CHUNK)
    wanted, first = reference(theirs, images, question)
    scored = Sampling(temperature=0.0, top_logprobs=20)
    plan = StepPlan(join=(join_of(1, question, scored),), decode=(SequenceId(1),))
    begun = runner.launch(plan).collect().sampled[0]
    later = [runner.launch(StepPlan(decode=(SequenceId(1),))).collect().sampled[0] for _ in range(STEPS - 1)]
    assert [begun.token, *(sampled.token for sampled in later)] == wanted
    scores = begun.scores
    assert scores is not None
    for token, logprob in scores.alternatives:
        assert logprob == pytest.approx(first[token], abs=LOGIT_TOLERANCE)


def test_in_a_batch_with_text_rows_equals_alone(own: Seer) -> None:
    """Rows with one, two and no pictures share steps, and each says what it says alone."""
    questions = {
        1: own.question(*CASES["one"]),
        2: own.question([], "A question of words, and nothing else."),
        3: own.question(*CASES["two"]),
        4: own.question([], LONG),
    }
    runner = own.runner()
    alone: dict[int, list[int]] = {}
    for row, question in questions.items():
        see(runner, question, seconds=60.0)
        read(runner, row, question, 1000)
        alone |= said(runner, [join_of(row, question)], STEPS)
    if not runner.facts.batchable:
        pytest.skip(runner.facts.alone_because)
    for row, question in questions.items():
        read(runner, row, question, CHUNK)
    together = said(runner, [join_of(row, question) for row, question in questions.items()], STEPS)
    assert together == alone


def test_text_alone_equals_mlx_vlm(own: Seer, theirs: tuple[Any, Any]) -> None:
    """A prompt without pictures says what mlx-vlm says to it."""
    question = own.question([], LONG)
    runner = own.runner()
    read(runner, 1, question, CHUNK)
    model, _ = theirs
    steps = generate_step(mx.array([question.tokens]), model, None, None, max_tokens=STEPS, temperature=0.0)
    wanted = [int(token) for (token, _), _ in zip(steps, range(STEPS), strict=False)]
    assert said(runner, [join_of(1, question)], STEPS)[1] == wanted


def test_a_picture_that_was_read_can_be_read_again(own: Seer) -> None:
    """Reading leaves the features as they are: the second answer to the same question is the first."""
    question = own.question([FIRST], "What is it?")
    runner = own.runner()
    pieces = see(runner, question)
    assert pieces >= 3, "a tower is looked through in blocks"
    answers: list[list[int]] = []
    for chunk in (1000, 1000, CHUNK):
        read(runner, 1, question, chunk)
        answers.append(said(runner, [join_of(1, question)], STEPS)[1])
    assert answers[0] == answers[1] == answers[2]


def test_two_pictures_of_one_size_are_told_apart(own: Seer) -> None:
    """Another picture of the same size, with the same words, is answered otherwise."""
    one, other = (own.question([picture(100, 80, seed)], "What is it?") for seed in (1, 5))
    assert one.tokens == other.tokens
    assert one.spans[0].digest != other.spans[0].digest
    runner = own.runner()
    answers: list[list[int]] = []
    for question in (one, other):
        see(runner, question, seconds=60.0)
        read(runner, 1, question, 1000)
        answers.append(said(runner, [join_of(1, question)], STEPS)[1])
    assert answers[0] != answers[1]


def test_texts_survive_a_restart(own: Seer) -> None:
    """What a model that sees has read without pictures comes back from disk, and changes nothing."""
    facts = own.runner().facts
    if facts.unkept_because:
        pytest.skip(facts.unkept_because)
    assert facts.unstored_because == ""
    archive = FakeArchive()
    without, read = conversation(own.runner(), None, 2)
    first, again = (
        conversation(MlxRunner(own.loaded.network, facts, archive=archive), archive, 2) for _ in range(2)
    )
    assert first[0] == again[0] == without
    assert again[1] <= read - 2 * BLOCK_TOKENS
