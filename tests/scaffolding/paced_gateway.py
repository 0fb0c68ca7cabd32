"""The real gateway as a process of its own, over paced workers: for what many clients do to it.

Run as a script, it prints its address, and for every line that it reads the CPU seconds it has used.
"""

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx2
import msgspec
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from allod.app import serve
from allod.config import Settings, load
from allod.core.card import ModelCard
from allod.local.process import WorkerCommand
from allod.registry.catalog import Catalog
from allod.testing.models import tiny_card

ROOT = Path(__file__).parents[2]
MODEL = "paced"
WORDS = (" the", " river", " runs", " through", " a", " town", ", and", " grüne", ' "quoted"', ".\n")
"""What a paced model says, over and over."""

FIRST_WORD = 256
CONTEXT_TOKENS = 1_000_000
STOP_SECONDS = 30
FEW_DESCRIPTORS = 256
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_home(home: Path, **changes: object) -> None:
    """A home with one model that has no weights: bytes and WORDS are its vocabulary."""
    folder = home / "models" / MODEL
    folder.mkdir(parents=True)
    alphabet = sorted(ByteLevel.alphabet())
    spell = ByteLevel(add_prefix_space=False, use_regex=False)
    words = ["".join(piece for piece, _ in spell.pre_tokenize_str(word)) for word in WORDS]
    tokenizer = Tokenizer(
        BPE(vocab={text: index for index, text in enumerate((*alphabet, *words))}, merges=[])
    )
    tokenizer.pre_tokenizer = spell
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"chat_template": CHATML, "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    size = tokenizer.get_vocab_size()
    plain: dict[str, object] = {
        "vocabulary": size,
        "stop_tokens": (size - 1,),
        "context_tokens": CONTEXT_TOKENS,
    }
    card = tiny_card(MODEL, **(plain | changes))
    (folder / "card.json").write_bytes(msgspec.json.encode(card))


class Cpu(NamedTuple):
    """Seconds."""

    user: float
    system: float


@dataclass
class PacedGateway:
    """Where it listens, its process, and its log."""

    url: str
    process: "subprocess.Popen[str]"
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def cpu(self) -> Cpu:
        """CPU time that the gateway's process has used, all threads."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("cpu\n")
        self.process.stdin.flush()
        user, system = map(float, self.process.stdout.readline().split())
        return Cpu(user, system)

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(self.url + path, timeout=10)


@contextmanager
def paced_gateway(
    folder: Path,
    *worker_flags: str,
    settings: Sequence[str] = (),
    program: Sequence[str] = ("-m", __name__),
) -> Iterator[PacedGateway]:
    """A gateway until the block ends, which must be orderly.

    Args:
        folder: gets a home and the log.
        worker_flags: for the workers.
        settings: `room.setting=value`.
        program: what the interpreter runs.
    """
    if not (folder / "home").exists():
        write_home(folder / "home")
    log = folder / "log"
    command = [sys.executable, *program, str(folder / "home"), json.dumps(list(settings))]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, *worker_flags],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, log.read_text()
        gateway = PacedGateway(url, process, log)
        while gateway.get("/ready").status_code != 200:
            time.sleep(0.02)
        yield gateway
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    assert process.returncode == 0, log.read_text()


def main() -> int:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS, most))  # what macOS gives a process
    home, settings, *worker_flags = sys.argv[1:]
    flags = dict(setting.split("=", 1) for setting in json.loads(settings))
    loaded = load({"home": home, "api.port": "0", "local.accept_wait_seconds": "5", **flags}, {})

    def workers(_: Settings, __: Catalog) -> WorkerCommand:
        words = ("--first-token", str(FIRST_WORD), "--words", str(len(WORDS)))
        script = Path(__file__).with_name("paced_worker.py")

        def command(_: ModelCard) -> Sequence[str]:
            return (sys.executable, str(script), *words, *worker_flags)

        return command

    def announce(url: str) -> None:
        print(url, flush=True)
        threading.Thread(target=account, daemon=True).start()

    return serve(loaded, announce, workers)


def account() -> None:
    for _ in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_utime, used.ru_stime, flush=True)


if __name__ == "__main__":
    sys.exit(main())
