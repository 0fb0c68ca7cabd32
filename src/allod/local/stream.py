"""Tokens of one choice to events: words, thoughts, calls, stop strings, log probabilities, the end."""

from collections.abc import Sequence

from allod.core.events import (
    ChoiceFinished,
    FinishReason,
    ReasoningDelta,
    ScoredToken,
    TextDelta,
    TokenLogprob,
    ToolCallEvent,
)
from allod.core.ids import TokenId
from allod.core.messages import Emission
from allod.core.step import Scores
from allod.local.calls import CallEvents
from allod.local.reading import Reading
from allod.local.scores import Decided, ScoreQueue
from allod.text.detokenize import Detokenizer
from allod.text.markup import CallArguments, CallClosed, CallOpened, Piece, Said, Thought
from allod.text.stop import StopMatcher

ChoiceEvent = TextDelta | ReasoningDelta | ToolCallEvent | ChoiceFinished


class ChoiceStream:
    """Turns what a worker emits for one sequence into the events of one choice.

    Args:
        choice: index of the choice.
        reading: how the tokens are read.
        stops: strings that end the answer and are not part of it; they count in words only, not in
            thoughts or arguments.

    Attributes:
        completion_tokens: tokens that count: all up to the end, a stop token included.
        reasoning_tokens: those of them that came to thoughts; a mark counts with what follows it.
        finished: True once the choice has ended.
    """

    def __init__(self, choice: int, reading: Reading, stops: Sequence[str]) -> None:
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self.finished = False
        self._choice = choice
        self._reading = reading
        self._detokenizer = Detokenizer(reading.codec, shown=reading.shown, continues=reading.continues)
        self._parser = reading.parser()
        self._matcher = StopMatcher(stops)
        self._calls = CallEvents(choice)
        self._out: list[ChoiceEvent] = []
        self._space: str = ""
        self._at_start = True
        self._thinks = False
        self._undecided_tokens = 0
        self._read_chars = 0
        self._decided_chars = 0
        self._unshown_chars = 0
        self._scores: ScoreQueue | None = (
            None  # as long as no scores come, which is until the end or not at all
        )

    @property
    def stopped_itself(self) -> bool:
        """A stop string ended it, so that the worker does not know yet."""
        return self._matcher.matched is not None

    def feed(self, emission: Emission) -> list[ChoiceEvent]:
        """The events that these tokens complete; nothing once the choice has ended."""
        if self.finished:
            return []
        if emission.scores and self._scores is None:
            self._scores = ScoreQueue()
        visible = len(emission.tokens) - (emission.finish == "stop")
        for index, token in enumerate(emission.tokens):
            self.completion_tokens += 1
            if index < visible:
                self._read(token, emission.scores[index] if emission.scores else None)
            if self._matcher.matched is not None:
                return self._finish("stop")
        if emission.finish is not None:
            return self._finish(emission.finish)
        return self._take()

    def _read(self, token: TokenId, scores: Scores | None) -> None:
        self._undecided_tokens += 1
        text = self._detokenizer.feed((token,))
        if scores is not None and self._scores is not None:
            self._scores.add(self._scored(token, scores))
        if text:
            self._parse(text)
            self._place()

    def _parse(self, text: str) -> None:
        """Read text; the tokens read so far end no later than it does."""
        if self._scores is not None:
            self._read_chars += len(text)
            self._scores.place(self._read_chars)
        self._decide_text(self._parser.feed(text))

    def _decide_text(self, pieces: Sequence[Piece]) -> None:
        if self._scores is not None:
            start, self._decided_chars = self._decided_chars, self._read_chars - self._parser.held_chars
            words = not self._thinks and not self._calls.is_open
            self._scores.decide(Decided(start, self._decided_chars, pieces, words))
        self._receive(pieces)

    def _receive(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            match piece:
                case Said(text=text):
                    self._decide(thinks=False)
                    self._say(text)
                case Thought(text=text):
                    self._decide(thinks=True)
                    self._think(text)
                case CallOpened() | CallArguments() | CallClosed():
                    self._decide(thinks=False)
                    if self._reading.takes_calls:
                        self._close_words()
                        self._out.extend(self._calls.feed(piece))
            if self._matcher.matched is not None:
                return

    def _decide(self, *, thinks: bool) -> None:
        """The tokens since the last piece came to thoughts, or did not."""
        if thinks:
            self.reasoning_tokens += self._undecided_tokens
        self._undecided_tokens = 0
        if self._reading.reasoning == "inline" and thinks != self._thinks:
            marks = self._reading.marks
            self._show(marks.opening if thinks else marks.closing)
        self._thinks = thinks

    def _say(self, text: str) -> None:
        """Words; space before the first of them is kept back while a call may come instead."""
        if self._at_start and self._reading.takes_calls:
            text = self._space + text
            if text.isspace():
                self._unshown_chars += len(text) - len(self._space)
                self._space = text
                return
            self._unshown_chars -= len(self._space)
            self._space = ""
        self._at_start = False
        shown = self._matcher.feed(text)
        self._unshown_chars += len(text) - len(shown)
        self._show(shown)

    def _think(self, text: str) -> None:
        match self._reading.reasoning:
            case "field":
                self._out.append(ReasoningDelta(self._choice, text))
            case "inline":
                self._show(text)
            case "none":
                pass

    def _close_words(self) -> None:
        """A call follows: what the words held back will not become a stop string, and is no word if space."""
        self._unshown_chars -= len(self._space)
        self._space = ""
        held = self._matcher.flush()
        self._unshown_chars -= len(held)
        self._show(held)

    def _show(self, text: str) -> None:
        if not text:
            return
        last = self._out[-1] if self._out else None
        if isinstance(last, TextDelta):
            self._out[-1] = TextDelta(self._choice, last.text + text, last.scores)
        else:
            self._out.append(TextDelta(self._choice, text))

    def _place(self) -> None:
        """Hand out the log probabilities of words that are shown."""
        if self._scores is None:
            return
        scores = self._scores.take(self._scores.said_chars - self._unshown_chars)
        if not scores:
            return
        last = self._out[-1] if self._out else None
        if isinstance(last, TextDelta):
            self._out[-1] = TextDelta(self._choice, last.text, (*last.scores, *scores))
        else:
            self._out.append(TextDelta(self._choice, "", tuple(scores)))

    def _finish(self, reason: str) -> list[ChoiceEvent]:
        self.finished = True
        if not self.stopped_itself:
            self._parse(self._detokenizer.flush())
            self._decide_text(self._parser.flush(complete=reason == "stop"))
        if not self.stopped_itself:
            self._decide(thinks=self._thinks)
            held = self._space + self._matcher.flush()
            self._unshown_chars -= len(held)
            self._space = ""
            self._show(held)
        if self._thinks and self._reading.reasoning == "inline":
            self._show(self._reading.marks.closing)
        self._place()
        ended = ChoiceFinished(self._choice, self._reason(reason), self._matcher.matched)
        return [*self._take(), ended]

    def _reason(self, reason: str) -> FinishReason:
        if reason == "length" and not self.stopped_itself:
            return "length"
        return "tool_calls" if self._calls.are_complete else "stop"

    def _take(self) -> list[ChoiceEvent]:
        out, self._out = self._out, []
        return out

    def _scored(self, token: TokenId, scores: Scores) -> ScoredToken:
        return ScoredToken(
            chosen=self._logprob(token, scores.chosen),
            alternatives=tuple(self._logprob(other, value) for other, value in scores.alternatives),
        )

    def _logprob(self, token: TokenId, value: float) -> TokenLogprob:
        data = self._reading.codec.token_bytes(token)
        return TokenLogprob(text=data.decode(errors="replace"), data=data, logprob=value)
