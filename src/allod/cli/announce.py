"""Says once, when the server is ready, what to type next."""

import json
import threading
from http import HTTPStatus

import httpx2

from allod.cli.terminal import say

_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 5.0


class Announcer:
    """Waits beside the server until it is ready, then prints one command that works as pasted."""

    def __init__(self, home: str, model: str | None) -> None:
        self._home = home
        self._model = model

    def on_listening(self, base_url: str) -> None:
        """Start waiting; returns at once. The thread is a daemon: it never holds up a stop."""
        say(f"allod listens on {base_url}; home is {self._home}")
        threading.Thread(target=self._wait, args=(base_url,), name="announcer", daemon=True).start()

    def _wait(self, base_url: str) -> None:
        pause = threading.Event()
        with httpx2.Client(timeout=_ANSWER_SECONDS, trust_env=False) as client:
            while True:
                ready = is_ready(client, base_url)
                if ready is not None:
                    break
                pause.wait(_POLL_SECONDS)
        if ready:
            say(example(base_url, self._model))


def is_ready(client: httpx2.Client, base_url: str) -> bool | None:
    """True when it is ready, False when it will not be without the owner, None when it is on its way.

    A server that asks for a key does not tell; then the command is as good now as later.
    """
    try:
        answer = client.get(f"{base_url}/ready")
    except httpx2.HTTPError:
        return None
    if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        return None if "Retry-After" in answer.headers else False
    return True


def example(base_url: str, model: str | None) -> str:
    """The line to try."""
    if model is None:
        return "no model to serve yet: stop this, run `allod pull smollm2-135m`, and start again"
    question = {"role": "user", "content": "Who wrote Romeo and Juliet?"}
    body = json.dumps({"model": model, "messages": [question]})
    headers = "-H 'Content-Type: application/json'"
    return f"ready; try:\n  curl {base_url}/v1/chat/completions {headers} -d '{body}'"
