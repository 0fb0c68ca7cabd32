"""The Embedder over this machine's workers: texts to rows, rows to a worker, vectors back."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from allod.core.card import ModelCard
from allod.core.embedding import EmbeddingRequest, Embeddings
from allod.core.errors import (
    ContextLengthExceeded,
    ImportRefused,
    ModelUnavailable,
    Overflow,
    refused,
)
from allod.core.ids import ModelName, TokenId
from allod.core.messages import Embed, Embedded, Refused
from allod.local.backend import Leases
from allod.local.refusals import check_ids, refusal
from allod.text.rows import RowCodec

Rows = tuple[tuple[TokenId, ...], ...]


class LocalEmbedder:
    """Embeds with the workers of this machine.

    Args:
        residency: lends models.
        folder_of: where a model's files are.
    """

    def __init__(self, residency: Leases, folder_of: Callable[[ModelCard], Path]) -> None:
        self._residency = residency
        self._folder_of = folder_of
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rows")
        self._codecs: dict[ModelName, tuple[int, RowCodec]] = {}
        self._loading = threading.Lock()

    async def embed(self, request: EmbeddingRequest, card: ModelCard) -> Embeddings:
        """The vectors of all inputs; cancelling whoever waits cancels the work in the worker.

        Raises:
            InvalidRequest: an input has no tokens, too many, or one that the model does not know.
            ModelUnavailable: the model cannot be loaded, or its worker died.
            Busy: the model's queue is full.
        """
        rows = await asyncio.get_running_loop().run_in_executor(self._pool, self._rows, request, card)
        async with self._residency.lease(card) as link:
            with link.open(Embed(request.request, link.allocate(1), rows)) as mailbox:
                while True:
                    match await mailbox.next():
                        case Embedded(vectors=vectors):
                            return Embeddings(vectors, sum(map(len, rows)))
                        case Refused() as verdict:
                            raise refusal(verdict, "input")
                        case _:
                            pass

    def close(self) -> None:
        """Let the thread end; what is under way is finished first."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _rows(self, request: EmbeddingRequest, card: ModelCard) -> Rows:
        encoded = iter(self._codec(card).encode([text for text in request.inputs if isinstance(text, str)]))
        rows = tuple(next(encoded) if isinstance(given, str) else given for given in request.inputs)
        for field, row in zip(request.fields, rows, strict=True):
            _check(field, row, card)
        return rows

    def _codec(self, card: ModelCard) -> RowCodec:
        with self._loading:
            created, codec = self._codecs.get(card.name, (None, None))
            if codec is None or created != card.created:
                try:
                    codec = RowCodec(str(self._folder_of(card) / "tokenizer.json"))
                except ImportRefused as error:
                    raise ModelUnavailable(
                        f"The files of the model '{card.name}' cannot be used: {error}. Import it again."
                    ) from error
                self._codecs[card.name] = card.created, codec
        return codec


def _check(field: str, row: tuple[TokenId, ...], card: ModelCard) -> None:
    if not row:
        raise refused(field, "has no tokens; send at least one")
    if len(row) > card.context_tokens:
        raise ContextLengthExceeded(
            f"{field}: This model's maximum context length is {card.context_tokens} tokens. However, "
            f"this text resulted in {len(row)} tokens. Please send it in shorter pieces.",
            param=field,
            overflow=Overflow(len(row), None, card.context_tokens),
        )
    check_ids(field, row, card.vocabulary)
