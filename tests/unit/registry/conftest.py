"""Builders of small checkpoints, good and bad, and a server that can be told to misbehave."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from tokenizers import Tokenizer, models, pre_tokenizers

from allod.registry.catalog import Catalog

HIDDEN, FEED_FORWARD, HEADS, KEY_VALUE_HEADS, LAYERS = 64, 96, 4, 2, 2
HEAD_SIZE = HIDDEN // HEADS
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *ALPHABET, "he", "hel", "Ġh", "<tool>"]
MERGES = ["h e", "he l", "Ġ h"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def safetensors_bytes(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """A safetensors file, written independently of the code under test."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def write_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "<|im_end|>": 2, "<eos>": 3}, merges=[]))
    tokenizer.add_special_tokens(["<|im_end|>", "<eos>"])
    tokenizer.save(str(path))


@dataclass
class Checkpoint:
    """A directory that imports, to be spoiled by the test."""

    folder: Path

    def config(self, **changes: object) -> None:
        path = self.folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def write(self, name: str, content: str | bytes = "") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "models")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    made = Checkpoint(tmp_path / "Tiny Llama")
    made.folder.mkdir()
    made.write(
        "config.json", json.dumps({"model_type": "llama", "vocab_size": 4, "max_position_embeddings": 128})
    )
    made.write("model.safetensors", safetensors_bytes({"w": ("BF16", [2, 3], b"x" * 12)}))
    write_tokenizer(made.folder / "tokenizer.json")
    return made


GgufBuilder = Callable[..., Path]


@pytest.fixture
def gguf_file(tmp_path: Path) -> GgufBuilder:
    """Writes a GGUF file with the reference library.

    The tensors' float32 values before quantising go under `values`, if a dictionary is given.
    """

    def build(
        architecture: str = "llama",
        linear: GGMLQuantizationType = GGMLQuantizationType.Q4_1,
        change: Callable[[GGUFWriter], None] = lambda writer: None,
        rename: Callable[[str], str | None] = lambda name: name,
        pairs: bool = True,
        pre: str = "smollm",
    ) -> Path:
        path = tmp_path / "Tiny.gguf"
        writer = GGUFWriter(path, architecture)
        if pairs:
            add_pairs(writer, pre)
        change(writer)
        for name, shape, kind in tensors_of(architecture, linear):
            if (kept := rename(name)) is not None:
                values = np.random.default_rng(len(name)).normal(size=shape).astype(np.float32)
                stored = values if kind == GGMLQuantizationType.F32 else quantize(values, kind)
                writer.add_tensor(kept, stored, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return build


def add_pairs(writer: GGUFWriter, pre: str) -> None:
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, *[1] * (len(TOKENS) - 4), 4])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)


def tensors_of(
    architecture: str, linear: GGMLQuantizationType
) -> Iterator[tuple[str, tuple[int, ...], GGMLQuantizationType]]:
    plain = GGMLQuantizationType.F32
    key_value = KEY_VALUE_HEADS * HEAD_SIZE
    yield "token_embd.weight", (len(TOKENS), HIDDEN), GGMLQuantizationType.Q8_0
    yield "output_norm.weight", (HIDDEN,), plain
    for layer in range(LAYERS):
        for name, shape, kind in (
            ("attn_norm.weight", (HIDDEN,), plain),
            ("attn_q.weight", (HIDDEN, HIDDEN), linear),
            ("attn_k.weight", (key_value, HIDDEN), linear),
            ("attn_v.weight", (key_value, HIDDEN), linear),
            ("attn_output.weight", (HIDDEN, HIDDEN), linear),
            ("ffn_norm.weight", (HIDDEN,), plain),
            ("ffn_gate.weight", (FEED_FORWARD, HIDDEN), linear),
            ("ffn_up.weight", (FEED_FORWARD, HIDDEN), linear),
            ("ffn_down.weight", (HIDDEN, FEED_FORWARD), linear),
        ):
            yield f"blk.{layer}.{name}", shape, kind
        if architecture == "qwen2":
            for letter, rows in (("q", HIDDEN), ("k", key_value), ("v", key_value)):
                yield f"blk.{layer}.attn_{letter}.bias", (rows,), plain
        if architecture == "qwen3":
            for letter in "qk":
                yield f"blk.{layer}.attn_{letter}_norm.weight", (HEAD_SIZE,), plain


@dataclass
class Answer:
    """What the stub says at one path.

    `cuts` and `statuses` are used up by one request each: bytes after which the connection closes, and
    statuses that come first.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    takes_ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@dataclass
class Stub:
    """A web server on loopback: answers by path, and every request it saw."""

    url: str
    answers: dict[str, Answer]
    requests: list[tuple[str, str, dict[str, str]]]

    def serve(self, path: str, body: bytes = b"", **rest: object) -> Answer:
        """Answer at a path from now on."""
        self.answers[path] = Answer(body, **rest)  # type: ignore[arg-type]
        return self.answers[path]

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.requests]


@pytest.fixture
def stub() -> Iterator[Stub]:
    answers: dict[str, Answer] = {}
    requests: list[tuple[str, str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            requests.append((self.command, path, {key.lower(): value for key, value in self.headers.items()}))
            answer = answers.get(path, Answer(status=404))
            status, body = answer.status, answer.body
            headers = {"Content-Type": "application/octet-stream", **answer.headers}
            if answer.statuses:
                status, body = answer.statuses.pop(0), b""
            wanted = self.headers.get("Range")
            if wanted and answer.takes_ranges and status == 200:
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
                status, headers["Content-Range"] = 206, f"bytes {begin}-{len(body) - 1}/{len(body)}"
                body = body[begin:]
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if answer.cuts:
                body = body[: answer.cuts.pop(0)]
                self.close_connection = True
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Stub(f"http://127.0.0.1:{server.server_address[1]}", answers, requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
