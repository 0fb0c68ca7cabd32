"""mlx-lm without the tokenizers that it imports beside its models.

A worker is given tokens and gives tokens. mlx-lm's loader imports `transformers` for a tokenizer that nobody
asks for here: two thirds of what a worker imports, a second of each start.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from types import ModuleType

log = logging.getLogger(__name__)

_LIBRARY = "mlx_lm"
_LEFT_OUT = ("transformers", "mlx_lm.tokenizer_utils")


def import_library() -> None:
    """Import mlx-lm's loader while modules of tokenizers are stood for by others.

    Whoever imports those modules later, as mlx-vlm does, gets them. A version of mlx-lm that wants more of
    them than names is imported with them. This comes before anything else imports mlx-lm.
    """
    if any(name in sys.modules for name in (_LIBRARY, *_LEFT_OUT)):
        return
    sys.modules.update({name: _LeftOut(name) for name in _LEFT_OUT})
    try:
        import_module(f"{_LIBRARY}.utils")
    except (ImportError, AttributeError, TypeError, RuntimeError) as error:
        log.info("mlx-lm is imported with its tokenizers: %s", error)
        for name in [name for name in sys.modules if name.partition(".")[0] == _LIBRARY]:
            del sys.modules[name]
    finally:
        for name in _LEFT_OUT:
            if isinstance(sys.modules.get(name), _LeftOut):
                del sys.modules[name]


class _LeftOut(ModuleType):
    """Stands for a module while names are imported from it."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_NotHere,), {})


class _NotHere:
    """Stands for a class of such a module, which may be named but not used."""

    def __init__(self, *arguments: object, **named: object) -> None:
        raise RuntimeError(f"{type(self).__name__}: tokenizers were left out of this process")
