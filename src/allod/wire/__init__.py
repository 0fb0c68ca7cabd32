"""wire: dialects without I/O: foreign JSON to requests, events to foreign JSON.

Lives here: shapes of OpenAI, Anthropic and LM Studio, files and batches, their checks and errors, SSE.
Never: sockets, clocks, models.
Enter: api, service (what is kept is written in a dialect).
"""
