"""The pictures that a runner holds: what a tower is to read, what is being looked at, and what was seen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import mlx.core as mx

from allod.core.pictures import Digest, Tensor
from allod.core.step import Encode, Encoded
from allod.runner.features import Features
from allod.runner.network import Look, Network


class Gallery:
    """Obeys the scheduler, which decides what is looked at and what is forgotten.

    Attributes:
        features: the pictures that were seen.
    """

    def __init__(self, network: Network) -> None:
        self.features: dict[Digest, Features] = {}
        self._network = network
        self._tensors: dict[Digest, Sequence[Tensor]] = {}
        self._looks: dict[Digest, Look] = {}

    def receive(self, digest: Digest, tensors: Sequence[Tensor]) -> None:
        """Take what the tower reads of a picture."""
        self._tensors[digest] = tensors

    def forget(self, digests: Iterable[Digest]) -> None:
        """Drop all that is held of some pictures."""
        for digest in digests:
            self.features.pop(digest, None)
            self._tensors.pop(digest, None)
            self._looks.pop(digest, None)

    def look(self, encode: Encode) -> Encoded:
        """Look at a picture for as long as the plan allows; returns when that is done.

        What pieces cost is not predicted: blocks, strips of attention and windows differ too much. The clock
        is read after each, and a step ends where another like the last would not fit.

        Raises:
            RuntimeError: nothing is held of the picture.
        """
        digest = encode.digest
        if digest in self.features:
            return Encoded(digest, 0, 0)
        started = before = time.perf_counter()
        look = self._looks.get(digest) or self._begun(encode)
        done = 0
        while look.pieces:
            mx.eval(look.pieces.popleft())
            done += 1
            now = time.perf_counter()
            if now - started + (now - before) > encode.seconds:
                break
            before = now
        if not look.pieces:
            self.features[digest] = self._looks.pop(digest).features
        return Encoded(digest, done, len(look.pieces))

    def _begun(self, encode: Encode) -> Look:
        tensors = self._tensors.pop(encode.digest, None)
        if tensors is None:
            raise RuntimeError("a picture is looked at of which nothing was received")
        look = self._looks[encode.digest] = self._network.look(encode.tokens, tensors)
        return look
