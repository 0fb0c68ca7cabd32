"""A runner without a model: strict about its contract, and deterministic to the last token.

The token a row makes is a function of all tokens it has read and of its seed, so a scheduler that feeds
a row wrongly gets different tokens, and whatever the port forbids is a ContractViolation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from allod.core.drafts import Guess
from allod.core.ids import SequenceId, TokenId
from allod.core.pictures import Digest, PictureSpan, Tensor
from allod.core.ports import Archive, Flight
from allod.core.sampling import Sampling
from allod.core.step import (
    Join,
    Keep,
    MemoryReading,
    ModelFacts,
    Prefill,
    PrefixStep,
    Restore,
    Sampled,
    Scores,
    StepPlan,
    StepResult,
)
from allod.testing.contract import require
from allod.testing.costs import FakeCosts
from allod.testing.drafting import FakeDrafter, require_drafts, state_bytes
from allod.testing.flights import FakeFlight, Landing
from allod.testing.history import History, folded
from allod.testing.pictures import FakeGallery, seen_as
from allod.testing.prefixes import FakeShelf


@dataclass(frozen=True, slots=True)
class FakeSpeech:
    """What rows say instead of hashes.

    Attributes:
        script: the first tokens of every row.
        stop_after: from this many tokens on, every row says `stop_token`; None for never.
        stop_token: see there.
    """

    script: tuple[TokenId, ...] = ()
    stop_after: int | None = None
    stop_token: TokenId = 0


@dataclass(slots=True)
class _Row:
    """A row of the batch; `pending` is the token it reads next, `group` that of rows of its length."""

    history: History
    sampling: Sampling
    pending: TokenId
    group: int
    said: int = 0


class FakeRunner:
    """Implements `core.ports.Runner` on integers.

    Args:
        facts: the model to pretend to be. Its budget, context, vocabulary and batchability are enforced.
        speech: what rows say instead of hashes.
        costs: simulated seconds.
        step_seconds: seconds that collecting a step which decodes or prefills really takes.
        archive: where blocks outlive it.
        misses_every: where the draft model's guesses are wrong; None for nowhere.
    """

    def __init__(
        self,
        facts: ModelFacts,
        *,
        speech: FakeSpeech | None = None,
        costs: FakeCosts | None = None,
        step_seconds: float = 0.0,
        archive: Archive | None = None,
        misses_every: int | None = None,
    ) -> None:
        self.archive = archive
        self._facts = facts
        self._speech = speech or FakeSpeech()
        self._costs = costs or FakeCosts()
        self._step_seconds = step_seconds
        self._states: dict[SequenceId, History] = {}
        self._rows: dict[SequenceId, _Row] = {}
        self._parked: dict[SequenceId, _Row] = {}
        self._joined: set[SequenceId] = set()
        self._released: set[SequenceId] = set()
        self._landing = Landing()
        self._gallery = FakeGallery(facts.sight)
        self._shelf = FakeShelf(facts, archive)
        self._drafter = FakeDrafter(facts, misses_every)
        self._peak_bytes = facts.weights_bytes

    @property
    def facts(self) -> ModelFacts:
        """What the model needs and can do."""
        return self._facts

    @property
    def rows(self) -> tuple[SequenceId, ...]:
        """The decode batch."""
        return tuple(self._rows)

    @property
    def parked(self) -> tuple[SequenceId, ...]:
        """Rows that were put aside."""
        return tuple(self._parked)

    @property
    def states(self) -> tuple[SequenceId, ...]:
        """Prompts that were prefilled and have not joined."""
        return tuple(self._states)

    @property
    def kept_bytes(self) -> int:
        """What segments take."""
        return self._shelf.held_bytes

    @property
    def pictures_seen(self) -> int:
        """How many pictures were looked at."""
        return self._gallery.seen_count

    def receive(self, digest: Digest, tensors: Sequence[Tensor]) -> None:
        """Take what the vision tower reads of a picture."""
        self._gallery.receive(digest, tensors)

    def launch(self, plan: StepPlan) -> Flight:
        """Apply a plan.

        Raises:
            ContractViolation: the plan, or its time, is against the port's rules.
        """
        landing = self._landing
        require(landing.launched - landing.collected <= 1, "a launch while two flights are in the air")
        require(not plan.is_empty, "an empty plan is launched")
        self._obey(plan.keep)
        for sequence in plan.release:
            self._release(sequence)
        self._drafter.forget((*plan.release, *plan.park))
        self._gallery.forget(plan.forget)
        for sequence in plan.park:
            _move(sequence, self._rows, self._parked)
        for sequence in plan.resume:
            _move(sequence, self._parked, self._rows)
        self._obey(plan.restore)
        for prefill in plan.prefill:
            self._prefill(prefill)
        transient_bytes = self._chunk_bytes(plan.prefill) + self._beside_bytes(plan)
        self._obey(plan.keep_read)
        for join in plan.join:
            self._join(join)
        self._require_batch(plan.decode)
        transient_bytes += self._read_beside(plan) + self._draft_bytes(plan)
        sampled = self._read_drafts(plan) if plan.drafted_tokens else self._decode_all(plan.decode)
        states = [prefill.state for prefill in plan.prefill]
        require(len(states) == len(set(states)), "a step reads two chunks of one prompt")
        require(not plan.prefill or plan.encode is None, "a step reads chunks or looks at a picture")
        encoded = self._gallery.look(plan.encode, self._costs.piece_seconds) if plan.encode else None
        if plan.encode:
            transient_bytes += self._gallery.transient_bytes(plan.encode)
        self._require_budget(transient_bytes)
        landing.launched += 1
        works = plan.decode or plan.prefill or plan.encode
        result = StepResult(sampled, self._costs.seconds(plan, encoded), encoded)
        return FakeFlight(landing.launched, result, landing, self._step_seconds if works else 0.0)

    def memory(self) -> MemoryReading:
        """Bytes of the weights and of what is held, as the facts say."""
        return MemoryReading(active_bytes=self._held_bytes(), cached_bytes=0, peak_bytes=self._peak_bytes)

    def _obey(self, steps: Sequence[PrefixStep]) -> None:
        for step in steps:
            extra_bytes = 0
            if isinstance(step, Restore):
                places = (self._rows, self._parked, self._states)
                is_there = any(step.state in place for place in places)
                require(not is_there, f"{step.state} starts, but is already there")
                self._released.discard(step.state)
                self._states[step.state] = History(self._shelf.restored(step))
            elif isinstance(step, Keep):
                self._shelf.keep(step, self._history(step.source))
            else:
                extra_bytes = self._shelf.obey(step)
            held_bytes = self._held_bytes() + extra_bytes
            require(held_bytes <= self._facts.budget_bytes, f"out of memory: {held_bytes} bytes after {step}")

    def _history(self, source: SequenceId) -> History:
        if source in self._states:
            return self._states[source]
        row = self._rows.get(source) or self._parked.get(source)
        require(row is not None, f"{source} is kept, but nowhere")
        assert row is not None
        return row.history

    def _release(self, sequence: SequenceId) -> None:
        places = (self._rows, self._parked, self._states)
        require(any(sequence in place for place in places), f"release of unknown {sequence}")
        for place in places:
            place.pop(sequence, None)
        self._joined.discard(sequence)
        self._released.add(sequence)

    def _join(self, join: Join) -> None:
        history = self._states.pop(join.state, None)
        if history is None:
            is_gone = join.state in self._joined | self._released
            require(not is_gone, f"join of state {join.state}, which is gone")
            history = History()
        self._joined.add(join.state)
        self._require_prompt(join, history)
        require(bool(join.sequences), f"join of state {join.state} without rows")
        require(not join.said or len(join.sequences) == 1, "what was said belongs to one row")
        for sequence, sampling in join.sequences:
            places = (self._rows, self._parked, self._states)
            require(all(sequence not in place for place in places), f"{sequence} joins, but is already there")
            self._require_tokens((join.last_token,))
            group = self._facts.group_of(history.length + 1)
            self._rows[sequence] = _Row(history.copy(), sampling, join.last_token, group, len(join.said))

    def _require_prompt(self, join: Join, history: History) -> None:
        if not any(sampling.needs_history for _, sampling in join.sequences):
            require(join.prompt == (), f"join of state {join.state} carries a prompt no row needs")
            return
        whole = join.prompt + join.said
        is_same = folded(1, whole[:-1]) == history.spelled and whole[-1:] == (join.last_token,)
        require(
            is_same,
            f"join of state {join.state} carries a prompt other than the one prefilled",
        )

    def _require_batch(self, decode: tuple[SequenceId, ...]) -> None:
        require(
            sorted(decode) == sorted(self._rows), f"decode names {decode}, the batch is {tuple(self._rows)}"
        )
        require(self._facts.batchable or len(self._rows) <= 1, "rows of this model may not share a step")

    def _decode(self, sequence: SequenceId) -> Sampled:
        row = self._rows[sequence]
        row.history.read((row.pending,))
        self._require_context(sequence, row.history)
        row.pending = self._speak(row.sampling.seed, row.history, row.said)
        row.said += 1
        return Sampled(sequence, row.pending, _scores(row, self._facts.vocabulary))

    def _decode_all(self, sequences: Sequence[SequenceId]) -> tuple[Sampled, ...]:
        return tuple(self._decode(sequence) for sequence in sequences)

    def _read_beside(self, plan: StepPlan) -> int:
        guess = plan.guess
        if guess is None:
            return 0
        require(plan.decode == (guess.sequence,), "a guess is of the only row")
        require(not (plan.prefill or plan.encode or plan.join), "a step with a guess reads no prompt")
        self._require_tokens(guess.tokens)
        return self._drafter.read(guess, self._rows[guess.sequence].history)

    def _read_drafts(self, plan: StepPlan) -> tuple[Sampled, ...]:
        require_drafts(plan, self._facts)
        require(self._landing.launched == self._landing.collected, "a draft behind a step on its way")
        drafts = {draft.sequence: draft.tokens for draft in plan.drafts}
        if plan.guess:
            return self._read_guess(plan.guess)
        return tuple(
            sampled
            for sequence in plan.decode
            for sampled in self._say_drafted(sequence, drafts.get(sequence, ()))
        )

    def _read_guess(self, guess: Guess) -> tuple[Sampled, ...]:
        row = self._rows[guess.sequence]
        speak = partial(self._speak, row.sampling.seed)
        said = self._say_drafted(guess.sequence, self._drafter.say(guess, row.pending, row.said, speak))
        self._drafter.settle(guess, len(said) - 1)
        return said

    def _say_drafted(self, sequence: SequenceId, tokens: Sequence[TokenId]) -> tuple[Sampled, ...]:
        """What a row says behind its last token and each of these that is as it would have said."""
        self._require_tokens(tokens)
        said: list[Sampled] = []
        for token in (*tokens, None):
            said.append(self._decode(sequence))
            if said[-1].token != token:
                break
        return tuple(said)

    def _speak(self, seed: int | None, history: History, said: int) -> TokenId:
        speech = self._speech
        if speech.stop_after is not None and said >= speech.stop_after:
            return speech.stop_token
        if said < len(speech.script):
            return speech.script[said]
        return history.next_token(seed, self._facts.vocabulary)

    def _prefill(self, prefill: Prefill) -> None:
        require(bool(prefill.tokens), f"prefill of state {prefill.state} without tokens")
        is_past = any(prefill.state in place for place in (self._joined, self._rows, self._parked))
        require(not is_past, f"prefill of {prefill.state} after it joined")
        self._released.discard(prefill.state)
        self._require_tokens(prefill.tokens)
        state = self._states.setdefault(prefill.state, History())
        state.read(prefill.tokens, self._gallery.laid_over(prefill))
        self._require_context(prefill.state, state)

    def _require_tokens(self, tokens: Sequence[TokenId]) -> None:
        inside = all(0 <= token < self._facts.vocabulary for token in tokens)
        require(inside, "a token is outside the vocabulary")

    def _require_context(self, sequence: SequenceId, history: History) -> None:
        limit = self._facts.context_tokens
        require(history.length <= limit, f"{sequence} has read {history.length} of {limit} tokens")

    def _chunk_bytes(self, prefills: Sequence[Prefill]) -> int:
        """What reading takes for the time being."""
        lengths = [(len(prefill.tokens), self._states[prefill.state].length) for prefill in prefills]
        return sum(tokens * self._token_bytes(before) for tokens, before in lengths)

    def _beside_bytes(self, plan: StepPlan) -> int:
        """What rows take that are read in one pass with chunks."""
        if not (self._facts.reads_beside and plan.prefill and plan.decode):
            return 0
        return sum(self._token_bytes(row.history.length) for row in self._rows.values())

    def _draft_bytes(self, plan: StepPlan) -> int:
        """What rows take that read drafts."""
        if not plan.drafts:
            return 0
        longest = max(row.history.length for row in self._rows.values())
        return (plan.drafted_tokens + len(plan.decode)) * self._token_bytes(longest)

    def _token_bytes(self, context_tokens: int) -> int:
        facts = self._facts
        return facts.transient_bytes_per_token + facts.transient_bytes_per_token_and_context * context_tokens

    def _require_budget(self, transient_bytes: int) -> None:
        held_bytes, budget_bytes = self._held_bytes(), self._facts.budget_bytes
        self._peak_bytes = max(self._peak_bytes, held_bytes + transient_bytes)
        fits = held_bytes + transient_bytes <= budget_bytes
        require(fits, f"out of memory: {held_bytes} + {transient_bytes} of {budget_bytes} bytes")

    def _held_bytes(self) -> int:
        rows_bytes = self._padded_bytes(self._rows) + self._padded_bytes(self._parked)
        states_bytes = sum(self._state_bytes(state.length) for state in self._states.values())
        kept_bytes = self._gallery.held_bytes + self._shelf.held_bytes + self._drafter.held_bytes
        return self._facts.weights_bytes + rows_bytes + states_bytes + kept_bytes

    def _padded_bytes(self, rows: Mapping[SequenceId, _Row]) -> int:
        groups: dict[int, list[int]] = {}
        for row in rows.values():
            groups.setdefault(row.group, []).append(row.history.length)
        return sum(len(each) * self._state_bytes(max(each)) for each in groups.values())

    def _state_bytes(self, tokens: int) -> int:
        return state_bytes(self._facts, self._facts.layers, tokens)


def expected_tokens(
    prompt: Sequence[TokenId],
    sampling: Sampling,
    *,
    vocabulary: int,
    max_tokens: int,
    stop_tokens: Sequence[TokenId] = (),
    pictures: Sequence[PictureSpan] = (),
) -> tuple[TokenId, ...]:
    """What a row of a FakeRunner says to this prompt, whatever else is in the batch."""
    history = History()
    history.read(prompt, seen_as(prompt, pictures))
    tokens: list[TokenId] = []
    while len(tokens) < max_tokens:
        tokens.append(history.next_token(sampling.seed, vocabulary))
        if tokens[-1] in stop_tokens:
            break
        history.read(tokens[-1:])
    return tuple(tokens)


def _scores(row: _Row, vocabulary: int) -> Scores | None:
    """The chosen token first, then its neighbours, each half as likely as the one before."""
    count = row.sampling.top_logprobs
    if count is None:
        return None
    ranked = tuple(((row.pending + place) % vocabulary, -0.7 * (place + 1)) for place in range(count))
    return Scores(chosen=-0.7, alternatives=ranked[:vocabulary])


def _move(sequence: SequenceId, origin: dict[SequenceId, _Row], to: dict[SequenceId, _Row]) -> None:
    require(sequence in origin, f"{sequence} is not where it is taken from")
    to[sequence] = origin.pop(sequence)
