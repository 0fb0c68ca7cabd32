"""registry: which models exist, where they come from, what each needs.

Lives here: the catalogue, importing directories and GGUF files, pulling, checking weight files.
Never: MLX, HTTP serving. A model name is a key here, never a path.
Enter: service, cli, app.
"""
