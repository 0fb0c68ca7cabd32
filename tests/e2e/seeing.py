"""A home of small models that see, pictures as clients send them, and one conversation in three dialects."""

import base64
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image
from tests.scaffolding.families import write_byte_tokenizer, write_random_model
from tests.scaffolding.server import RunningServer
from tests.scaffolding.vision_families import picture, save_vision_family

SEEING = "qwen2-5-vl"
"""The model that most tests ask: the tokens of its pictures depend on their size."""

BLIND = "llama"
FAMILIES = ("qwen2_5_vl", "gemma3", "smolvlm")
ROOMY_PIXELS = 640_000
"""Most that the model's own processor takes: more than what detail `low` leaves, as in real checkpoints."""

WORDS = "What is it?"
TOKENS = 12
GREEDY = {"temperature": 0}
FIRST, SECOND = (100, 80, 1), (100, 80, 5)
"""Width, height and seed of two pictures of one size."""

Body = dict[str, Any]


def name_of(family: str) -> str:
    return family.replace("_", "-")


def folder_of(home: Path, family: str) -> Path:
    return home.parent / "sources" / family


def home_that_sees(folder: Path) -> Path:
    """A home with a model of each family and one that reads text only, brought in as a person would."""
    home = folder / "home"
    for family in FAMILIES:
        save_vision_family(family, folder_of(home, family))
    processor = folder_of(home, "qwen2_5_vl") / "preprocessor_config.json"
    processor.write_text(json.dumps({**json.loads(processor.read_text()), "max_pixels": ROOMY_PIXELS}))
    write_random_model("llama", folder_of(home, BLIND))
    write_byte_tokenizer(folder_of(home, BLIND))
    for family in (*FAMILIES, BLIND):
        source = str(folder_of(home, family))
        command = [sys.executable, "-m", "allod", "--home", str(home), "import", source]
        result = subprocess.run([*command, "--name", name_of(family)], capture_output=True, check=False)
        assert result.returncode == 0, result.stderr
    return home


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def png(width: int, height: int, seed: int) -> bytes:
    return file_of(picture(width, height, seed))


def base64_of(file: bytes) -> str:
    return base64.b64encode(file).decode()


def uri_of(file: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64_of(file)}"


def shown(file: bytes | str, **more: str) -> Body:
    """A part of a chat message: a file, or an address as it is."""
    url = file if isinstance(file, str) else uri_of(file)
    return {"type": "image_url", "image_url": {"url": url, **more}}


def said(words: str) -> Body:
    return {"type": "text", "text": words}


def question(*files: bytes | str, words: str = WORDS) -> list[Body]:
    """One turn of the user: pictures, then words."""
    return [{"role": "user", "content": [*map(shown, files), said(words)]}]


@dataclass(frozen=True)
class Dialect:
    """How one dialect asks about one picture.

    Attributes:
        path: where it asks.
        counting: where it has the prompt counted.
        field: where the picture stands, as errors name it.
        names_param: whether errors have the field by itself too.
    """

    path: str
    counting: str
    field: str
    names_param: bool = True

    def body(self, file: bytes | str, model: str = SEEING, words: str = WORDS) -> Body:
        """A file goes the way that the dialect prefers; a text goes as an address."""
        uri = file if isinstance(file, str) else uri_of(file)
        match self.path:
            case "/v1/chat/completions":
                return {
                    "model": model,
                    "messages": question(uri, words=words),
                    "max_tokens": TOKENS,
                    **GREEDY,
                }
            case "/v1/responses":
                parts = [
                    {"type": "input_image", "image_url": uri},
                    {"type": "input_text", "text": words},
                ]
                asked = [{"role": "user", "content": parts}]
                return {"model": model, "input": asked, "max_output_tokens": TOKENS, **GREEDY}
            case _:
                source = {"type": "url", "url": file}
                if isinstance(file, bytes):
                    source = {"type": "base64", "media_type": "image/png", "data": base64_of(file)}
                content = [{"type": "image", "source": source}, said(words)]
                turns = [{"role": "user", "content": content}]
                return {"model": model, "messages": turns, "max_tokens": TOKENS, **GREEDY}


CHAT = Dialect("/v1/chat/completions", "/tokenize", "messages[0].content[0].image_url.url")
RESPONSES = Dialect("/v1/responses", "/v1/responses/input_tokens", "input[0].content[0].image_url")
MESSAGES = Dialect(
    "/v1/messages", "/v1/messages/count_tokens", "messages.0.content.0.source", names_param=False
)
DIALECTS = (CHAT, RESPONSES, MESSAGES)


def post(server: RunningServer, path: str, body: Body) -> httpx2.Response:
    return httpx2.post(f"{server.base_url}{path}", json=body, timeout=60, verify=False)


def text_of(answer: httpx2.Response) -> str:
    """The words of a whole answer, in whatever dialect."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    match body["object"] if "object" in body else body["type"]:
        case "chat.completion":
            return body["choices"][0]["message"]["content"]
        case "response":
            return "".join(part["text"] for item in body["output"] for part in item["content"])
        case _:
            return "".join(block["text"] for block in body["content"])


def counted(answer: httpx2.Response) -> int:
    """The prompt's tokens, as a counting route says them."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["count"] if "count" in body else body["input_tokens"]


def state_of(server: RunningServer, model: str = SEEING) -> Body:
    """What the server says a model is doing now; empty before anybody asked for it."""
    models: list[Body] = server.get("/ready").json()["models"]
    return next((entry for entry in models if entry["name"] == model), {})


def looked_at(server: RunningServer, model: str = SEEING) -> int:
    """How many pictures the model has looked at since it was loaded."""
    return state_of(server, model).get("seen_pictures") or 0


def is_idle(server: RunningServer, model: str = SEEING) -> bool:
    state = state_of(server, model)
    return state["rows"] == 0 and state["queued"] == 0 and state["requests"] == 0
