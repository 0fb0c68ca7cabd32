"""anthropic: the dialect of Anthropic's Messages API, both directions.

Lives here: its requests and their refusals, its answers whole and streamed, its errors and models.
Never: sockets, clocks, models.
Enter: api, and clients that speak it.
"""
