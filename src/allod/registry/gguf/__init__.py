"""gguf: llama.cpp's one-file checkpoints, read and turned into what MLX loads.

Lives here: the header's checks, tensor names, repacking without requantising, config, vocabulary.
Never: MLX; a tensor type that would have to be rounded.
Enter: importing.
"""
