"""Small checkpoints that see, driven by hand: what a prompt becomes, and how a runner reads it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from PIL import Image

from allod.core.ids import SequenceId, TokenId
from allod.core.pictures import Digest, Gallery, Picture, PictureSpan, PreparedPicture, joined_pieces
from allod.core.ports import Runner
from allod.core.request import Conversation, Message
from allod.core.sampling import Sampling
from allod.core.step import Encode, Join, ModelFacts, Prefill, StepPlan
from allod.device.choose import choose
from allod.local.kit import Kit, load_kit
from allod.media.settings import Limits, MediaSettings
from allod.registry.card import describe
from allod.runner.load import load
from allod.runner.loaded import LoadedModel
from allod.runner.probe import measure
from allod.runner.processor import MlxProcessor, load_preprocessor
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner
from allod.testing.pictures import shown_in
from allod.text.expansion import spliced
from tests.scaffolding.families import DEVICE
from tests.scaffolding.timings import UNMEASURED
from tests.scaffolding.vision_families import save_vision_family

BUDGET_BYTES = 2**31
GREEDY = Sampling(temperature=0.0)
MAX_PIXELS = 4_000_000


def png_of(image: Image.Image) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Question:
    """A prompt with pictures.

    Attributes:
        text: as a person would have written it for the family's processor: with forms, not marks.
        tokens: of the whole prompt.
        spans: which of them are pictures.
        prepared: the pictures by their digests.
    """

    text: str
    tokens: tuple[TokenId, ...]
    spans: tuple[PictureSpan, ...]
    prepared: dict[Digest, PreparedPicture]


@dataclass(frozen=True)
class Seer:
    """One small checkpoint with everything that serves it."""

    folder: Path
    loaded: LoadedModel
    kit: Kit
    processor: MlxProcessor

    @cached_property
    def facts(self) -> ModelFacts:
        """Of the one loaded model; measured once."""
        return measure(self.loaded, choose(DEVICE), BUDGET_BYTES, 4096)

    def runner(self) -> MlxRunner:
        """A fresh runner over the one loaded model."""
        return MlxRunner(self.loaded.network, self.facts)

    def question(self, images: Sequence[Image.Image], words: str) -> Question:
        """A user's turn with these pictures before these words."""
        gallery = Gallery()
        marks = [gallery.hang(Picture(png_of(image), "picture")) for image in images]
        content = joined_pieces([*marks, words])
        conversation = Conversation((Message("user", content),), pictures=tuple(gallery.pictures))
        assert self.kit.chat is not None
        template = self.kit.chat.template
        prompt = template.render(conversation)
        form = template.picture_form
        made = [self.processor.prepare(png_of(image), form, MAX_PIXELS) for image in images]
        placed = spliced(prompt, [each.tokens for each in made], self.kit.codec)
        digests = [_digest(made, index) for index in range(len(made))]
        spans = tuple(
            PictureSpan(place.start, place.length, digests[place.picture], made[place.picture].tensor_bytes)
            for place in placed.places
        )
        for mark in marks:
            prompt = prompt.replace(mark, form)
        return Question(prompt, placed.tokens, spans, dict(zip(digests, made, strict=True)))


@cache
def seer(family: str, folder: Path) -> Seer:
    """A checkpoint of this family, made and loaded once."""
    saved = save_vision_family(family, folder / family)
    card = describe(saved, family, "directory", "test")
    assert card.vision
    return Seer(
        saved,
        load(saved, RunnerSettings(), choose(DEVICE), BUDGET_BYTES, UNMEASURED),
        load_kit(saved, card),
        load_preprocessor(saved, Limits.of(MediaSettings())),
    )


def see(runner: Runner, question: Question, seconds: float = 0.0) -> int:
    """Look at every picture of a question, so long at a time; returns how many pieces that took."""
    done = 0
    for span in question.spans:
        runner.receive(span.digest, question.prepared[span.digest].tensors)
        tokens = question.tokens[span.start : span.end]
        left = 1
        while left:
            encoded = runner.launch(StepPlan(encode=Encode(span.digest, tokens, seconds))).collect().encoded
            assert encoded is not None
            done, left = done + encoded.pieces_done, encoded.pieces_left
    return done


def read(runner: Runner, sequence: int, question: Question, chunk: int) -> None:
    """Read a prompt in chunks; where pictures must be whole, a chunk is as long as it must be."""
    tokens, end = question.tokens, len(question.tokens) - 1
    sight = runner.facts.sight
    start = 0
    while start < end:
        stop = min(start + chunk, end)
        if sight is not None and sight.whole_spans:
            inside = (span.end for span in question.spans if span.start < stop < span.end)
            stop = max([stop, *inside])
        shown = shown_in(question.spans, start, stop)
        runner.launch(StepPlan(prefill=(Prefill(SequenceId(sequence), tokens[start:stop], shown),))).collect()
        start = stop


def join_of(sequence: int, question: Question, sampling: Sampling = GREEDY) -> Join:
    """Let a prompt that was read become a row."""
    identifier = SequenceId(sequence)
    history = question.tokens if sampling.needs_history else ()
    return Join(identifier, ((identifier, sampling),), question.tokens[-1], history)


def said(runner: Runner, joins: Sequence[Join], steps: int) -> dict[int, list[TokenId]]:
    """What rows that join together say in so many steps; they are released afterwards."""
    rows = tuple(sequence for join in joins for sequence, _ in join.sequences)
    told: dict[int, list[TokenId]] = {int(row): [] for row in rows}
    plan = StepPlan(join=tuple(joins), decode=rows)
    for _ in range(steps):
        for sampled in runner.launch(plan).collect().sampled:
            told[int(sampled.sequence)].append(sampled.token)
        plan = StepPlan(decode=rows)
    runner.launch(StepPlan(release=rows)).collect()
    return told


def _digest(made: Sequence[PreparedPicture], index: int) -> Digest:
    """Pictures are told apart by what the tower reads of them."""
    return Digest(repr([(tensor.name, hash(tensor.data)) for tensor in made[index].tensors]).encode())
