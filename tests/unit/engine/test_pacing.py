"""Chunk sizes from measured costs, in exact numbers."""

import pytest

from allod.engine.pacing import ALONE_SECONDS, FIRST_CHUNK_TOKENS, Beside, PrefillPacer, Spent

NO_CAP = 10**9


def pacer(max_chunk_tokens: int = 2048, max_stall_seconds: float = 0.25) -> PrefillPacer:
    return PrefillPacer(max_chunk_tokens, max_stall_seconds)


def trained(token_seconds: float, decode_seconds: float = 0.0, **limits: float) -> PrefillPacer:
    """A pacer that has seen large chunks of this cost and decode steps of that."""
    made = pacer(**limits)  # pyright: ignore[reportArgumentType]
    if decode_seconds:
        made.observe(beside=Beside.STREAMS, chunk_tokens=0, seconds=decode_seconds)
    made.observe(beside=Beside.NOBODY, chunk_tokens=2048, seconds=2048 * token_seconds)
    return made


@pytest.mark.parametrize("beside", Beside)
def test_the_first_chunk_is_small(beside: Beside):
    """Nothing is known, so little is risked."""
    assert pacer().chunk_tokens(beside=beside, cap_tokens=NO_CAP) == FIRST_CHUNK_TOKENS


def test_cheap_chunks_double_up_to_the_setting():
    """A chunk is at most twice the largest that was seen to work."""
    made, sizes = pacer(max_chunk_tokens=300), []
    for _ in range(6):
        size = made.chunk_tokens(beside=Beside.NOBODY, cap_tokens=NO_CAP)
        made.observe(beside=Beside.NOBODY, chunk_tokens=size, seconds=size * 1e-6)
        sizes.append(size)
    assert sizes == [32, 64, 128, 256, 288, 288]


def test_what_a_step_reads_already_leaves_less():
    """A second prompt gets what the first leaves of the time and of the size that was seen to work."""
    made = trained(0.001, 0.04)
    assert made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP) == 160
    assert made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP, spent=Spent(100, 0.1)) == 60
    assert made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=120, spent=Spent(100, 0.1)) == 20
    assert made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP, spent=Spent(150, 0.15)) == 0


def test_chunks_of_several_prompts_say_what_tokens_cost_but_nothing_of_context():
    """They do not follow one another, whatever the numbers look like."""
    made = trained(0.001)
    made.observe(beside=Beside.NOBODY, chunk_tokens=100, seconds=0.1, prompts=2)
    made.observe(beside=Beside.NOBODY, chunk_tokens=100, seconds=1.0, context_tokens=100, prompts=2)
    assert made.reading_seconds(0, 100) == pytest.approx(1.0)
    assert made.reading_seconds(1000, 1100) == pytest.approx(1.0)


def test_beside_decoding_rows_the_sum_meets_the_target():
    """(0.8 * 250 ms - 40 ms) / 1 ms per token = 160 tokens."""
    made = trained(0.001, decode_seconds=0.040)
    assert made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP) == 160
    assert made.predicted_seconds(160, beside=Beside.STREAMS) == pytest.approx(0.2)


def test_alone_a_chunk_lasts_a_second():
    """1 s at 1 ms per token is 1000 tokens, rounded down to 992."""
    assert trained(0.001, decode_seconds=0.040).chunk_tokens(beside=Beside.NOBODY, cap_tokens=NO_CAP) == 992


def test_rows_that_have_only_begun_wait_for_a_second():
    """What they decode in the step counts."""
    assert (
        trained(0.001, decode_seconds=0.040).chunk_tokens(beside=Beside.BEGINNERS, cap_tokens=NO_CAP) == 960
    )


@pytest.mark.parametrize("beside", [Beside.NOBODY, Beside.BEGINNERS])
def test_a_prompt_is_read_to_its_end_if_that_takes_a_little_longer(beside: Beside):
    """A quarter, and only where no stream waits for it; nothing that memory forbids."""
    made = trained(0.001)
    most = made.chunk_tokens(beside=beside, cap_tokens=NO_CAP)

    def chunk(rest: int, cap: int = NO_CAP, spent: int = 0) -> int:
        reads = Spent(spent, 0.001 * spent)
        return made.chunk_tokens(beside=beside, cap_tokens=cap, spent=reads, rest_tokens=rest)

    assert most == 992
    assert [chunk(rest) for rest in (10, 990, 993, 1200)] == [most, most, 993, 1200]
    assert chunk(1300) == most
    assert chunk(1200, cap=1100) == most
    assert chunk(300, spent=900) == 300
    assert chunk(400, spent=900) == chunk(0, spent=900) < 110
    streams = made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP, rest_tokens=210)
    assert streams == made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP) < 210


def test_memory_caps_and_rounding():
    """The cap is obeyed; chunks are multiples of 16 from 128 tokens on."""
    assert trained(1e-6).chunk_tokens(beside=Beside.NOBODY, cap_tokens=100) == 100
    assert trained(1e-6).chunk_tokens(beside=Beside.NOBODY, cap_tokens=200) == 192


def test_a_price_for_the_chunk_itself_does_not_hold_it_down():
    """50 ms to decode, 60 ms a chunk and 1 ms a token: chunks find the 90 tokens that fit into 200 ms."""
    made = pacer()
    made.observe(beside=Beside.STREAMS, chunk_tokens=0, seconds=0.050)
    size = 0
    for _ in range(40):
        size = made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP)
        made.observe(beside=Beside.STREAMS, chunk_tokens=size, seconds=0.050 + 0.060 + size * 0.001)
    assert 80 <= size <= 90


def test_a_prompt_always_gets_on():
    """Even when decoding alone breaks any bound, 16 tokens are read."""
    assert trained(0.1, decode_seconds=1.5).chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP) == 16
    assert trained(0.0, decode_seconds=1.5).chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP) == 16


def test_where_decoding_is_slow_a_step_takes_three_of_its_steps():
    """100 ms to decode and 2 ms a token: 100 tokens make it 300 ms, beyond the 200 that are aimed at."""
    assert trained(0.002, decode_seconds=0.1).chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP) == 100


def test_slower_counts_at_once_and_faster_by_half():
    """One slow chunk is believed; recovery takes several."""
    made = trained(0.001)
    made.observe(beside=Beside.NOBODY, chunk_tokens=2048, seconds=2048 * 0.002)
    assert made.chunk_tokens(beside=Beside.NOBODY, cap_tokens=NO_CAP) == 496
    made.observe(beside=Beside.NOBODY, chunk_tokens=496, seconds=496 * 0.001)
    assert made.predicted_seconds(1000, beside=Beside.NOBODY) == pytest.approx(1.5)


def test_the_tail_of_a_prompt_teaches_nothing():
    """Three tokens that take as long as a decode step do not make tokens look dear."""
    made = trained(0.001)
    before = made.chunk_tokens(beside=Beside.NOBODY, cap_tokens=NO_CAP)
    made.observe(beside=Beside.NOBODY, chunk_tokens=3, seconds=0.03)
    assert made.chunk_tokens(beside=Beside.NOBODY, cap_tokens=NO_CAP) == before
    made.observe(beside=Beside.NOBODY, chunk_tokens=300, seconds=ALONE_SECONDS + 0.2)
    assert made.chunk_tokens(beside=Beside.NOBODY, cap_tokens=NO_CAP) < before


def test_a_hiccup_does_not_hold_chunks_down():
    """A decode step of 8 s is disbelieved as soon as a step that also read a chunk took 60 ms."""
    made = trained(0.001, decode_seconds=0.040)
    made.observe(beside=Beside.STREAMS, chunk_tokens=0, seconds=8.0)
    assert made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP) == 16
    made.observe(beside=Beside.STREAMS, chunk_tokens=16, seconds=0.060)
    assert made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP) > 100


def test_decode_cost_is_smoothed():
    """0.04 then 0.08 with weight 1/4 is believed to be 0.05."""
    made = trained(0.001, decode_seconds=0.04)
    made.observe(beside=Beside.STREAMS, chunk_tokens=0, seconds=0.08)
    assert made.predicted_seconds(0, beside=Beside.STREAMS) == pytest.approx(0.05)
    made.observe(beside=Beside.NOBODY, chunk_tokens=0, seconds=9.0)
    assert made.predicted_seconds(0, beside=Beside.STREAMS) == pytest.approx(0.05)


def test_a_chunk_costs_what_decoding_does_not():
    """(240 ms - 40 ms) / 200 tokens = 1 ms."""
    made = pacer()
    made.observe(beside=Beside.STREAMS, chunk_tokens=0, seconds=0.040)
    made.observe(beside=Beside.STREAMS, chunk_tokens=200, seconds=0.240)
    assert made.predicted_seconds(100, beside=Beside.NOBODY) == pytest.approx(0.1)


def test_a_draft_model_reads_no_longer_than_the_model_may():
    """Beside a stream, and only up to what memory allows; asking changes nothing."""
    made = trained(token_seconds=0.001, decode_seconds=0.05)
    chunk = made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP)
    assert made.draft_tokens(cap_tokens=NO_CAP, context_tokens=0) == chunk > 100
    assert made.draft_tokens(cap_tokens=7, context_tokens=0) == 7
    assert made.draft_tokens(cap_tokens=-3, context_tokens=0) == 0
    assert made.chunk_tokens(beside=Beside.STREAMS, cap_tokens=NO_CAP) == chunk
