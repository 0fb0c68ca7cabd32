"""bench: measures any server with OpenAI's chat API, from its address alone.

Lives here: scenarios, the client that times them, statistics, reports, tables and plots; synthetic models.
Never: MLX, and nothing of what a server is made of. What it says of allod it would say of any other.
Enter: cli; worker, for the form of a raw loop's figures.
"""
