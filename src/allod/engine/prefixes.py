"""What is kept of prompts and answers to be read again, and which prompts go on from there."""

from collections.abc import Callable, Sequence

from allod.core.ids import SequenceId, TenantId, TokenId
from allod.core.messages import PrefillProgress, Submit
from allod.core.pictures import PictureSpan
from allod.core.ports import Archive
from allod.core.prefixes import PrefixEnd, PrefixMatch
from allod.core.step import ModelFacts, PrefixStep, Restore, StepPlan
from allod.engine.archived import FROM_DISK, ArchivedPrompt, BlockedPrompt, Room
from allod.engine.pacing import Beside, PrefillPacer
from allod.engine.sequence import Choice, Job
from allod.engine.settings import EngineSettings
from allod.engine.tipped import TippedPrompt
from allod.prefix.keys import Key, key_of, outside
from allod.prefix.node import Node
from allod.prefix.sizes import PrefixSizes
from allod.prefix.tree import LEAST_SHARED_TOKENS, PrefixTree, Walk

_CHANCE_TOKENS = 8
"""Prompts that part may have agreed by chance in the tokens before: in the first words of two questions about
one text, of which a third has fewer. To read so many tokens again costs less than to read the text again."""

_MOST_SHARE = 2
"""What is kept takes at most one part in so many of what the weights leave of the budget."""


class Prefixes:
    """Plans what is done about prefixes.

    Args:
        facts: what was measured on the model.
        settings: how much may be kept.
        pacer: knows what reading takes.
        spare_bytes: says what running requests leave of the budget.
        archive: where blocks outlive the process; None where there is none.
    """

    def __init__(
        self,
        facts: ModelFacts,
        settings: EngineSettings,
        pacer: PrefillPacer,
        spare_bytes: Callable[[], int],
        archive: Archive | None = None,
    ) -> None:
        self._sizes = PrefixSizes.of(facts.layers)
        self._tree = PrefixTree(self._sizes, pacer.reading_seconds)
        self._spare_bytes = spare_bytes
        share_bytes = (facts.budget_bytes - facts.weights_bytes) // _MOST_SHARE
        self._most_bytes = 0 if facts.unkept_because else min(settings.prefix_cache_bytes, share_bytes)
        self._archive = archive if self._most_bytes > 0 else None
        self._pacer = pacer
        self._steps: list[PrefixStep] = []
        self._resumed: dict[SequenceId, PrefillProgress] = {}

    @property
    def used_bytes(self) -> int:
        """Bytes of all that is kept."""
        return self._tree.used_bytes

    def take(self) -> tuple[PrefixStep, ...]:
        """What the runner is to do since the last call, in this order."""
        steps, self._steps = tuple(self._steps), []
        return steps

    def match(self, submit: Submit) -> PrefixMatch | None:
        """What a prompt would reuse if it were read now; None where nothing is kept."""
        if self._most_bytes <= 0:
            return None
        key = key_of(submit.tokens, submit.pictures)[:-1]
        walk = self._tree.walk(submit.tenant, key)
        cached, _ = self._reusable(walk, submit.pictures)
        archived = self._archived(submit.tenant, submit.tokens, submit.pictures)
        stored = archived.held_tokens(walk.shared) if archived is not None else 0
        return PrefixMatch(cached, walk.agreed, self._end(walk, cached, len(key)), max(0, stored - cached))

    def gains_by_waiting(self, job: Job, others: Sequence[Job]) -> bool:
        """Whether a prompt should not be read beside others: it could go on from them, or from the disk.

        A prompt that begins with a few tokens of theirs gains less than it waits.
        """
        if self._most_bytes <= 0:
            return False
        key = self._key(job)
        walk = self._tree.walk(job.tenant, key)
        cached, _ = self._reusable(walk, job.pictures)
        begin = key[: cached + LEAST_SHARED_TOKENS]
        if len(begin) == cached + LEAST_SHARED_TOKENS and any(
            other.tenant == job.tenant and self._key(other)[: len(begin)] == begin for other in others
        ):
            return True
        archived = self._archived(job.tenant, job.tokens, job.pictures)
        return archived is not None and archived.held_tokens(walk.shared) > cached

    def resume(self, job: Job, spare_bytes: int, beside: Beside) -> None:
        """Let a job that is admitted go on from what is kept of its prompt.

        Args:
            job: which.
            spare_bytes: what it leaves of the budget, running requests included.
            beside: who waits meanwhile.
        """
        if self._most_bytes <= 0:
            return
        archived = self._archived(job.tenant, job.tokens, job.pictures)
        if archived is not None:
            limit_bytes = min(self._most_bytes, spare_bytes)
            self._load(job, archived, Room(self._pacer.room_seconds(beside), limit_bytes))
        walk = self._tree.walk(job.tenant, self._key(job))
        cached, path = self._reusable(walk, job.pictures)
        if self._sizes.needs_tips:
            # Where two prompts part, a third may part from them, or a little before.
            begun = max((place for place in job.boundaries if place <= walk.agreed), default=0)
            parting = max(begun, walk.agreed - _CHANCE_TOKENS)
            job.keep_at((*job.boundaries, parting), cached, stops=not self._sizes.cuts_tips)
        if cached:
            self._tree.touch(path)
            if archived is not None:
                self._steps += archived.store(path, cached)
            parts = tuple((node.segment, min(node.end, cached) - node.start) for node in path)
            self._steps.append(Restore(job.state, parts))
            job.resume(cached)
            if not job.said_tokens:
                self._resumed[job.state] = PrefillProgress(job.request, cached, len(job.tokens), cached)

    def resumed(self, plan: StepPlan) -> tuple[PrefillProgress, ...]:
        """How far the prompts are that a step started from what was kept."""
        states = [step.state for step in plan.restore if isinstance(step, Restore)]
        return tuple(self._resumed.pop(state) for state in states if state in self._resumed)

    def keep_reading(self, job: Job) -> None:
        """Keep what was read of a prompt so far."""
        self._keep_at(job, [*job.take_marks(), job.planned_tokens])

    def keep_marks(self, job: Job) -> None:
        """Keep what was read of a prompt where others are likely to go on, as far as its last chunk came."""
        self._keep_at(job, job.take_marks())

    def keep_row(self, choice: Choice) -> None:
        """Keep what a row has read that leaves: its prompt, and all that it said but the last token."""
        # A draft may have been read beyond the token that ends the answer.
        job, read = choice.job, min(choice.planned - 1, len(choice.said))
        if read >= 0:
            key = (*key_of(job.tokens, job.pictures), *choice.said[:read])
            self._keep(job.tenant, key, choice.sequence)

    def shrink(self, limit_bytes: int, job: Job) -> None:
        """Forget until no more bytes are used; what a job can go on from is forgotten last."""
        if self._tree.used_bytes <= limit_bytes:
            return
        path = self._tree.walk(job.tenant, self._key(job)).path
        self._steps += self._tree.shrink(limit_bytes, path)
        self._steps += self._tree.shrink(limit_bytes)

    def _archived(
        self, tenant: TenantId, tokens: Sequence[TokenId], pictures: Sequence[PictureSpan]
    ) -> ArchivedPrompt | None:
        """A prompt held against the archive; None where there is none for it."""
        if self._archive is None or pictures:
            return None
        if self._sizes.needs_tips:
            return TippedPrompt(self._archive, self._sizes, tenant, tokens[:-1])
        return BlockedPrompt(self._archive, self._sizes, self._archive.names(tenant, tokens[:-1]))

    def _load(self, job: Job, archived: ArchivedPrompt, room: Room) -> None:
        """Fetch what memory lacks of a prompt, and keep it as far as there is room for it."""
        walk = self._tree.walk(job.tenant, self._key(job))
        cached, _ = self._reusable(walk, ())
        end = archived.fetch(walk.shared, cached, room)
        steps: list[PrefixStep] = []
        if end > cached and room.size_bytes > 0:
            # Only what memory lacks was fetched: what it knows cannot be made anew from blocks.
            key = self._key(job)[:end]
            steps = self._tree.keep(job.tenant, key, FROM_DISK, room.size_bytes, merges=False)
        self._steps += archived.loading(steps)

    def _keep_at(self, job: Job, positions: Sequence[int]) -> None:
        key = self._key(job) if positions else ()
        for position in positions:
            self._keep(job.tenant, key[:position], job.state)

    def _keep(self, tenant: TenantId, key: Key, source: SequenceId) -> None:
        limit_bytes = min(self._most_bytes, self._spare_bytes())
        if key and limit_bytes > 0:
            self._steps += self._tree.keep(tenant, key, source, limit_bytes)

    def _reusable(self, walk: Walk, pictures: Sequence[PictureSpan]) -> tuple[int, tuple[Node, ...]]:
        """Where a prompt can go on, which is never within a picture, and what leads there."""
        limit = outside(walk.shared, pictures)
        while True:
            cached, path = walk.within(limit, needs_tips=self._sizes.needs_tips)
            limit = outside(cached, pictures)
            if limit == cached:
                return cached, path

    def _end(self, walk: Walk, cached: int, length: int) -> PrefixEnd:
        """Why a prompt of this length is not gone on with behind `cached` tokens."""
        if cached == length:
            return "complete"
        if cached < (walk.agreed if self._sizes.needs_tips else walk.shared):
            return "no_state"
        if walk.was_lost:
            return "forgotten"
        return "differs" if walk.is_fork else "new"

    def _key(self, job: Job) -> Key:
        """What of a job can be read before it decodes."""
        return key_of(job.tokens, job.pictures)[:-1]
