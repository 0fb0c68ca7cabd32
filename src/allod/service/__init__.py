"""service: what the house does, one use case per file.

Lives here: answer requests, embed, list models, count tokens, keep responses and files, run batches.
Never: HTTP, MLX; a dialect only where what is kept is written in it.
Enter: api.
"""
