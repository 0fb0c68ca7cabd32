"""The environment of processes that are to compute as users' do, and not as the tests that start them."""

import os

_OF_TESTS = frozenset({"MLX_ENABLE_TF32"})
"""What the root conftest offers."""


def environment() -> dict[str, str]:
    """This process's own, without what tests and whoever runs them have set."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _OF_TESTS and not name.startswith("ALLOD_")
    }
