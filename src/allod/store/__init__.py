"""store: what callers asked us to keep.

Lives here: responses, files and batches in one SQLite file, for a time and up to a size.
Never: anything that nobody asked to be kept; knowing what a record means; blocking the event loop.
Enter: app (composition), cli, tests; services know it as the port `Keeper`.
"""
