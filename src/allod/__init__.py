"""allod: the inference box you own. See ARCHITECTURE.md for the rooms and the walk of a request."""
