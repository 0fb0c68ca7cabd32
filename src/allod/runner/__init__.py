"""runner: tensors. Loads a model, holds KV state, runs one step, masks and samples, embeds.

Lives here: everything that touches `mlx` and `mlx_lm` (with device).
Never: text, HTTP, scheduling decisions.
Enter: worker (composition), on its main thread only.
"""
