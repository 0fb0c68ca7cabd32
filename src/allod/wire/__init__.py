"""wire: dialects without I/O: foreign JSON to requests, events to foreign JSON.

Lives here: the OpenAI shapes, their validation and their errors, SSE framing.
Never: sockets, clocks, models.
Enter: api.
"""
