"""Says once, when the server is ready, what to type next."""

import json
import logging
import threading
from http import HTTPStatus

import httpx2
import msgspec

from allod.cli.terminal import say

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 4.0
_ANSWER_SECONDS = 5.0
_EXAMPLE_TOKENS = 60
"""The first answer should not ramble for minutes on a slow machine."""


class Announcer:
    """Waits beside the server until it is ready, then prints one command that works as pasted."""

    def __init__(self, home: str, model: str | None) -> None:
        self._home = home
        self._model = model

    def on_listening(self, base_url: str) -> None:
        """Start waiting; returns at once. The thread is a daemon: it never holds up a stop."""
        say(f"allod listens on {base_url}; home is {self._home}")
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # the server's log is not about this client
        threading.Thread(target=self._wait, args=(base_url,), name="announcer", daemon=True).start()

    def _wait(self, base_url: str) -> None:
        never = threading.Event()
        pause_seconds = _FIRST_PAUSE_SECONDS
        with httpx2.Client(timeout=_ANSWER_SECONDS, trust_env=False) as client:
            while (text := self._what_to_say(client, base_url)) is None:
                never.wait(pause_seconds)
                pause_seconds = min(1.5 * pause_seconds, _LONGEST_PAUSE_SECONDS)
        say(text)

    def _what_to_say(self, client: httpx2.Client, base_url: str) -> str | None:
        """The line to print; None while the server is on its way.

        A server that asks for a key does not tell; then the command is as good now as later.
        """
        try:
            answer = client.get(f"{base_url}/ready")
        except httpx2.HTTPError:
            return None
        if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            return example(base_url, self._model)
        return None if "Retry-After" in answer.headers else trouble(answer.content)


class _Model(msgspec.Struct):
    name: str
    detail: str = ""


class _Readiness(msgspec.Struct):
    models: list[_Model] = []


def trouble(body: bytes) -> str:
    """Why the server will not become ready by itself, from what `/ready` says."""
    try:
        models = msgspec.json.decode(body, type=_Readiness).models
    except msgspec.MsgspecError:
        models = []
    said = "; ".join(f"{model.name}: {model.detail}" for model in models if model.detail)
    return f"not ready: {said or 'the log says why'}"


def example(base_url: str, model: str | None) -> str:
    """The line to try."""
    if model is None:
        return "no model to serve yet: stop this, run `allod pull smollm2-135m`, and start again"
    question = {"role": "user", "content": "Who wrote Romeo and Juliet?"}
    wishes = {"max_tokens": _EXAMPLE_TOKENS, "temperature": 0}  # sampled freely, a small model rambles
    body = json.dumps({"model": model, "messages": [question], **wishes})
    headers = "-H 'Content-Type: application/json'"
    return f"ready; try:\n  curl {base_url}/v1/chat/completions {headers} -d '{body}'"
