"""service: what the house does, one use case per file.

Lives here: answer a generation request, list models, report status.
Never: HTTP, dialects, MLX.
Enter: api.
"""
