"""The starter model says the same in every form and every way, on the CPU in float32."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from allod.registry.starter import STARTER_NAME

pytestmark = pytest.mark.model

QUESTION = "Who wrote Romeo and Juliet?"

SCRIPT = """
import json, sys
from pathlib import Path
from allod.device import blas
blas.preload("auto", Path(sys.argv[2]).parent)
import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.utils import load_tokenizer
from tests.scaffolding.timings import UNMEASURED, make_up
from allod.device.choose import choose
from allod.runner import panels
from allod.runner.load import load
from allod.runner.record import Measuring
from allod.runner.settings import RunnerSettings

folder, file = Path(sys.argv[1]), Path(sys.argv[2])
tokenizer = load_tokenizer(folder)

def answers(compute, measuring):
    loaded = load(folder, RunnerSettings(compute=compute), choose("cpu"), 2**31, measuring)
    messages = [{"role": "user", "content": sys.argv[3]}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    steps = generate_step(mx.array(prompt), loaded.network.model, max_tokens=12)
    return [loaded.compute, tokenizer.decode([token for token, _ in steps])]

found = {"auto": answers("auto", Measuring(file)), "stored": answers("stored", UNMEASURED)}
for way in ("weights first", "panels" if panels.are_understood() else "padded columns"):
    make_up(file, lambda kind, taken, rows: rows * (1e-3 if taken == way else 9e-3))
    found[way] = answers("auto", Measuring(file))
print(json.dumps(found))
"""


def test_every_form_says_the_same(starter_home: Path, tmp_path: Path) -> None:
    """Packed, unpacked, and unpacked with ways that a machine might measure to be best."""
    folder = starter_home / "models" / STARTER_NAME
    arguments = (str(folder), str(tmp_path / "timings.json"), QUESTION)
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *arguments]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["stored"][0] == "stored 4/8-bit, float32"
    assert found["weights first"][0] == "dense float32"
    texts = {form: said for form, (_, said) in found.items()}
    assert "Shakespeare" in texts["stored"]
    assert texts == dict.fromkeys(texts, texts["stored"])
