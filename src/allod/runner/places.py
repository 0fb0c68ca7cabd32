"""Positions where pictures have rows and columns: M-RoPE (Wang et al. 2024, arXiv 2409.12191, section 2.1).

A token has three positions: time, row, column. Words have three equal ones, each one more than the word
before. The tokens of a picture have the first position plus their place in its grid, and the word after it
goes on behind the largest of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from allod.core.pictures import Digest
from allod.core.step import Shown
from allod.runner.features import Features

Places = np.ndarray[tuple[int, int], np.dtype[np.int32]]
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]


def span_places(
    is_picture: Flags, grid: np.ndarray[tuple[int, ...], np.dtype[np.generic]], merge: int
) -> tuple[Places, int]:
    """Positions of a picture's span, from 0 on, and by how much those behind it are larger.

    Args:
        is_picture: (L,) which tokens are the picture itself; they stand together.
        grid: (3,) its patches in time, rows and columns.
        merge: side of the square of patches that become one token.

    Raises:
        ValueError: the grid has another number of tokens than the span.
    """
    time, rows, columns = (int(size) for size in grid)
    cells = np.indices((time, rows // merge, columns // merge), dtype=np.int32).reshape(3, -1)
    first, count = int(is_picture.argmax()), int(is_picture.sum())
    if count != cells.shape[1] or not is_picture[first : first + count].all():
        raise ValueError(f"a picture of {cells.shape[1]} tokens has {count} in its span")
    after = first + max(time, rows // merge, columns // merge)
    words_behind = np.arange(after, after + len(is_picture) - first - count, dtype=np.int32)
    before = np.tile(np.arange(first, dtype=np.int32), (3, 1))
    places = np.concatenate([before, cells + np.int32(first), np.tile(words_behind, (3, 1))], axis=1)
    return places, after + len(words_behind)


def chunk_places(
    length: int, place: int, shown: Sequence[Shown], gallery: Mapping[Digest, Features]
) -> tuple[Places, int]:
    """Positions of a chunk, and the position after it.

    Args:
        length: of the chunk.
        place: position of its first token. Within a picture, that of the picture's span: it stays so until
            the span ends.
        shown: the parts of pictures in it.
        gallery: what is known of them.
    """
    places = np.empty((3, length), dtype=np.int32)
    position = 0
    for part in shown:
        words = part.start - position
        places[:, position : part.start] = np.arange(place, place + words)
        place += words
        features = gallery[part.digest]
        assert features.places is not None
        own = features.places[:, part.offset : part.offset + part.length]
        position = part.start + part.length
        places[:, part.start : position] = own + place
        if part.offset + part.length == features.places.shape[1]:
            place += features.extent
    places[:, position:] = np.arange(place, place + length - position)
    return places, place + length - position
