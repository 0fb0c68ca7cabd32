"""A worker imports mlx-lm without its tokenizers; whoever wants those gets them."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.mlx

ASK = """
import sys
from allod.runner import tokenizerless
tokenizerless.import_library()
"""


def run(code: str, folder: Path | None = None) -> str:
    """What a program says, with a folder before everything else it imports from."""
    begin = f"import sys; sys.path.insert(0, {str(folder)!r})" if folder else ""
    return subprocess.run(
        [sys.executable, "-c", begin + ASK + code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_a_worker_imports_no_tokenizers() -> None:
    """Not even by way of what it imports later."""
    assert run("import allod.worker.process; print('transformers' in sys.modules)") == "False"


def test_whoever_wants_them_later_gets_them() -> None:
    """The real ones, as mlx-vlm does; models are mlx-lm's all the while."""
    code = """
from mlx_lm.utils import load_model
from transformers import AutoTokenizer
from mlx_lm.tokenizer_utils import TokenizerWrapper
print(load_model.__module__, AutoTokenizer.__module__.partition('.')[0], TokenizerWrapper.__module__)
"""
    assert run(code) == "mlx_lm.utils transformers mlx_lm.tokenizer_utils"


def test_what_was_left_out_cannot_be_used_by_mistake() -> None:
    """It says what is missing."""
    code = """
import mlx_lm.utils
try:
    mlx_lm.utils.TokenizerWrapper(None)
except RuntimeError as error:
    print(error)
"""
    assert run(code) == "TokenizerWrapper: tokenizers were left out of this process"


@pytest.mark.parametrize("wish", ["AutoTokenizer.register()", "AutoTokenizer(1)"])
def test_a_library_that_wants_more_than_names_gets_it(tmp_path: Path, wish: str) -> None:
    """It is imported once more, with what it wants."""
    own = "from .tokenizer_utils import Own"
    files = {
        "transformers.py": "class AutoTokenizer:\n    def __init__(self, *_): pass\n    register = print\n",
        "mlx_lm/__init__.py": "",
        "mlx_lm/utils.py": f"from transformers import AutoTokenizer\n{wish}\n{own}\n",
        "mlx_lm/tokenizer_utils.py": "class Own: pass\n",
    }
    (tmp_path / "mlx_lm").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    code = "import mlx_lm.utils as u; print(u.AutoTokenizer.__module__, u.Own.__module__)"
    assert run(code, tmp_path).split("\n")[-1].startswith("transformers mlx_lm.")
