"""prefix: which parts of prompts' states are kept to be read again: bookkeeping, without a byte of them.

Lives here: the tree of kept segments, what resumes where, and what is forgotten first.
Never: tensors, clocks, I/O.
Enter: engine.
"""
