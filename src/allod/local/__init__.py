"""local: the Backend that runs on this machine's workers.

Lives here: render (request -> prompt), stream (tokens -> events), residency, supervision.
Never: MLX (that is in the child), HTTP, dialects.
Enter: app (composition).
"""
