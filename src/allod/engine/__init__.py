"""engine: scheduling, admission, sequences, fairness.

Lives here: which request runs next, in which step, within which bytes; pure state and decisions.
Never: MLX, text, HTTP, clocks (time comes in as numbers), threads.
Enter: worker (composition), tests.
"""
