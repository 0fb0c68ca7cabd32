"""Who is next: first come first served within a tenant, fair between tenants.

Every tenant has a counter of tokens. The tenant with the smallest counter goes first, and its counter
grows by the most its job can use; what was not used is given back at the end (after Sheng et al. 2024,
"Fairness in Serving Large Language Models", which charges token by token instead). A tenant that comes
back starts at the smallest counter of those who wait, so that nobody saves up for a burst.

The bound. Let L be the largest cost of a job. When tenant A goes first its counter is at most that of
any waiting tenant B, so afterwards A is ahead of B by at most L; a counter falls only by what is given
back. Hence, while both wait, A is never ahead of B by more than L plus what was given back to B since
A was chosen. Nothing given back: at most L.
"""

from collections import deque

from allod.core.ids import TenantId
from allod.engine.sequence import Job


class FairQueue:
    """Jobs that wait.

    Args:
        max_jobs: most jobs that wait.
        max_tokens: most prompt tokens that wait together; one job alone may have more.
    """

    def __init__(self, max_jobs: int, max_tokens: int) -> None:
        self._max_jobs = max_jobs
        self._max_tokens = max_tokens
        self._waiting: dict[TenantId, deque[Job]] = {}
        self._charged: dict[TenantId, int] = {}
        self._reached = 0
        self._chosen: Job | None = None
        self._jobs = 0
        self._tokens = 0

    def __len__(self) -> int:
        """Jobs that wait."""
        return self._jobs

    @property
    def tokens(self) -> int:
        """Prompt tokens that wait."""
        return self._tokens

    def has_room(self, jobs: int, tokens: int) -> bool:
        """Whether so many more may wait. An empty queue takes one request of any size."""
        if self._jobs == 0:
            return True
        return self._jobs + jobs <= self._max_jobs and self._tokens + tokens <= self._max_tokens

    def put(self, job: Job, *, first: bool = False) -> None:
        """Queue a job behind its tenant's others, or before them."""
        if job.tenant not in self._waiting:
            start = min((self._charged[tenant] for tenant in self._waiting), default=self._reached)
            self._charged[job.tenant] = max(self._charged.get(job.tenant, 0), start)
            self._waiting[job.tenant] = deque()
        line = self._waiting[job.tenant]
        if first:
            line.appendleft(job)
        else:
            line.append(job)
        self._jobs += 1
        self._tokens += len(job.tokens)

    def head(self) -> Job | None:
        """The job that is next. Once chosen it stays next, so that none is overtaken for ever."""
        if self._chosen is None and self._waiting:
            heads = (line[0] for line in self._waiting.values())
            self._chosen = min(heads, key=lambda job: (self._charged[job.tenant], job.ticket))
        return self._chosen

    def take(self) -> Job:
        """Remove the head and charge its tenant.

        Raises:
            LookupError: nothing waits.
        """
        job = self.head()
        if job is None:
            raise LookupError("nothing waits")
        self._reached = self._charged[job.tenant]
        self._charged[job.tenant] += job.cost_tokens
        self.remove(job)
        return job

    def remove(self, job: Job) -> None:
        """Forget a job that waits."""
        line = self._waiting[job.tenant]
        line.remove(job)
        if not line:
            del self._waiting[job.tenant]
        if self._chosen is job:
            self._chosen = None
        self._jobs -= 1
        self._tokens -= len(job.tokens)

    def give_back(self, tenant: TenantId, tokens: int) -> None:
        """Take back part of a charge: the job ended with so many tokens less than it could use."""
        self._charged[tenant] -= tokens
