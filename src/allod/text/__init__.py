"""text: strings and tokens.

Lives here: chat templates, tokenizers, detokenising, stop strings, dialects of calls, reasoning, grammars.
Never: MLX, HTTP, files (a file name may be handed to a library).
Enter: local.
"""
