"""The few shapes that chunks of a prompt are brought to, where a device prepares itself for each new one."""

from math import ceil

LEAST_CHUNK_TOKENS = 32
"""Shorter chunks are padded to this: a device waits for the weights, not for so few rows."""

LEAST_CONTEXT_TOKENS = 512

FIRST_GROUP_TOKENS = 512
"""Rows up to this length are padded to one another: so little state costs less than another group."""

_MOST_ROWS = 8
_LEAST_FILLED = 3 / 4
"""The least share of a pass's rows that are prompts."""

_FULL_TOKENS = 1024
"""A device has enough to do with so many tokens at a time."""

_FINE_FROM_TOKENS = 512
"""From here on three quarters of a power of two are lengths too, or too much of a chunk would be padding."""


def group_bounds(factor: int, most_tokens: int) -> tuple[int, ...]:
    """The longest prompt of each group of rows but the last: in each, lengths differ by a factor.

    Args:
        factor: by which, at most; less as rows grow.
        most_tokens: the longest that a row can be.
    """
    bounds = [FIRST_GROUP_TOKENS]
    while bounds[-1] * factor < most_tokens:
        bounds.append(bounds[-1] * factor)
    return tuple(bounds)


def padded_chunk(tokens: int) -> int:
    """The length that so many tokens are brought to: 32, 64, 128, 256, 384, 512, 768, 1024 and so on."""
    length = max(LEAST_CHUNK_TOKENS, _power_of_two(tokens))
    finer = length * 3 // 4
    return finer if length >= _FINE_FROM_TOKENS and tokens <= finer else length


def whole_chunk(most_tokens: int) -> int:
    """The longest chunk of at most so many tokens that needs no padding; the shortest of all if none does."""
    lengths = chunk_lengths(most_tokens)
    return max((length for length in lengths if length <= most_tokens), default=LEAST_CHUNK_TOKENS)


def padded_context(tokens: int) -> int:
    """How many positions a chunk attends to, if there are so many: a power of two.

    Attention is the smaller part of a chunk's work up to contexts as long as the model is wide, so that
    coarse steps cost little.
    """
    return max(LEAST_CONTEXT_TOKENS, _power_of_two(tokens))


def rows_together(prompts: int, length: int) -> int:
    """How many rows are read as one of so many prompts, with chunks that are this long when padded.

    It is a power of two, since each number of rows is a shape to be prepared. At most a quarter of them are
    padding: a pass for seven rows takes less than one for four, one for two and one for the last. More rows
    than fill the device gain nothing.
    """
    most = max(1, min(_MOST_ROWS, _FULL_TOKENS // length))
    rows = 1 << (min(prompts, most).bit_length() - 1)
    fills = 2 * rows <= most and prompts >= 2 * rows * _LEAST_FILLED
    return 2 * rows if fills else rows


def with_padding_rows(size_bytes: int) -> int:
    """What a pass takes with rows of padding, that takes so many bytes without."""
    return ceil(size_bytes / _LEAST_FILLED)


def chunk_lengths(most_tokens: int) -> tuple[int, ...]:
    """All lengths of chunks up to the one that so many tokens are brought to."""
    lengths = [LEAST_CHUNK_TOKENS]
    while lengths[-1] < most_tokens:
        lengths.append(padded_chunk(lengths[-1] + 1))
    return tuple(lengths)


def _power_of_two(tokens: int) -> int:
    return 1 << max(0, tokens - 1).bit_length()
