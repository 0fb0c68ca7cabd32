"""worker: composition root of the child process that owns MLX.

Lives here: the loop that drains commands, plans, launches, collects, commits and reports.
Never: a network socket, text, HTTP.
Enter: `python -m allod.worker`, started by the gateway's supervisor; `.measure`, by `allod bench loop`.
"""
