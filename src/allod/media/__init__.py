"""media: picture files, from the bytes or the address that a client sent to pixels.

Lives here: fetching addresses, recognising and decoding files, and the limits of all these.
Never: MLX, prompts, dialects; decoding in a process whose end would end more than one picture.
Enter: app (composition), local, cli (recognising a file), the process that decodes.
"""
