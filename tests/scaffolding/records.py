"""What a test that drives a scheduler at random knows of each sequence."""

from dataclasses import dataclass, field
from functools import cached_property

from allod.core.messages import Submit
from allod.core.sampling import Sampling
from allod.testing.runner import expected_tokens

VOCABULARY = 13


@dataclass
class Record:
    """One sequence: what was asked, what it said, and how it ended.

    Attributes:
        script: what rows say instead of hashes, to the end.
    """

    submit: Submit
    sampling: Sampling
    max_tokens: int
    tokens: list[int] = field(default_factory=list[int])
    finish: str | None = None
    cancelled: bool = False
    script: tuple[int, ...] = ()

    @cached_property
    def whole(self) -> tuple[int, ...]:
        """All that it will have said, whatever else is in the batch; looked at behind every rule."""
        if self.script:
            said = self.script[: self.max_tokens]
            ends = [place for place, token in enumerate(said) if token in self.submit.stop_tokens]
            return said[: ends[0] + 1] if ends else said
        return expected_tokens(
            self.submit.tokens,
            self.sampling,
            vocabulary=VOCABULARY,
            max_tokens=self.max_tokens,
            stop_tokens=self.submit.stop_tokens,
            pictures=self.submit.pictures,
        )

    @property
    def due(self) -> tuple[int, ...]:
        """What it must have said so far: all, if it is finished."""
        return self.whole if self.finish else self.whole[: len(self.tokens)]

    @property
    def is_living(self) -> bool:
        """Whether it is neither finished nor cancelled."""
        return self.finish is None and not self.cancelled
