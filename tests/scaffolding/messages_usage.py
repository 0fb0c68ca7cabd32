"""How long a prompt was, by Messages' own count."""

import anthropic


def prompt_tokens_of(usage: anthropic.types.Usage) -> int:
    """Those that were read, and those that need not be: `input_tokens` leaves these out."""
    return usage.input_tokens + (usage.cache_read_input_tokens or 0)
