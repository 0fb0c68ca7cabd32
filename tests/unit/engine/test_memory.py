"""Bytes of a batch, to the byte."""

from allod.core.step import LayerState
from allod.engine.memory import LEAST_CHUNK_TOKENS, Load, MemoryModel
from allod.testing.models import tiny_facts

FULL = LayerState("full", 2, bytes_per_token=10, fixed_bytes=0, window_tokens=None)
SLIDING = LayerState("sliding", 2, bytes_per_token=3, fixed_bytes=7, window_tokens=100)


def test_a_row_is_rounded_up_and_windows_stop_growing():
    """Fixed + bytes_per_token * min(rounded tokens, window), summed over layer kinds."""
    memory = MemoryModel(tiny_facts(layers=(FULL, SLIDING), capacity_step_tokens=64), 512)
    assert memory.row_bytes(0) == 7
    assert memory.row_bytes(1) == 640 + 7 + 192
    assert memory.row_bytes(64) == 640 + 7 + 192
    assert memory.row_bytes(65) == 1280 + 7 + 300
    assert memory.batch_bytes(3, 65) == 3 * memory.row_bytes(65)


def test_need_is_weights_and_state_and_the_larger_transient():
    """Prefill counts at its smallest allowed chunk, decode at one token per row."""
    memory = MemoryModel(
        tiny_facts(
            layers=(FULL,),
            capacity_step_tokens=1,
            weights_bytes=1000,
            transient_bytes_per_token=5,
            transient_bytes_per_token_and_context=1,
        ),
        2048,
    )
    long_prompt = Load(rows=2, longest_tokens=1100, prompt_tokens=1000)
    assert memory.needed_bytes(long_prompt) == 1000 + 22_000 + LEAST_CHUNK_TOKENS * 1005
    short_prompt = Load(rows=2, longest_tokens=1100, prompt_tokens=2)
    assert memory.needed_bytes(short_prompt) == 1000 + 22_000 + 2 * 1105


def test_chunks_shrink_to_what_is_left():
    """The chunk cap is the budget that state and weights leave, and never above the setting."""
    model = tiny_facts(
        layers=(FULL,),
        capacity_step_tokens=1,
        weights_bytes=0,
        budget_bytes=20_000,
        transient_bytes_per_token=10,
    )
    memory = MemoryModel(model, 512)
    assert memory.chunk_tokens(Load(1, 1000, 900)) == 512
    assert memory.chunk_tokens(Load(1, 1600, 900)) == 400
    assert memory.fits(Load(1, 2000 - LEAST_CHUNK_TOKENS, 900))
    assert not memory.fits(Load(1, 2001 - LEAST_CHUNK_TOKENS, 900))


def test_without_transients_the_setting_is_the_only_cap():
    """A model that measured none is not divided by."""
    model = tiny_facts(transient_bytes_per_token=0, transient_bytes_per_token_and_context=0)
    assert MemoryModel(model, 512).chunk_tokens(Load(1, 100, 50)) == 512
