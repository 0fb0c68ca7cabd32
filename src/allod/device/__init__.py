"""device: the only room that asks what machine this is.

Lives here: memory, BLAS, the widest dtype, the platform's name; one file per platform.
Never: models, requests, HTTP.
Enter: runner, worker, config.
"""
