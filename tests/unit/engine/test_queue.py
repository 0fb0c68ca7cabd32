"""Order, bounds and counters of the queue."""

import pytest

from allod.core.ids import RequestId, SequenceId, TenantId
from allod.core.sampling import Sampling
from allod.engine.queue import FairQueue
from allod.engine.sequence import Job

A, B, C = TenantId("a"), TenantId("b"), TenantId("c")


def job(ticket: int, tenant: TenantId, prompt: int = 10, max_tokens: int = 10) -> Job:
    made = Job(RequestId(str(ticket)), tenant, (0,) * prompt, max_tokens, frozenset(), ticket)
    made.add(SequenceId(ticket), Sampling())
    return made


def fill(queue: FairQueue, *jobs: Job) -> FairQueue:
    for each in jobs:
        queue.put(each)
    return queue


def order(queue: FairQueue) -> list[int]:
    return [queue.take().ticket for _ in range(len(queue))]


def test_one_tenant_is_first_come_first_served():
    """Size changes nothing within a tenant."""
    queue = FairQueue(9, 10**6)
    assert order(fill(queue, job(1, A, 500), job(2, A), job(3, A, 90))) == [1, 2, 3]


def test_a_newcomer_is_not_behind_the_backlog_of_another():
    """Equal jobs of two tenants alternate, whoever came first."""
    queue = FairQueue(9, 10**6)
    assert order(fill(queue, job(1, A), job(2, A), job(3, A), job(4, B), job(5, B))) == [1, 4, 2, 5, 3]


def test_a_large_job_pays_for_itself():
    """After 100 tokens of A, B has its turn until it used as much."""
    queue = FairQueue(9, 10**6)
    fill(queue, job(1, A, 90), job(2, A), *(job(ticket, B) for ticket in range(3, 9)))
    assert order(queue) == [1, 3, 4, 5, 6, 7, 2, 8]


def test_absence_saves_nothing_up():
    """A tenant that comes late starts where the others are, not at zero."""
    queue = FairQueue(99, 10**6)
    fill(queue, *(job(ticket, A) for ticket in range(1, 9)))
    assert [queue.take().ticket for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    fill(queue, *(job(ticket, B) for ticket in range(9, 12)))
    assert order(queue) == [7, 9, 8, 10, 11]


def test_what_is_given_back_counts():
    """A job that used less than it could leaves its tenant nearer to its next turn."""
    queue = FairQueue(9, 10**6)
    fill(queue, job(1, A, 10, 90), job(2, A), job(3, B), job(4, B))
    assert queue.take().ticket == 1
    queue.give_back(A, 90)
    assert order(queue) == [3, 2, 4]


def test_the_head_stays_the_head():
    """Neither a refund nor a newcomer overtakes a job that is waiting for memory."""
    queue = FairQueue(9, 10**6)
    fill(queue, job(1, B), job(2, B), job(3, A, 500))
    assert queue.take().ticket == 1
    head = queue.head()
    assert head is not None
    assert head.ticket == 3
    queue.give_back(B, 20)
    queue.put(job(4, C))
    assert queue.head() is head
    queue.remove(head)
    assert order(queue) == [2, 4]


def test_room_is_bounded_by_count_and_tokens():
    """A full queue has no room; an empty one takes a request of any size."""
    queue = FairQueue(2, 100)
    assert queue.has_room(5, 5000)
    queue.put(job(1, A, 60))
    assert queue.has_room(1, 40)
    assert not queue.has_room(1, 41)
    assert not queue.has_room(2, 2)
    queue.put(job(2, A, 10))
    assert not queue.has_room(1, 1)
    assert (len(queue), queue.tokens) == (2, 70)


def test_an_empty_queue_has_no_head():
    """Nothing is taken from nothing."""
    queue = FairQueue(1, 1)
    assert queue.head() is None
    with pytest.raises(LookupError):
        queue.take()


def test_a_newcomer_to_an_empty_queue_starts_where_service_is():
    """When nobody waits, the counter reached by the last one chosen is the start, not zero."""
    queue = FairQueue(9, 10**6)
    fill(queue, job(1, A), job(2, A), job(3, A))
    assert order(queue) == [1, 2, 3]
    fill(queue, job(4, B), job(5, B), job(6, B), job(7, A))
    assert order(queue) == [4, 5, 7, 6]


def test_another_job_that_leaves_does_not_unseat_the_head():
    """Only taking or removing the head itself makes room for a new one."""
    queue = FairQueue(9, 10**6)
    fill(queue, job(1, B), job(2, B), job(3, A, 500))
    queue.take()
    head = queue.head()
    assert head is not None
    assert head.ticket == 3
    gone = job(5, C)
    queue.put(gone)
    queue.give_back(B, 20)
    queue.remove(gone)
    assert queue.head() is head
