"""cli: the terminal shell: parse, call one function, print.

Lives here: commands, tables, progress bars, exit codes.
Never: decisions another front end would also need.
Enter: the `allod` script and `python -m allod`.
"""
