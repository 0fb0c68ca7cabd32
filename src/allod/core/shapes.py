"""The few shapes that chunks of a prompt are brought to, where a device prepares itself for each new one."""

LEAST_CHUNK_TOKENS = 32
"""Shorter chunks are padded to this: a device waits for the weights, not for so few rows."""

LEAST_CONTEXT_TOKENS = 512

_FINE_FROM_TOKENS = 512
"""From here on three quarters of a power of two are lengths too, or too much of a chunk would be padding."""


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


def chunk_lengths(most_tokens: int) -> tuple[int, ...]:
    """All lengths of chunks up to the one that so many tokens are brought to."""
    lengths = [LEAST_CHUNK_TOKENS]
    while lengths[-1] < most_tokens:
        lengths.append(padded_chunk(lengths[-1] + 1))
    return tuple(lengths)


def _power_of_two(tokens: int) -> int:
    return 1 << max(0, tokens - 1).bit_length()
