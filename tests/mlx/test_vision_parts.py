"""The parts that read pictures do what mlx-vlm does in one go, and its faults are still there to correct."""

import json
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mlx_vlm.utils import load_model, load_processor
from tests.scaffolding.families import DEVICE
from tests.scaffolding.seer import Question, Seer, join_of, read, said, see, seer
from tests.scaffolding.vision_families import VISION_FAMILIES, picture

from allod.core.pictures import Digest
from allod.core.step import Shown
from allod.runner.arch.family import Family
from allod.runner.arch.gemma4 import Gemma4
from allod.runner.arch.layout import Layout, Llama4Layout
from allod.runner.arch.qwen3_vl import Qwen3Vl
from allod.runner.features import Features
from allod.runner.places import chunk_places, span_places
from allod.runner.taps import Taps, blocks_of

pytestmark = pytest.mark.mlx

WORD = 65
STEPS = 8
Seers = Callable[[str], Seer]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seers:
    """A small checkpoint of a family, made once in a session."""
    return lambda family: seer(family, tmp_path_factory.getbasetemp() / "seers")


def asked(own: Seer, width: int = 100, height: int = 80) -> Question:
    return own.question([picture(width, height, 1)], "What is it?")


# ---------------------------------------------------------------- positions


GRIDS = st.tuples(st.integers(1, 6), st.integers(1, 6))
PARTS = st.lists(st.integers(0, 7) | GRIDS, max_size=6)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_positions_are_mlx_vlms_in_any_cut(seen: Seers, family: str):
    """Words and pictures in any order, read in any chunks: each token has the position mlx-vlm gives it."""
    model: Any = load_model(seen(family).folder)
    language = model.language_model
    config = language.config
    merge = config.vision_config.spatial_merge_size

    @hypothesis_settings(max_examples=60, deadline=None)
    @given(parts=PARTS, cuts=st.sets(st.integers(1, 120)))
    def law(parts: list[int | tuple[int, int]], cuts: set[int]) -> None:
        tokens, grids, gallery, spans = [WORD], [], {}, []
        for part in parts:
            if isinstance(part, int):
                tokens += [WORD] * part
                continue
            grid = np.array([1, part[0] * merge, part[1] * merge])
            own = [config.vision_start_token_id, *[config.image_token_id] * (part[0] * part[1]), WORD]
            is_picture = np.array(own) == config.image_token_id
            digest = Digest(bytes([len(spans)] * 32))
            gallery[digest] = Features({}, None, is_picture, *span_places(is_picture, grid, merge))
            spans.append((len(tokens), len(own), digest))
            tokens += own
            grids.append(grid)
        found, deltas = language.get_rope_index(
            mx.array([tokens]), image_grid_thw=mx.array(np.stack(grids)) if grids else None
        )
        theirs = np.broadcast_to(np.array(found).reshape(-1, 1, len(tokens)), (3, 1, len(tokens)))[:, 0]
        ours, place = in_chunks(len(tokens), sorted(cut for cut in cuts if cut < len(tokens)), spans, gallery)
        np.testing.assert_array_equal(ours, theirs)
        assert place == len(tokens) + int(np.array(deltas).reshape(-1)[0])

    law()


def in_chunks(
    length: int, cuts: list[int], spans: list[tuple[int, int, Digest]], gallery: dict[Digest, Features]
) -> tuple[np.ndarray, int]:
    found, place = [], 0
    for start, end in zip([0, *cuts], [*cuts, length], strict=True):
        shown = [
            Shown(
                digest,
                max(first, start) - start,
                max(first, start) - first,
                min(first + count, end) - max(first, start),
            )
            for first, count, digest in spans
            if first < end and start < first + count
        ]
        places, place = chunk_places(end - start, place, shown, gallery)
        found.append(places)
    return np.concatenate(found, axis=1), place


@pytest.mark.parametrize("is_picture", [[0, 1, 1, 0], [1, 1, 0, 1, 1], [0, 0]])
def test_a_span_that_is_not_its_grid_is_an_error(is_picture: list[int]):
    """Two rows of two tokens stand together, or not at all."""
    with pytest.raises(ValueError, match="a picture of 4 tokens"):
        span_places(np.array(is_picture, dtype=np.bool_), np.array([1, 4, 4]), 2)


# ---------------------------------------------------------------- blocks of towers


class Evaluations:
    """Counts what asks MLX to compute."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for name in ("eval", "async_eval"):
            patch.setattr(mx, name, self._counted(getattr(mx, name)))

    def _counted(self, whole: Callable[..., None]) -> Callable[..., None]:
        def counted(*arrays: object) -> None:
            self.count += 1
            whole(*arrays)

        return counted


def arrays_of(question: Question) -> dict[str, mx.array]:
    (made,) = question.prepared.values()
    return {
        tensor.name: mx.array(np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape))
        for tensor in made.tensors
    }


def span_ids(question: Question) -> mx.array:
    (span,) = question.spans
    return mx.array([question.tokens[span.start : span.end]])


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "gemma3", "gemma4", "pixtral", "internvl_chat"])
def test_beginning_to_look_computes_nothing(seen: Seers, monkeypatch: pytest.MonkeyPatch, family: str):
    """The graph is built in one call; whoever decodes waits for none of the tower's work."""
    own = seen(family)
    question = asked(own)
    (span,), network = question.spans, own.loaded.network
    evaluations = Evaluations(monkeypatch)
    look = network.look(question.tokens[span.start : span.end], question.prepared[span.digest].tensors)
    assert evaluations.count == 0
    assert len(look.pieces) >= 3


def test_the_correction_of_qwen3_vl_is_still_needed(seen: Seers, monkeypatch: pytest.MonkeyPatch):
    """mlx-vlm evaluates the deep features as it is asked for embeddings. If not: remove arch/qwen3_vl.py."""
    own = seen("qwen3_vl")
    question = asked(own)
    model: Any = load_model(own.folder)
    ids, arrays = span_ids(question), arrays_of(question)
    evaluations = Evaluations(monkeypatch)
    theirs = Family(model).look(ids, arrays)
    assert evaluations.count > 0
    ours = Qwen3Vl(model, model.config.image_token_id).look(ids, arrays)
    assert set(ours) == set(theirs)
    for name, array in ours.items():
        other: Any = theirs[name]
        other = other if isinstance(other, mx.array) else mx.stack(other)
        np.testing.assert_allclose(np.array(array), np.array(other), rtol=1e-4, atol=1e-4)


def test_blocks_are_noted_in_their_order_and_only_when_asked(seen: Seers, monkeypatch: pytest.MonkeyPatch):
    """What each block returned, from the first to the last; outside of `noting` nothing is kept."""
    own = seen("qwen2_5_vl")
    model: Any = load_model(own.folder)
    ids, arrays = span_ids(asked(own)), arrays_of(asked(own))
    tower = list(model.vision_tower.blocks)
    kind, called = type(tower[0]), list[tuple[object, mx.array]]()
    whole: Callable[..., mx.array] = kind.__call__

    def spied(block: object, *arguments: object, **named: object) -> mx.array:
        called.append((block, whole(block, *arguments, **named)))
        return called[-1][1]

    monkeypatch.setattr(kind, "__call__", spied)
    taps = Taps(model.named_modules())
    with taps.noting() as noted:
        Family(model).look(ids, arrays)
    assert [id(block) for block, _ in called] == [id(block) for block in tower]
    assert [id(each) for each in noted[: len(tower)]] == [id(returned) for _, returned in called]
    count = len(noted)
    assert count == len(blocks_of(model.named_modules()))
    Family(model).look(ids, arrays)
    assert len(noted) == count


def test_a_block_that_listens_is_otherwise_the_same(seen: Seers):
    """Its parameters keep their paths, and its class its name."""
    own = seen("gemma3")
    plain: Any = load_model(own.folder)
    tapped: Any = load_model(own.folder)
    Taps(tapped.named_modules())
    assert [path for path, _ in plain.named_modules()] == [path for path, _ in tapped.named_modules()]
    kinds = [[type(each).__name__ for each in blocks_of(model.named_modules())] for model in (plain, tapped)]
    assert kinds[0] == kinds[1]


# ---------------------------------------------------------------- Gemma 4


OVERLAY = "_apply_blockwise_bidirectional_overlay"


def answer(own: Seer, chunk: int) -> list[int]:
    """What a question is answered with when its prompt is read in such chunks."""
    question = asked(own)
    runner = own.runner()
    see(runner, question, seconds=60.0)
    read(runner, 1, question, chunk)
    return said(runner, [join_of(1, question)], STEPS)[1]


def text_model_of(own: Seer) -> Any:
    network: Any = own.loaded.network
    return network._language.model


@pytest.mark.parametrize("chunk", [1, 3, 9])
def test_a_picture_is_seen_both_ways_whatever_was_read_before(seen: Seers, chunk: int):
    """In chunks or at once: the answer is the same."""
    own = seen("gemma4_bidirectional")
    assert answer(own, chunk) == answer(own, 1000)


def test_the_correction_of_gemma4_is_still_needed(seen: Seers):
    """Without it a picture that is not read with all before it is seen causally. If not: remove it."""
    own = seen("gemma4_bidirectional")
    whole = answer(own, 1000)
    corrected = text_model_of(own).__dict__.pop(OVERLAY)
    try:
        assert answer(own, 1000) == whole
        assert answer(own, 1) != whole
    finally:
        object.__setattr__(text_model_of(own), OVERLAY, corrected)


@pytest.mark.parametrize("before", [0, 3])
def test_the_overlay_joins_the_tokens_of_one_picture(seen: Seers, before: int):
    """Each picture with itself, over the columns of its own chunk; words and the past stay as they are."""
    text_model = text_model_of(seen("gemma4_bidirectional"))
    kinds = mx.array([[0, 1, 1, 0, 1, 1]])
    causal = np.tril(np.ones((6, before + 6), dtype=bool), before)
    wanted = causal.copy()
    for start in (1, 4):
        wanted[start : start + 2, before + start : before + start + 2] = True
    found = getattr(text_model, OVERLAY)(mx.array(causal)[None, None], kinds)
    np.testing.assert_array_equal(np.array(found)[0, 0], wanted)
    assert getattr(text_model, OVERLAY)(mx.array(causal), None).tolist() == causal.tolist()


def test_small_gemma4_is_left_as_it_is(seen: Seers):
    """It sees causally, so that its pictures may be cut and its model is not touched."""
    own = seen("gemma4")
    model: Any = load_model(own.folder)
    assert not Gemma4(model).whole_spans
    assert OVERLAY not in text_model_of(own).__dict__


# ---------------------------------------------------------------- Llama 4


def test_llama4_has_one_tile_for_each_picture(seen: Seers):
    """As many places as features. mlx-vlm's own layout has a tile's places too many: if not, remove ours.

    Only shapes are compared: the model would read past the end of its features.
    """
    own = seen("llama4")
    assert own.kit.chat is not None
    form, image = own.kit.chat.template.picture_form, picture(400, 90, 1)
    config = json.loads((own.folder / "config.json").read_text())

    def shape(layout: Layout) -> tuple[int, int]:
        """Tiles, and places for pieces of the picture."""
        made: Any = layout.of(image, form)
        places = np.asarray(made["input_ids"]).reshape(-1) == config["image_token_index"]
        return len(np.asarray(made["pixel_values"])), int(places.sum())

    tiles, places_of_tile = shape(Llama4Layout(load_processor(own.folder)))
    assert tiles == 1
    (span,) = own.question([image], "What?").spans
    assert span.length >= places_of_tile > 0
    theirs: Any = load_processor(own.folder)
    theirs.image_processor.max_patches = 4
    tiles, places = shape(Layout(theirs))
    assert tiles > 1
    assert places == (tiles + 1) * places_of_tile


# ---------------------------------------------------------------- bytes

SLACK_BYTES = 2**16 if DEVICE == "cpu" else 2**22
"""Small buffers are rounded up, and what is freed late counts twice."""


@pytest.mark.parametrize("size", [(200, 150), (320, 256)])
@pytest.mark.parametrize("family", sorted(VISION_FAMILIES))
def test_looking_takes_no_more_than_its_model_is_said_to(seen: Seers, family: str, size: tuple[int, int]):
    """Tensors, features and what looking takes for the time being, in one go or piece by piece."""
    own = seen(family)
    sight, question = own.loaded.sight, asked(own, *size)
    assert sight is not None
    (span,) = question.spans
    features_bytes = span.length * sight.feature_bytes_per_token
    most_bytes = span.tensor_bytes + features_bytes + sight.transient_bytes(span.tensor_bytes)
    for seconds in (0.0, 60.0):
        runner = own.runner()
        mx.synchronize()
        mx.clear_cache()
        before_bytes = mx.get_active_memory()
        mx.reset_peak_memory()
        see(runner, question, seconds)
        mx.synchronize()
        assert mx.get_peak_memory() - before_bytes <= most_bytes + SLACK_BYTES
        assert mx.get_active_memory() - before_bytes <= features_bytes + SLACK_BYTES
