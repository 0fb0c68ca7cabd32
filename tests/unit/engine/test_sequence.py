"""Phases and jobs."""

import pytest

from allod.core.ids import RequestId, SequenceId, TenantId
from allod.core.sampling import Sampling
from allod.core.step import Join, Prefill
from allod.engine.sequence import MOVES, Job, Phase


def make_job(prompt: int = 5, choices: int = 1, max_tokens: int = 3, penalty: float = 0.0) -> Job:
    job = Job(RequestId("r"), TenantId("t"), tuple(range(prompt)), max_tokens, frozenset({9}), ticket=1)
    for sequence in range(choices):
        job.add(SequenceId(sequence), Sampling(presence_penalty=penalty))
    return job


def test_every_phase_has_its_moves_and_only_finished_has_none():
    """The table is complete, and nothing leaves FINISHED."""
    assert set(MOVES) == set(Phase)
    assert [phase for phase, moves in MOVES.items() if not moves] == [Phase.FINISHED]


@pytest.mark.parametrize("start", Phase)
@pytest.mark.parametrize("to", Phase)
def test_a_move_happens_exactly_when_the_table_has_it(start: Phase, to: Phase):
    """`move` obeys the table; an illegal move changes nothing and names both phases."""
    choice = make_job().choices[0]
    choice.phase = start
    if to in MOVES[start]:
        choice.move(to)
        assert choice.phase is to
    else:
        with pytest.raises(RuntimeError, match=f"{start.name} to {to.name}"):
            choice.move(to)
        assert choice.phase is start


def test_a_grammar_joins_with_the_tokens_that_may_end_it():
    """Free text needs no end tokens; a job that starts again keeps its grammar."""
    free, bound = make_job(), make_job()
    bound.grammar = "start: /a/"
    for job in (free, bound):
        job.move(Phase.READY)
    assert (free.join().grammar, bound.restarted()[0].grammar) == ("", "start: /a/")
    joined = bound.join()
    assert (joined.grammar, joined.stop_tokens) == ("start: /a/", (9,))


def test_a_stop_token_at_the_limit_is_a_stop():
    """Length is said only of an answer that would have gone on."""
    job = make_job(choices=2, max_tokens=2)
    assert [job.choices[0].accept(token) for token in (1, 2)] == [None, "length"]
    assert [job.choices[1].accept(token) for token in (1, 9)] == [None, "stop"]


def test_chunks_cover_all_but_the_last_token_and_end_ready():
    """The prompt's last token is never prefilled: the first decode step reads it."""
    job = make_job(prompt=6)
    job.move(Phase.PREFILLING)
    assert job.next_chunk(3) == Prefill(SequenceId(0), (0, 1, 2))
    assert job.choices[0].phase is Phase.PREFILLING
    assert not job.is_planned
    assert job.next_chunk(3) == Prefill(SequenceId(0), (3, 4))
    assert job.choices[0].phase is Phase.READY
    assert job.join() == Join(SequenceId(0), ((SequenceId(0), Sampling()),), 5, ())
    assert job.choices[0].phase is Phase.DECODING


def test_a_join_names_the_living_and_keeps_the_state_of_a_cancelled_first_choice():
    """The state keeps the id it was prefilled under; the prompt travels only for penalties."""
    job = make_job(prompt=1, choices=3, penalty=0.5)
    job.move(Phase.READY)
    job.choices[0].move(Phase.FINISHED)
    join = job.join()
    assert join.state == 0
    assert [sequence for sequence, _ in join.sequences] == [1, 2]
    assert join.prompt == (0,)


def test_cost_is_the_most_and_use_is_what_happened():
    """Cost counts every choice at full length; use counts what was planned of the prompt and came back."""
    job = make_job(prompt=6, choices=2, max_tokens=10)
    assert (job.cost_tokens, job.full_tokens, job.used_tokens) == (26, 16, 0)
    job.move(Phase.PREFILLING)
    job.next_chunk(4)
    assert job.used_tokens == 4
    job.next_chunk(4)
    job.join()
    job.choices[1].accept(1)
    assert job.used_tokens == 7
