"""The compute form: every form says the same, measurements decide, memory bounds, the file remembers."""

from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from tests.scaffolding.families import DEVICE, write_random_model
from tests.scaffolding.packed import write_packed_model
from tests.scaffolding.timings import UNMEASURED, make_up, packed_is_fast, packed_is_slow, panels_are_fast

from allod.device.choose import choose
from allod.runner import panels
from allod.runner.joint import Part
from allod.runner.load import load
from allod.runner.loaded import CannotLoad, LoadedModel
from allod.runner.measured import (
    COLUMNS,
    PADDED,
    PADDED_COLUMNS,
    PIECES,
    STORED,
    WEIGHTS_FIRST,
    Kind,
    Way,
    read,
)
from allod.runner.network import TextNetwork
from allod.runner.record import Measuring
from allod.runner.settings import RunnerSettings
from mlx import nn

pytestmark = pytest.mark.mlx

AMPLE_BYTES = 2**31
PROMPT = mx.array([[3, 141, 59, 26, 5, 35, 89, 79]])
BOUND = {"float32": 2e-3, "bfloat16": 0.06, "float16": 0.06}


class Begun:
    """Counts measurements."""

    def __init__(self, file: Path | None = None, blas: str = "a blas", *, all_ways: bool = True) -> None:
        self.times = 0
        self.measuring = Measuring(file, "a device", blas, self._begin, all_ways)

    def _begin(self) -> None:
        self.times += 1


class Unwidened:
    """The platform, computing in the dtype of the checkpoint, as GPUs do."""

    def __init__(self) -> None:
        self._platform = choose(DEVICE)

    def __getattr__(self, name: str) -> Any:
        return None if name == "widened_dtype" else getattr(self._platform, name)


def loaded_as(
    folder: Path, compute: Any = "auto", measuring: Measuring | None = None, budget_bytes: int = AMPLE_BYTES
) -> LoadedModel:
    return load(folder, RunnerSettings(compute=compute), choose(DEVICE), budget_bytes, measuring)


def module_of(loaded: LoadedModel) -> Any:
    return cast("TextNetwork", loaded.network).model


def logits(loaded: LoadedModel) -> mx.array:
    return loaded.network.logits(PROMPT, loaded.network.make_state()).astype(mx.float32)


def distance(found: LoadedModel, wanted: LoadedModel) -> float:
    """Relative L2 distance of logits."""
    reference = logits(wanted)
    return (mx.linalg.norm(logits(found) - reference) / mx.linalg.norm(reference)).item()


def forms(loaded: LoadedModel) -> dict[str, str]:
    """Name of the class by path, of all that multiplies or looks up."""
    kinds = (nn.Linear, nn.QuantizedLinear, nn.Embedding, nn.QuantizedEmbedding)
    layers = module_of(loaded).named_modules()
    return {path: type(m).__name__ for path, m in layers if isinstance(m, kinds) and not isinstance(m, Part)}


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("is_tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("bits", [4, 8])
def test_every_form_gives_the_same_logits(tmp_path: Path, bits: int, is_tied: bool) -> None:
    """Within the bound of the dtype, with biases, whatever the products' ways are."""
    folder = write_packed_model(
        "llama", tmp_path / "m", bits, tie_word_embeddings=is_tied, attention_bias=True, mlp_bias=True
    )
    stored = loaded_as(folder, "stored", UNMEASURED)
    assert distance(loaded_as(folder, "dense", UNMEASURED), stored) <= BOUND["float32"]
    for best in (WEIGHTS_FIRST, PADDED, COLUMNS, PADDED_COLUMNS):
        file = tmp_path / f"{best}.json"
        loaded_as(folder, measuring=Begun(file).measuring)
        make_up(file, lambda _kind, way, rows, best=best: rows * (1e-3 if way == best else 9e-3))
        other = loaded_as(folder, measuring=Begun(file).measuring)
        assert other.compute.startswith("dense")
        assert {"Product"} <= set(forms(other).values())
        assert ("TiedProduct" in forms(other).values()) == is_tied
        assert distance(other, stored) <= BOUND["float32"]


def test_unpacked_weights_take_the_dtype_of_the_activations(tmp_path: Path) -> None:
    """A platform that computes as the checkpoint says gets dense bfloat16, and nothing else is cast."""
    folder = write_packed_model("llama", tmp_path / "m", dtype=mx.bfloat16)
    platform = cast("Any", Unwidened())
    stored, dense = (
        load(folder, RunnerSettings(compute=compute), platform, AMPLE_BYTES, UNMEASURED)
        for compute in ("stored", "dense")
    )
    assert stored.compute == "stored 4-bit, bfloat16"
    assert dense.compute == "dense bfloat16"
    assert {array.dtype for _, array in tree_flatten(module_of(dense).parameters())} == {mx.bfloat16}
    assert distance(dense, stored) <= BOUND["bfloat16"]


@pytest.mark.usefixtures("unmeasured")
def test_measurements_decide(tmp_path: Path) -> None:
    """The same model is loaded stored or dense, by what its products took, and says so."""
    folder = write_packed_model("llama", tmp_path / "m")
    file = tmp_path / "m.json"
    loaded_as(folder, measuring=Begun(file).measuring)
    wanted = {
        packed_is_fast: ("stored 4-bit, float32", "QuantizedLinear"),
        packed_is_slow: ("dense float32", "Product"),
    }
    for rule, (words, layer) in wanted.items():
        make_up(file, rule)
        loaded = loaded_as(folder, measuring=Begun(file).measuring)
        assert loaded.compute == words
        assert forms(loaded)["model.layers.0.mlp.gate_proj.whole"] == layer
        kept = read(file)
        assert kept is not None
        assert kept.compute == words
        assert [kind.is_dense for kind in kept.kinds] == [layer == "Product"] * len(kept.kinds)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("is_understood", [True, False])
def test_weights_lie_in_panels_only_where_these_are_multiplied(
    is_understood: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timings may be of a process that had what multiplies them; the model says the same in both."""
    if is_understood and not panels.are_understood():
        pytest.skip("no BLAS, no compiler, or no CPU")
    monkeypatch.setattr(panels, "are_understood", lambda: is_understood)
    folder = write_packed_model("llama", tmp_path / "m")
    file = tmp_path / "m.json"
    loaded_as(folder, measuring=Begun(file).measuring)
    make_up(file, panels_are_fast, panels=True)
    loaded = loaded_as(folder, measuring=Begun(file).measuring)
    assert forms(loaded)["model.layers.0.mlp.gate_proj.whole"] == "Product"
    names = [name for name, _ in tree_flatten(module_of(loaded).parameters())]
    assert any(name.endswith(".panels") for name in names) == is_understood
    assert distance(loaded, loaded_as(folder, "stored", UNMEASURED)) <= BOUND["float32"]


@pytest.mark.usefixtures("unmeasured")
def test_a_table_that_is_only_looked_up_stays_packed(tmp_path: Path) -> None:
    """It multiplies nothing, so unpacking it would cost memory and save nothing."""
    folder = write_packed_model("llama", tmp_path / "m", tie_word_embeddings=False)
    file = tmp_path / "m.json"
    loaded_as(folder, measuring=Begun(file).measuring)
    make_up(file, packed_is_slow)
    found = forms(loaded_as(folder, measuring=Begun(file).measuring))
    assert found["model.embed_tokens"] == "QuantizedEmbedding"
    assert found["lm_head"] == "Product"


@pytest.mark.usefixtures("unmeasured")
def test_the_owner_decides_over_any_measurement(tmp_path: Path) -> None:
    """`stored` leaves all packed and `dense` unpacks all, the tables too."""
    folder = write_packed_model("llama", tmp_path / "m")
    file = tmp_path / "m.json"
    loaded_as(folder, measuring=Begun(file).measuring)
    make_up(file, packed_is_slow)
    assert "Product" not in forms(loaded_as(folder, "stored", Begun(file).measuring)).values()
    make_up(file, packed_is_fast)
    dense = forms(loaded_as(folder, "dense", Begun(file).measuring))
    assert not {name for name in dense.values() if name.startswith("Quantized")}


def test_a_device_with_one_way_measures_only_what_is_open(tmp_path: Path) -> None:
    """Where products have one way, forms alone are measured, and not even these where the owner names one."""
    folder = write_packed_model("llama", tmp_path / "m")
    for form, times in (("stored", 0), ("dense", 0), ("auto", 1)):
        begun = Begun(tmp_path / f"{form}.json", all_ways=False)
        loaded_as(folder, form, begun.measuring)
        assert begun.times == times
    measured = read(tmp_path / "auto.json")
    assert measured is not None
    assert {timing.way for kind in measured.kinds for timing in kind.timings} == {"stored", "rows first"}
    assert {timing.rows for kind in measured.kinds for timing in kind.timings} == {1, 8, 32, 512}


@pytest.mark.usefixtures("unmeasured")
def test_a_form_that_is_forced_once_leaves_what_was_measured(tmp_path: Path) -> None:
    """On a device with one way a forced form needs no timings; those for the next choice stay."""
    folder = write_packed_model("llama", tmp_path / "m")
    file = tmp_path / "m.json"
    for form, times in (("auto", 1), ("dense", 0), ("stored", 0), ("auto", 0)):
        begun = Begun(file, all_ways=False)
        loaded = loaded_as(folder, form, begun.measuring)
        kept = read(file)
        assert kept is not None
        assert (begun.times, kept.compute) == (times, loaded.compute)


@pytest.mark.usefixtures("unmeasured")
def test_memory_bounds_what_is_unpacked(tmp_path: Path) -> None:
    """With less room some kinds stay packed; with none all do; forced, it is refused with the numbers."""
    folder = write_packed_model("llama", tmp_path / "m")
    stored_bytes = loaded_size(loaded_as(folder, "stored", UNMEASURED))
    dense_bytes = loaded_size(loaded_as(folder, "dense", UNMEASURED))
    budgets = {"some": (stored_bytes + dense_bytes) // 2 * 4 // 3, "none": int(1.2 * stored_bytes)}
    for name, budget_bytes in budgets.items():
        file = tmp_path / f"{name}.json"
        loaded_as(folder, "auto", Begun(file).measuring, budget_bytes)
        make_up(file, packed_is_slow)
        begun = Begun(file)
        loaded = loaded_as(folder, "auto", begun.measuring, budget_bytes)
        assert begun.times == 0
        assert loaded_size(loaded) <= budget_bytes
        assert ("of" in loaded.compute.split()) == (name == "some")
        # Nothing more would have fitted.
        assert name == "none" or loaded_size(loaded) > 0.97 * 0.75 * budget_bytes
        assert loaded.compute.startswith("stored 4-bit")
    with pytest.raises(
        CannotLoad, match=r"the model needs .* GiB .* as dense .* set runner\.compute to stored"
    ):
        loaded_as(folder, "dense", budget_bytes=budgets["none"])


def loaded_size(loaded: LoadedModel) -> int:
    return sum(array.nbytes for _, array in tree_flatten(module_of(loaded).parameters()))


@pytest.mark.usefixtures("unmeasured")
def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    """Until the file is damaged, or the device, the BLAS, the room or the model is another."""
    folder = write_packed_model("llama", tmp_path / "m")
    file = tmp_path / "m.json"

    def times(budget_bytes: int = AMPLE_BYTES, folder: Path = folder, blas: str = "a blas") -> int:
        begun = Begun(file, blas)
        loaded_as(folder, "auto", begun.measuring, budget_bytes)
        make_up(file, packed_is_slow)
        return begun.times

    assert [times(), times()] == [1, 0]
    file.write_bytes(b"{}")
    assert [times(), times()] == [1, 0]
    assert [times(blas="another"), times(blas="another")] == [1, 0]
    assert [times(AMPLE_BYTES // 2), times(AMPLE_BYTES // 2)] == [1, 0]
    other = write_packed_model("llama", tmp_path / "n", bits=8)
    assert [times(folder=other), times(folder=other)] == [1, 0]


@pytest.mark.usefixtures("unmeasured")
def test_timings_of_a_busy_machine_are_taken_again(tmp_path: Path) -> None:
    """They serve for this load; the next one adds its tries to them."""
    folder = write_packed_model("llama", tmp_path / "m")
    file = tmp_path / "m.json"
    loaded_as(folder, measuring=Begun(file).measuring)
    make_up(file, lambda _kind, _way, _rows: 1e-9)
    file.write_bytes(file.read_bytes().replace(b'"steady": true', b'"steady": false'))
    begun = Begun(file)
    loaded_as(folder, measuring=begun.measuring)
    assert begun.times == 1
    kept = read(file)
    assert kept is not None
    assert {timing.seconds for kind in kept.kinds for timing in kind.timings} == {1e-9}


@pytest.mark.usefixtures("unmeasured")
def test_weights_that_were_never_packed_stay_themselves_where_nothing_is_gained(tmp_path: Path) -> None:
    """Only a layer for which another way is better is replaced."""
    write_random_model("llama", tmp_path / "m")
    file = tmp_path / "m.json"
    loaded_as(tmp_path / "m", measuring=Begun(file).measuring)
    make_up(file, packed_is_slow)
    plain = loaded_as(tmp_path / "m", measuring=Begun(file).measuring)
    assert set(forms(plain).values()) == {"Linear", "Embedding"}
    assert plain.compute == "dense float32"

    def wide_only(kind: Kind, way: Way, rows: int) -> float:
        is_better = way == WEIGHTS_FIRST and kind.outputs == 192
        return rows * (1e-3 if is_better else 3e-3 if way == PIECES else 2e-3)

    make_up(file, wide_only)
    turned = forms(loaded_as(tmp_path / "m", measuring=Begun(file).measuring))
    assert {path for path, name in turned.items() if name == "Product"} == {
        f"model.layers.{layer}.mlp.gate_proj.whole" for layer in (0, 1)
    }


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.skipif(DEVICE != "cpu", reason="elsewhere nothing says that packed experts are slow")
def test_experts_follow_on_the_cpu(tmp_path: Path) -> None:
    """Their products are not measured: they are unpacked where all others are, and say so where not."""
    folder = write_packed_model("qwen3_moe", tmp_path / "m", hidden_size=64, moe_intermediate_size=64)
    file = tmp_path / "m.json"
    loaded_as(folder, measuring=Begun(file).measuring)
    make_up(file, packed_is_slow)
    dense = loaded_as(folder, measuring=Begun(file).measuring)
    assert dense.compute == "dense float32"
    platform = cast("Any", Unwidened())
    begun = Begun(file)
    load(folder, RunnerSettings(), platform, AMPLE_BYTES, begun.measuring)
    make_up(file, packed_is_slow)
    left = load(folder, RunnerSettings(), platform, AMPLE_BYTES, begun.measuring)
    assert left.compute == "dense float16, experts stored"
    assert distance(dense, loaded_as(folder, "stored", UNMEASURED)) <= BOUND["float32"]


def test_nothing_is_measured_of_a_model_that_is_refused(tmp_path: Path) -> None:
    """The numbers come from the headers; no weights are read for it."""
    folder = write_packed_model("llama", tmp_path / "m")
    begun = Begun()
    for compute, budget_bytes in (("auto", 1000), ("dense", 250_000)):
        with pytest.raises(CannotLoad, match="the model needs"):
            loaded_as(folder, compute, begun.measuring, budget_bytes)
    assert begun.times == 0


def test_measured_timings_have_every_candidate(tmp_path: Path) -> None:
    """Each kind of a step is there once, with packed and unpacked products at the rows that are weighed."""
    folder = write_packed_model("llama", tmp_path / "m", tie_word_embeddings=True)
    file = tmp_path / "m.json"
    loaded_as(folder, measuring=Begun(file).measuring)
    measured = read(file)
    assert measured is not None
    found = {(kind.kind.use, kind.kind.outputs, kind.kind.inputs): kind for kind in measured.kinds}
    assert {key: kind.modules for key, kind in found.items()} == {
        ("head", 320, 64): 1,
        ("block", 64, 64): 2,
        ("block", 128, 64): 2,
        ("block", 192, 64): 2,
        ("block", 64, 96): 2,
    }
    for (use, _, _), kind in found.items():
        weighed = {1, 8, 32} | ({512} if use == "block" else set())
        assert {t.rows for t in kind.timings if t.way == STORED} == weighed
        assert {t.rows for t in kind.timings if t.way == WEIGHTS_FIRST} >= weighed
