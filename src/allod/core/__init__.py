"""core: the words all rooms share.

Lives here: ids, requests, prompts, sampling, messages, events, usage, cards, errors, ports.
Never: I/O, clocks, threads, HTTP, MLX. Depends on the standard library and msgspec only.
Enter: every room.
"""
