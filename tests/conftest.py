"""How hard the properties are tried: `make quick` asks for less than `make test`."""

from hypothesis import settings

# A deadline would make slow machines fail what is only slow.
settings.register_profile("thorough", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=15)
settings.load_profile("thorough")
