"""Tokens of one choice to events: text, stop strings, log probabilities, the end."""

from collections import deque
from collections.abc import Sequence

from allod.core.events import ChoiceFinished, ScoredToken, TextDelta, TokenLogprob
from allod.core.ids import TokenId
from allod.core.messages import Emission
from allod.core.ports import TokenCodec
from allod.core.step import Scores
from allod.text.detokenize import Detokenizer
from allod.text.stop import StopMatcher


class ChoiceStream:
    """Turns what a worker emits for one sequence into the events of one choice.

    Args:
        choice: index of the choice.
        codec: the model's tokenizer.
        stops: strings that end the answer and are not part of it.
        continues: True when the answer goes on from a text, so that a first space is part of it.

    Attributes:
        completion_tokens: tokens that count: all up to the end, a stop token included.
        finished: True once the choice has ended.
    """

    def __init__(
        self, choice: int, codec: TokenCodec, stops: Sequence[str], *, continues: bool = False
    ) -> None:
        self.completion_tokens = 0
        self.finished = False
        self._choice = choice
        self._codec = codec
        self._detokenizer = Detokenizer(codec, continues=continues)
        self._matcher = StopMatcher(stops)
        self._read_chars = 0
        self._shown_chars = 0
        self._texts: list[str] = []
        self._unplaced: list[ScoredToken] = []
        self._placed: deque[tuple[int, ScoredToken]] = deque()

    @property
    def stopped_itself(self) -> bool:
        """A stop string ended it, so that the worker does not know yet."""
        return self._matcher.matched is not None

    def feed(self, emission: Emission) -> list[TextDelta | ChoiceFinished]:
        """The events that these tokens complete; nothing once the choice has ended."""
        if self.finished:
            return []
        visible = len(emission.tokens) - (emission.finish == "stop")
        for index, token in enumerate(emission.tokens):
            self.completion_tokens += 1
            if index < visible:
                self._read(token, emission.scores[index] if emission.scores else None)
            if self.stopped_itself:
                return self._finish("stop")
        if emission.finish is not None:
            return self._finish(emission.finish)
        return self._delta()

    def _read(self, token: TokenId, scores: Scores | None) -> None:
        text = self._detokenizer.feed((token,))
        if scores is not None:
            self._unplaced.append(self._scored(token, scores))
        if text:
            self._show(text)

    def _show(self, text: str) -> None:
        """Pass text on to the matcher; the tokens read so far end no later than this text does."""
        self._read_chars += len(text)
        self._place()
        self._texts.append(self._matcher.feed(text))

    def _place(self) -> None:
        self._placed.extend((self._read_chars, scored) for scored in self._unplaced)
        self._unplaced.clear()

    def _finish(self, reason: str) -> list[TextDelta | ChoiceFinished]:
        self.finished = True
        if not self.stopped_itself:
            self._show(self._detokenizer.flush())
            self._texts.append(self._matcher.flush())
        ended = "length" if reason == "length" and not self.stopped_itself else "stop"
        return [*self._delta(), ChoiceFinished(self._choice, ended)]

    def _delta(self) -> list[TextDelta | ChoiceFinished]:
        text = "".join(self._texts)
        self._texts.clear()
        self._shown_chars += len(text)
        scores: list[ScoredToken] = []
        while self._placed and self._placed[0][0] <= self._shown_chars:
            scores.append(self._placed.popleft()[1])
        return [TextDelta(self._choice, text, tuple(scores))] if text or scores else []

    def _scored(self, token: TokenId, scores: Scores) -> ScoredToken:
        return ScoredToken(
            chosen=self._logprob(token, scores.chosen),
            alternatives=tuple(self._logprob(other, value) for other, value in scores.alternatives),
        )

    def _logprob(self, token: TokenId, value: float) -> TokenLogprob:
        data = self._codec.token_bytes(token)
        return TokenLogprob(text=data.decode(errors="replace"), data=data, logprob=value)
