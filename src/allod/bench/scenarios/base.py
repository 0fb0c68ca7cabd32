"""What all scenarios share: a case, what it took, and how sizes are fitted to the servers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from allod.bench.answer import Answer
from allod.bench.client import Asked, Client
from allod.bench.settings import BenchSettings

_CONTEXT_SHARE = 0.8
"""Prompts are counted in words, and a server's template adds to them: this much of a context is used."""


@dataclass(frozen=True, slots=True)
class Take:
    """What one measurement brought; a figure is None where the answers did not allow it."""

    figures: Mapping[str, float | None]
    answers: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario in one size.

    Attributes:
        size: what varies from case to case.
        measure: takes one sample at one server.
    """

    scenario: str
    name: str
    size: int
    measure: Callable[[Client], Awaitable[Take]]


@dataclass(frozen=True, slots=True)
class Sizing:
    """The sizes of prompts: the same for all targets, and fit for the smallest of them.

    Attributes:
        context_tokens: of the target with the shortest; None when no target says.
        tokens_per_word: of the target that makes most of a word.
        models: most models that a target was given.
    """

    settings: BenchSettings
    context_tokens: int | None
    tokens_per_word: float
    models: int = 1

    @classmethod
    def of(cls, settings: BenchSettings, clients: Sequence[Client]) -> "Sizing":
        """The sizes for these servers."""
        contexts = [client.abilities.context_tokens for client in clients if client.abilities.context_tokens]
        return cls(
            settings=settings,
            context_tokens=min(contexts) if contexts else None,
            tokens_per_word=max(client.abilities.tokens_per_word for client in clients),
            models=max(len(client.models) for client in clients),
        )

    def tokens(self, wanted: int, answer_tokens: int = 0) -> int:
        """So many tokens of a prompt, or as many as the context leaves beside an answer."""
        if self.context_tokens is None:
            return wanted
        return min(wanted, max(1, int(self.context_tokens * _CONTEXT_SHARE) - answer_tokens))

    def words(self, wanted: int, answer_tokens: int = 0) -> int:
        """So many words of a prompt, or as many as the context leaves beside an answer."""
        tokens = self.tokens(int(wanted * self.tokens_per_word), answer_tokens)
        return max(1, min(wanted, int(tokens / self.tokens_per_word)))


async def together(asked: Sequence[Asked]) -> tuple[Answer, ...]:
    """Ask all at once and wait for all."""
    return tuple(await asyncio.gather(*(each.answer() for each in asked)))
