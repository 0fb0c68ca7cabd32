"""What the blocks of a vision tower return, noted while its graph is built.

MLX computes nothing before it is asked to. So the whole tower is called once, which costs Python only, and
what was noted is evaluated block by block over as many steps as it takes. The tower's code stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import cast

import mlx.core as mx

from mlx import nn

_LANGUAGE = "language_model"
_FEWEST_BLOCKS = 2


class Taps:
    """Listens at the blocks of a model's towers.

    Args:
        modules: all modules of a model by their paths, as `named_modules` gives them. A block is a member
            of a list outside the language model, and not within another block.
    """

    def __init__(self, modules: Sequence[tuple[str, nn.Module]]) -> None:
        self._noted: list[mx.array] | None = None
        kinds: dict[type[nn.Module], type[nn.Module]] = {}
        for block in blocks_of(modules):
            kind = type(block)
            if kind not in kinds:
                kinds[kind] = self._listening(kind)
            block.__class__ = kinds[kind]

    @contextmanager
    def noting(self) -> Generator[list[mx.array], None, None]:
        """Fills the list with what blocks return within the `with` block, in the order of the calls."""
        self._noted = []
        try:
            yield self._noted
        finally:
            self._noted = None

    def note(self, returned: object) -> None:
        """Note what was returned, if somebody listens."""
        first = cast("Sequence[object]", returned)[0] if isinstance(returned, tuple | list) else returned
        if self._noted is not None and isinstance(first, mx.array):
            self._noted.append(first)

    def _listening(self, kind: type[nn.Module]) -> type[nn.Module]:
        """A subclass that differs in one thing: it tells what calls return."""
        note = self.note

        def call(block: nn.Module, *arguments: object, **named: object) -> object:
            returned: object = kind.__call__(block, *arguments, **named)  # pyright: ignore[reportArgumentType] -- blocks take what they like
            note(returned)
            return returned

        return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})


def blocks_of(modules: Sequence[tuple[str, nn.Module]]) -> list[nn.Module]:
    """The outermost blocks of everything but the language model."""
    found: dict[str, nn.Module] = {}
    for path, module in sorted(modules, key=lambda entry: entry[0].count(".")):
        parent, _, index = path.rpartition(".")
        is_foreign = path.split(".", 1)[0] == _LANGUAGE
        is_inside = any(path.startswith(f"{outer}.") for outer in found)
        if index.isdigit() and parent and not is_foreign and not is_inside:
            found[path] = module
    sizes = Counter(path.rpartition(".")[0] for path in found)
    return [module for path, module in found.items() if sizes[path.rpartition(".")[0]] >= _FEWEST_BLOCKS]
