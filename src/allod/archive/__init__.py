"""archive: blocks of what was read of prompts, and tips, in files that outlive a process.

Lives here: how blocks are named, written, checked, found again, and forgotten.
Never: MLX; when something is kept or read. Bytes come in and bytes go out.
Enter: worker, which hands it to engine and runner as the port `Archive`.
"""
