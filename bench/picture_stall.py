"""The longest stall of a text stream while a 1024 x 1024 picture arrives, and what the picture itself waits.

Usage: python bench/picture_stall.py [small|3b] [ROOM.SETTING=VALUE ...]. Prints JSON.

Makes a checkpoint with random weights, serves it with a real server, and measures from the client's side: one
process reads the stream, another sends pictures, and both share the machine with the server. `small` has a
tower that takes seconds on a CPU; `3b` has the sizes of Qwen2.5-VL-3B in bfloat16, for a GPU. Each picture is
another one; the last is sent twice, to show that it is not looked at again.
"""

import base64
import dataclasses
import io
import json
import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import httpx2
import openai

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.scaffolding.server import running_server
from tests.scaffolding.vision_families import VISION_FAMILIES, picture, save_checkpoint

from allod.registry.catalog import Catalog
from allod.registry.importing import import_path

SIDE = 1024
PICTURES = 4
CALM_SECONDS = 3.0
BOUND_MS = 250

SIZES: dict[str, dict[str, dict[str, object]]] = {
    "small": {
        "text": {
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_attention_heads": 8,
            "num_hidden_layers": 6,
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
        },
        "tower": {
            "depth": 16,
            "hidden_size": 256,
            "intermediate_size": 512,
            "out_hidden_size": 256,
            "num_heads": 4,
            "fullatt_block_indexes": [3, 7, 11, 15],
        },
    },
    "3b": {
        "text": {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "num_hidden_layers": 36,
            "vocab_size": 151936,
            "torch_dtype": "bfloat16",
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        },
        "tower": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "out_hidden_size": 2048,
            "num_heads": 16,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
    },
}


def checkpoint(size: str, folder: Path) -> Path:
    """Qwen2.5-VL's architecture in a size, with random weights."""
    base = VISION_FAMILIES["qwen2_5_vl"]
    parts = SIZES[size]
    tower = {
        "model_type": "qwen2_5_vl",
        "patch_size": 14,
        "spatial_patch_size": 14,
        "window_size": 112,
        **parts["tower"],
    }
    config = {**base.config, "max_position_embeddings": 16384, **parts["text"], "vision_config": tower}
    config.pop("head_dim")
    pixels = {**base.preprocessor, "max_pixels": 4_194_304}
    family = dataclasses.replace(base, config=config, preprocessor=pixels)
    return save_checkpoint(family, "qwen2_5_vl", folder)


def data_uri(seed: int) -> str:
    """A picture as clients send it."""
    file = io.BytesIO()
    picture(SIDE, SIDE, seed).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def look(url: str, uri: str) -> tuple[float, float]:
    """Ask for one token about a picture; when it was asked and when it was answered."""
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=600)
    content = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "What is it?"}]
    started = time.time()
    client.chat.completions.create(
        model="seer",
        messages=[{"role": "user", "content": content}],  # type: ignore[list-item]
        max_tokens=1,
        temperature=0,
    )
    return started, time.time()


def look_at_all(url: str) -> list[tuple[float, float]]:
    """All pictures, one after the other, the last one twice; runs in a process of its own."""
    uris = [data_uri(seed) for seed in range(PICTURES)]
    time.sleep(CALM_SECONDS)
    return [look(url, uri) for uri in (*uris, uris[-1])]


def stream(url: str, until) -> list[float]:
    """When each chunk with text of an endless answer comes, until a condition holds."""
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=600)
    answer = client.chat.completions.create(
        model="seer",
        messages=[{"role": "user", "content": "Go on and on."}],
        max_tokens=16_000,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    times: list[float] = []
    for chunk in answer:
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.time())
        if until():
            break
    answer.close()
    return times


def gaps_ms(times: list[float], start: float, end: float) -> list[float]:
    """Milliseconds between chunks of which the later came within this time."""
    return [1000 * (later - earlier) for earlier, later in pairwise(times) if start < later < end]


def measure(base_url: str, openai_url: str) -> dict[str, object]:
    """One stream decodes while pictures arrive one after the other."""
    look(openai_url, data_uri(1000))  # starts the process that decodes, and warms up
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        looking = pool.submit(look_at_all, openai_url)
        times = stream(openai_url, looking.done)
        rounds = looking.result()
    health = httpx2.get(f"{base_url}/ready").json()["models"][0]
    stalls = [max(gaps_ms(times, start, end), default=0.0) for start, end in rounds]
    beside = gaps_ms(times, rounds[0][0], rounds[-1][1])
    calm = gaps_ms(times, rounds[0][0] - CALM_SECONDS / 2, rounds[0][0])
    return {
        "median_gap_ms_without_pictures": round(statistics.median(calm), 1),
        "median_gap_ms_beside_pictures": round(statistics.median(beside), 1),
        "longest_gap_ms_by_picture": [round(stall, 1) for stall in stalls[:-1]],
        "longest_gap_ms_beside_the_repeated_picture": round(stalls[-1], 1),
        "picture_seconds": [round(end - start, 2) for start, end in rounds[:-1]],
        "repeated_picture_seconds": round(rounds[-1][1] - rounds[-1][0], 2),
        "pictures_looked_at": health["seen_pictures"],
        "pictures_asked_about": len(rounds) + 1,
        "bound_ms": BOUND_MS,
    }


def main(size: str, settings: list[str]) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        made = checkpoint(size, Path(folder) / "checkpoint")
        import_path(Catalog(home / "models"), made, "seer", lambda progress: None)
        with running_server(home, Path(folder) / "log", *settings) as server:
            figures = measure(server.base_url, server.openai_url)
    about = {"machine": platform.processor() or platform.machine(), "size": size, "side": SIDE}
    print(json.dumps({**about, **figures}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "small", sys.argv[2:])
