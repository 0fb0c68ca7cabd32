"""The pictures that a runner holds: what a tower is to read, what is being looked at, and what was seen."""

from __future__ import annotations

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

    def look(self, encode: Encode) -> tuple[Encoded, list[object]]:
        """Go on looking at a picture; what is to be evaluated for it is on its way to the device.

        Raises:
            RuntimeError: nothing is held of the picture.
        """
        digest = encode.digest
        if digest in self.features:
            return Encoded(digest, 0, 0), []
        look = self._looks.get(digest)
        if look is None:
            tensors = self._tensors.pop(digest, None)
            if tensors is None:
                raise RuntimeError("a picture is looked at of which nothing was received")
            look = self._looks[digest] = self._network.look(encode.tokens, tensors)
        worked = look.pieces[: encode.pieces]
        del look.pieces[: encode.pieces]
        mx.async_eval(worked)
        if not look.pieces:
            self.features[digest] = self._looks.pop(digest).features
        return Encoded(digest, len(worked), len(look.pieces)), worked
