import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize
from tokenizers import Tokenizer

from allod.core.errors import ImportRefused
from allod.registry.catalog import Catalog
from allod.registry.gguf.convert import convert
from allod.registry.gguf.header import read_header
from allod.registry.gguf.rope import llama3_scaling
from allod.registry.importing import import_path
from allod.registry.progress import ignore_progress
from allod.registry.weights import read_tensors

DTYPES = {"F32": "<f4", "F16": "<f2", "U32": "<u4"}


def load(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of a folder; bfloat16 as the float32 that has the same value."""
    found = {}
    for path in folder.glob("*.safetensors"):
        content = path.read_bytes()
        begin = 8 + int.from_bytes(content[:8], "little")
        for tensor in read_tensors(path):
            data = content[begin + tensor.begin : begin + tensor.end]
            if tensor.dtype == "BF16":
                array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                array = np.frombuffer(data, DTYPES[tensor.dtype])
            found[tensor.name] = array.reshape(tensor.shape)
    return found


def dequantized(tensors: dict[str, np.ndarray], module: str, bits: int) -> np.ndarray:
    """MLX's affine form in float32: codes from the lowest bits of each word up, 32 to a group."""
    words = tensors[f"{module}.weight"]
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    codes = ((words[..., None] >> shifts) & ((1 << bits) - 1)).reshape(words.shape[0], -1, 32)
    scales = tensors[f"{module}.scales"].astype(np.float32)[..., None]
    biases = tensors[f"{module}.biases"].astype(np.float32)[..., None]
    return (scales * codes.astype(np.float32) + biases).reshape(words.shape[0], -1)


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of q and k rows, as its converter makes it."""
    return (
        rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
        .swapaxes(1, 2)
        .reshape(rows.shape)
    )


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0", "F16", "BF16", "F32"])
def test_every_value_survives_bit_for_bit(tmp_path: Path, gguf_file, architecture: str, kind: str) -> None:
    """What MLX will compute from the folder is what the reference dequantiser computes from the file."""
    source = gguf_file(architecture, GGMLQuantizationType[kind])
    convert(source, tmp_path, ignore_progress)
    stored = {tensor.name: tensor for tensor in GGUFReader(source).tensors}
    tensors = load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    modules = {
        "token_embd": "model.embed_tokens",
        "blk.1.attn_q": "model.layers.1.self_attn.q_proj",
        "blk.1.attn_k": "model.layers.1.self_attn.k_proj",
        "blk.1.attn_v": "model.layers.1.self_attn.v_proj",
        "blk.0.ffn_down": "model.layers.0.mlp.down_proj",
        "blk.0.ffn_norm": "model.layers.0.post_attention_layernorm",
    }
    for theirs, ours in modules.items():
        tensor = stored[f"{theirs}.weight"]
        expected = dequantize(tensor.data, tensor.tensor_type)
        quantization = config.get("quantization", {})
        if f"{ours}.scales" in tensors:
            found = dequantized(tensors, ours, quantization.get(ours, quantization)["bits"])
        else:
            found = tensors[f"{ours}.weight"].astype(np.float32)
        if architecture == "llama" and theirs.endswith(("_q", "_k")):
            found = interleaved(found, 4 if theirs.endswith("_q") else 2)
        assert np.array_equal(found.reshape(expected.shape), expected), theirs
    if architecture == "qwen2":
        bias = stored["blk.0.attn_q.bias"].data
        assert np.array_equal(tensors["model.layers.0.self_attn.q_proj.bias"], bias)


def test_the_config_says_what_the_file_says(tmp_path: Path, gguf_file) -> None:
    """Sizes, heads, rope, quantisation by module, and tied embeddings when there is no output matrix."""
    convert(gguf_file(), tmp_path, ignore_progress)
    config = json.loads((tmp_path / "config.json").read_text())
    embedding = {"group_size": 32, "bits": 8}
    assert config["quantization"] == {"group_size": 32, "bits": 4, "model.embed_tokens": embedding}
    expected = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "eos_token_id": 2,
    }
    assert {key: config[key] for key in expected} == expected


def test_a_model_of_plain_floats_has_no_quantization(tmp_path: Path, gguf_file) -> None:
    """Without a quantised tensor the config does not speak of quantisation."""

    def plain(writer: GGUFWriter) -> None:
        writer.add_tensor("token_embd.weight", np.zeros((263, 64), np.float16))

    source = gguf_file(
        linear=GGMLQuantizationType.F16,
        change=plain,
        rename=lambda name: None if name == "token_embd.weight" else name,
    )
    convert(source, tmp_path, ignore_progress)
    assert "quantization" not in json.loads((tmp_path / "config.json").read_text())


@pytest.mark.parametrize(
    ("kind", "key"), [("linear", "factor"), ("yarn", "original_max_position_embeddings"), ("none", None)]
)
def test_simple_rope_scaling_is_taken_over(tmp_path: Path, gguf_file, kind: str, key: str | None) -> None:
    """Linear and yarn scaling can be said in a config.json; none needs no word."""

    def scaled(writer: GGUFWriter) -> None:
        writer.add_string("llama.rope.scaling.type", kind)
        writer.add_float32("llama.rope.scaling.factor", 4.0)
        writer.add_uint32("llama.rope.scaling.original_context_length", 64)

    convert(gguf_file(change=scaled), tmp_path, ignore_progress)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (key in config["rope_scaling"]) if key else ("rope_scaling" not in config)


def llama3_factors(factor: float, base: float = 500_000.0, size: int = 128) -> np.ndarray:
    """The factors as llama.cpp's converter computes them for Llama 3."""
    factors = []
    for frequency in 1.0 / (base ** (np.arange(0, size, 2) / size)):
        wavelength = 2 * np.pi / frequency
        if wavelength < 8192 / 4.0:
            factors.append(1.0)
        elif wavelength > 8192 / 1.0:
            factors.append(factor)
        else:
            smooth = (8192 / wavelength - 1.0) / (4.0 - 1.0)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_factors_of_llama_3_become_its_four_numbers(factor: float) -> None:
    """Stored factors that follow the rule give the rule's numbers back; others give none."""
    factors = llama3_factors(factor)
    scaling = llama3_scaling(factors, 500_000.0)
    assert scaling is not None
    assert (scaling["rope_type"], scaling["factor"]) == ("llama3", factor)
    factors[len(factors) // 2] += 0.5
    assert llama3_scaling(factors, 500_000.0) is None


def test_stored_rope_factors_are_never_dropped_silently(tmp_path: Path, gguf_file) -> None:
    """Factors of an unknown rule refuse the file."""
    source = gguf_file(change=lambda w: w.add_tensor("rope_freqs.weight", np.full(8, 3.0, np.float32)))
    with pytest.raises(ImportRefused, match="rule of Llama 3"):
        convert(source, tmp_path, ignore_progress)


def rename_one(old: str, new: str | None):
    return lambda name: new if name == old else name


REFUSED = {
    "architecture": ({"architecture": "gemma3"}, r"'gemma3'.*llama, qwen2, qwen3"),
    "missing": (
        {"rename": rename_one("blk.1.ffn_up.weight", None)},
        r"lacks 1 tensors.*blk\.1\.ffn_up\.weight",
    ),
    "strange": ({"rename": rename_one("blk.1.ffn_up.weight", "blk.1.ffn_up_exps.weight")}, "ffn_up_exps"),
    "layer beyond": (
        {"change": lambda w: w.add_tensor("blk.7.attn_norm.weight", np.zeros(64, np.float32))},
        r"blk\.7\.attn_norm",
    ),
    "no pairs": ({"pairs": False}, "llama.block_count"),
    "pre": ({"pre": "tekken"}, r"tokenizer\.ggml\.pre.*'tekken'.*smollm"),
    "partial rope": ({"change": lambda w: w.add_rope_dimension_count(8)}, "rotates 8 of 16"),
    "scaling": ({"change": lambda w: w.add_string("llama.rope.scaling.type", "longrope")}, "longrope"),
    "split": ({"change": lambda w: w.add_uint16("split.count", 2)}, "llama-gguf-split --merge"),
    "head size": ({"change": lambda w: w.add_key_length(24)}, r"attn_q\.weight.*64 rows"),
    "infinite": (
        {
            "rename": rename_one("output_norm.weight", None),
            "change": lambda w: w.add_tensor(
                "output_norm.weight",
                np.full((1, 18), 0x7C, np.uint8),
                raw_dtype=GGMLQuantizationType.Q4_0,
            ),
        },
        "not a finite 16-bit float",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_over_is_refused_by_name(catalog: Catalog, gguf_file, case: str) -> None:
    """Each refusal names what is at fault, and nothing stays in the catalogue."""
    arguments, said = REFUSED[case]
    with pytest.raises(ImportRefused, match=said):
        import_path(catalog, gguf_file(**arguments), "a", ignore_progress)
    assert catalog.cards() == ()
    assert not catalog.root.is_dir() or list(catalog.root.iterdir()) == []


def test_types_that_would_be_rounded_are_listed(tmp_path: Path, gguf_file) -> None:
    """K-quants are refused with their count and the types that are taken."""

    def k_quant(writer: GGUFWriter) -> None:
        for name in ("a.weight", "b.weight"):
            writer.add_tensor(name, np.zeros((2, 144), np.uint8), raw_dtype=GGMLQuantizationType.Q4_K)

    with pytest.raises(ImportRefused, match=r"Q4_K \(2 tensors\).*Q4_0, Q4_1, Q8_0, F32, F16, BF16"):
        convert(gguf_file(change=k_quant), tmp_path, ignore_progress)


def test_a_file_cut_anywhere_is_refused(catalog: Catalog, gguf_file) -> None:
    """A download that stopped early never gives a model, nor any error but a refusal."""
    source = gguf_file()
    content = source.read_bytes()
    cuts = {*range(64), *range(64, len(content), 997), len(content) - 1}
    for cut in sorted(cuts):
        source.write_bytes(content[:cut])
        with pytest.raises(ImportRefused):
            import_path(catalog, source, "a", ignore_progress)
    assert list(catalog.root.iterdir()) == []


def test_a_damaged_file_is_refused_or_harmless(tmp_path: Path, gguf_file) -> None:
    """Whatever bytes of the header are wrong, the outcome is a model or a refusal, never another error."""
    source = gguf_file()
    content = source.read_bytes()
    header_bytes = min(tensor.begin for tensor in read_header(source).tensors)
    chance = random.Random(11)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(header_bytes)] = chance.randrange(256)
        source.write_bytes(damaged)
        try:
            convert(source, tmp_path, ignore_progress)
        except ImportRefused:
            refused += 1
    assert refused > 0


def test_a_truncated_file_is_told_in_bytes(tmp_path: Path, gguf_file) -> None:
    """The message has the bytes that are needed and the bytes that are there."""
    source = gguf_file()
    whole = source.stat().st_size
    source.write_bytes(source.read_bytes()[:-4096])
    with pytest.raises(ImportRefused, match=rf"need \d+ bytes, the file has {whole - 4096}"):
        convert(source, tmp_path, ignore_progress)


@pytest.mark.parametrize(
    ("begin", "content", "said"),
    [
        (0, b"GGML", "letters GGUF"),
        (4, struct.pack("<I", 1), "version is 1"),
        (4, struct.pack(">I", 3), "big-endian"),
        (8, struct.pack("<Q", 2**60), "truncated or damaged"),
        (16, struct.pack("<Q", 2**60), "truncated or damaged"),
        (24, struct.pack("<Q", 2**63), "truncated or damaged"),
    ],
)
def test_a_false_header_is_refused(tmp_path: Path, gguf_file, begin: int, content: bytes, said: str) -> None:
    """Wrong letters, versions and counts are refused before anything of their size is read."""
    source = gguf_file()
    data = bytearray(source.read_bytes())
    data[begin : begin + len(content)] = content
    source.write_bytes(data)
    with pytest.raises(ImportRefused, match=said):
        convert(source, tmp_path, ignore_progress)


@pytest.mark.parametrize("pre", ["smollm", "gpt-2", "llama-bpe", "qwen2"])
def test_any_text_comes_back_from_its_tokens(tmp_path: Path, gguf_file, pre: str) -> None:
    """Byte-level vocabularies lose nothing, whatever cuts the words; special tokens are one id."""
    convert(gguf_file(pre=pre), tmp_path, ignore_progress)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "hello  world's 1234\n\n\tx = 日本 🙂 naïve"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("<|im_end|><tool>", add_special_tokens=False).ids == [2, 262]
    assert tokenizer.decode([2, 262]) == "<tool>"


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("smollm", ["it", "'s", "Ġ", "1", "2", "3", "4"]),
        ("gpt-2", ["it", "'s", "Ġ1234"]),
        ("llama-bpe", ["it", "'s", "Ġ", "123", "4"]),
        ("qwen2", ["it", "'s", "Ġ", "1", "2", "3", "4"]),
    ],
)
def test_digits_are_cut_as_each_family_cuts_them(
    tmp_path: Path, gguf_file, pre: str, words: list[str]
) -> None:
    """The pre-tokenisers differ where it matters most: in numbers."""
    convert(gguf_file(pre=pre), tmp_path, ignore_progress)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str("it's 1234")] == words


@pytest.mark.parametrize(
    ("pre", "said", "adds"), [("llama-bpe", None, 1), ("smollm", None, 0), ("smollm", True, 1)]
)
def test_a_begin_token_is_added_where_the_family_or_the_file_says(
    tmp_path: Path, gguf_file, pre: str, said: bool | None, adds: int
) -> None:
    """Llama 3 adds one unless told not to; others when told to."""
    change = (lambda w: w.add_add_bos_token(said)) if said is not None else (lambda w: None)
    convert(gguf_file(pre=pre, change=change), tmp_path, ignore_progress)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("a").ids.count(1) == adds
    assert tokenizer.encode("a", add_special_tokens=False).ids.count(1) == 0


def test_the_card_knows_template_and_end(catalog: Catalog, gguf_file) -> None:
    """A GGUF file arrives with its chat template and the token that ends a turn."""
    card = import_path(catalog, gguf_file(), None, ignore_progress)
    assert (card.name, card.kind, card.stop_tokens, card.has_chat_template) == ("tiny", "gguf", (2,), True)
    assert (card.context_tokens, card.vocabulary, card.quantization) == (256, 263, "4-bit g32, some 8-bit")
