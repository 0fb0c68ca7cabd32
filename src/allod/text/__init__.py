"""text: strings and tokens.

Lives here: chat templates, tokenizers, streaming detokenising, stop strings.
Never: MLX, HTTP, files (a file name may be handed to a library).
Enter: local.
"""
