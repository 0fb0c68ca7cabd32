"""The queue's promises, for any sizes."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from allod.core.ids import RequestId, SequenceId, TenantId
from allod.core.sampling import Sampling
from allod.engine.queue import FairQueue
from allod.engine.sequence import Job

A, B = TenantId("a"), TenantId("b")
SIZES = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=25)
ARRIVALS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(1, 99), st.integers(1, 99), st.integers(0, 3)), max_size=40
)


def job(ticket: int, tenant: TenantId, prompt: int, max_tokens: int) -> Job:
    made = Job(RequestId(str(ticket)), tenant, (0,) * prompt, max_tokens, frozenset(), ticket)
    made.add(SequenceId(ticket), Sampling())
    return made


@given(a=SIZES, b=SIZES, is_b_first=st.booleans())
def test_backlogged_tenants_stay_within_one_largest_request(
    a: list[tuple[int, int]], b: list[tuple[int, int]], is_b_first: bool
):
    """While two tenants both wait, what was admitted of each differs by at most the largest cost."""
    queue = FairQueue(10**6, 10**9)
    lines = [(A, a), (B, b)]
    jobs = [(tenant, size) for tenant, sizes in (lines[::-1] if is_b_first else lines) for size in sizes]
    for ticket, (tenant, size) in enumerate(jobs):
        queue.put(job(ticket, tenant, *size))
    largest = max(prompt + completion for _, (prompt, completion) in jobs)
    admitted, left = Counter({A: 0, B: 0}), Counter(tenant for tenant, _ in jobs)
    while left[A] and left[B]:
        taken = queue.take()
        admitted[taken.tenant] += taken.cost_tokens
        left[taken.tenant] -= 1
        assert abs(admitted[A] - admitted[B]) <= largest


@given(a=SIZES, b=SIZES, shares=st.lists(st.floats(0, 1), min_size=50, max_size=50))
def test_what_was_really_used_stays_within_the_bound_with_refunds(
    a: list[tuple[int, int]], b: list[tuple[int, int]], shares: list[float]
):
    """With part of each charge given back, A leads B by at most the largest cost plus B's refund since."""
    queue = FairQueue(10**6, 10**9)
    jobs = [(tenant, size) for tenant, sizes in ((A, a), (B, b)) for size in sizes]
    for ticket, (tenant, size) in enumerate(jobs):
        queue.put(job(ticket, tenant, *size))
    largest = max(prompt + completion for _, (prompt, completion) in jobs)
    used, left = Counter({A: 0, B: 0}), Counter(tenant for tenant, _ in jobs)
    refunded_since_chosen = Counter({A: 0, B: 0})
    while left[A] and left[B]:
        taken = queue.take()
        tenant, other = taken.tenant, B if taken.tenant == A else A
        unused = int(taken.cost_tokens * shares[taken.ticket])
        queue.give_back(tenant, unused)
        used[tenant] += taken.cost_tokens - unused
        left[tenant] -= 1
        refunded_since_chosen[other] = 0
        refunded_since_chosen[tenant] += unused
        assert used[tenant] - used[other] <= largest + refunded_since_chosen[other]
        assert used[other] - used[tenant] <= largest + refunded_since_chosen[tenant]


@given(arrivals=ARRIVALS)
def test_within_a_tenant_it_is_first_come_first_served(arrivals: list[tuple[str, int, int, int]]):
    """Whatever comes and goes in between, tickets of one tenant leave in order, and all of them leave."""
    queue, taken = FairQueue(10**6, 10**9), []
    for ticket, (tenant, prompt, completion, takes) in enumerate(arrivals):
        queue.put(job(ticket, TenantId(tenant), prompt, completion))
        taken += [queue.take() for _ in range(min(takes, len(queue)))]
    taken += [queue.take() for _ in range(len(queue))]
    assert sorted(each.ticket for each in taken) == list(range(len(arrivals)))
    for tenant in {each.tenant for each in taken}:
        tickets = [each.ticket for each in taken if each.tenant == tenant]
        assert tickets == sorted(tickets)
    assert (len(queue), queue.tokens) == (0, 0)


@given(small=st.integers(1, 5), large=st.integers(100, 3000))
def test_no_stream_of_small_requests_starves_a_large_one(small: int, large: int):
    """A large request is served after its tenant's share, however many small ones keep coming."""
    queue = FairQueue(10**6, 10**9)
    queue.put(job(0, A, large, large))
    for ticket in range(1, 50):
        queue.put(job(ticket, B, small, small))
        queue.put(job(1000 + ticket, TenantId(f"newcomer {ticket}"), small, small))
        if queue.take().ticket == 0:
            return
    raise AssertionError("starved")
