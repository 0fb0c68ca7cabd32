"""The pacer's promises in simulation, with the lag of one step in flight."""

from hypothesis import given
from hypothesis import strategies as st

from allod.engine.pacing import (
    CHUNK_MULTIPLE_TOKENS,
    LEAST_CHUNK_TOKENS,
    SLOW_STEPS,
    STALL_SHARE,
    Beside,
    PrefillPacer,
)

STALL_SECONDS = 0.25


def bound_seconds(decode_seconds: float) -> float:
    """How long a step may take: the setting, or where decoding is slow so many of its steps."""
    return max(STALL_SECONDS, SLOW_STEPS * decode_seconds / STALL_SHARE)


LEARNING_CHUNKS = 24
NO_CAP = 10**9


class Simulation:
    """Long prompts beside decoding rows; the chunk of step k+1 is sized before step k is known."""

    def __init__(self, decode_seconds: float) -> None:
        self.pacer = PrefillPacer(2048, STALL_SECONDS)
        self.decode_seconds = decode_seconds
        self.pacer.observe(beside=Beside.STREAMS, chunk_tokens=0, seconds=decode_seconds)
        self.flying: tuple[int, float] | None = None

    def step(self, token_seconds: float) -> tuple[int, float, float]:
        """Chunk, predicted seconds and real seconds of the next step."""
        chunk = self.pacer.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP)
        predicted = self.pacer.predicted_seconds(chunk, beside=Beside.STREAMS)
        if self.flying is not None:
            size, seconds = self.flying
            self.pacer.observe(beside=Beside.STREAMS, chunk_tokens=size, seconds=seconds)
        real = self.decode_seconds + chunk * token_seconds
        self.flying = chunk, real
        return chunk, predicted, real


FACTORS = st.lists(st.floats(0.5, 2.0), min_size=LEARNING_CHUNKS + 1, max_size=80)
DECODE = st.floats(0.001, 0.15)
COST = st.floats(1e-5, 1e-3)


@given(factors=FACTORS, decode_seconds=DECODE, cost=COST)
def test_predicted_stalls_stay_within_the_bound(factors: list[float], decode_seconds: float, cost: float):
    """Prediction never exceeds the target, the least chunk excepted, when costs change by up to two a step.

    A real stall exceeds it by at most the factor by which the cost rose since it was last seen.
    """
    simulation, costs = Simulation(decode_seconds), [cost]
    for step, factor in enumerate(factors):
        costs.append(costs[-1] * factor)
        chunk, predicted, real = simulation.step(costs[-1])
        if step < LEARNING_CHUNKS or chunk == LEAST_CHUNK_TOKENS:
            continue
        target = STALL_SHARE * bound_seconds(decode_seconds)
        assert predicted <= target + 1e-9
        last_seen = costs[-3]
        assert real <= decode_seconds + (target - decode_seconds) * costs[-1] / last_seen + 1e-9


@given(growth=st.floats(1.0, 1.08), decode_seconds=DECODE, cost=COST)
def test_a_growing_context_keeps_real_stalls_within_the_bound(
    growth: float, decode_seconds: float, cost: float
):
    """Cost per token that rises by up to 8 % a chunk is absorbed by the share that is held back."""
    simulation = Simulation(decode_seconds)
    for step in range(60):
        chunk, _, real = simulation.step(cost * growth**step)
        if step >= LEARNING_CHUNKS and chunk > LEAST_CHUNK_TOKENS:
            assert real <= bound_seconds(decode_seconds)


@given(decode_seconds=DECODE, cost=COST)
def test_steady_costs_use_the_target(decode_seconds: float, cost: float):
    """The bound is not kept by crawling: at steady cost a chunk fills the target to one multiple of 16."""
    simulation = Simulation(decode_seconds)
    for _ in range(LEARNING_CHUNKS):
        simulation.step(cost)
    chunk, _, real = simulation.step(cost)
    spare = STALL_SHARE * bound_seconds(decode_seconds) - real
    assert chunk == 2048 or spare <= (CHUNK_MULTIPLE_TOKENS + 1) * cost + 1e-9


@given(base=COST, share=st.floats(0.0, 1.0), decode_seconds=st.floats(0.001, 0.1))
def test_a_cost_that_rises_with_the_context_is_foreseen(base: float, share: float, decode_seconds: float):
    """Where each token before a token adds to its cost, chunks shrink in time, from the second prompt on."""
    slope = share * base / 500
    simulation = Simulation(decode_seconds)
    pacer, flying = simulation.pacer, None
    for prompt in range(3):
        context = 0
        while context < 6000:
            chunk = pacer.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP, context_tokens=context)
            real = decode_seconds + chunk * (base + slope * (context + chunk / 2))
            if flying is not None:
                size, seconds, before = flying
                pacer.observe(
                    beside=Beside.STREAMS, chunk_tokens=size, seconds=seconds, context_tokens=before
                )
            flying = chunk, real, context
            if prompt and chunk > LEAST_CHUNK_TOKENS:
                assert real <= bound_seconds(decode_seconds)
            context += chunk
