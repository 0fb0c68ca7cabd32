"""`allod chat`: talk to a model, at a prompt or with one question."""

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Annotated

import typer

from allod import config
from allod.cli.client import ChatClient, Measured, Question, Turn
from allod.cli.options import settings_of
from allod.cli.terminal import say
from allod.core.errors import AllodError, ModelNotFound

BaseUrl = Annotated[
    str | None, typer.Option("--base-url", help="Server to ask.", show_default="api.host and api.port")
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="API key.", show_default=config.CLIENT_KEY_VARIABLE),
]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")]
Temperature = Annotated[float | None, typer.Option(min=0, max=2, help="0 takes the most likely token.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL] [PROMPT]...", help="A prompt of `-` is read from stdin.", show_default=False
    ),
]


@dataclass
class Conversation:
    """What was said so far, and how to ask on. A turn that failed leaves no trace."""

    client: ChatClient
    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    turns: list[Turn] = field(default_factory=list[Turn])

    def ask(self, prompt: str) -> None:
        """Print the answer as it comes. Ctrl-C stops it; what was said until then stands.

        Raises:
            AllodError: there is no answer, or it breaks.
        """
        turn = Turn("user", prompt)
        question = Question(
            messages=(*self.turns, turn),
            stream=True,
            stream_options={"include_usage": True},
            model=self.model,
            max_completion_tokens=self.max_tokens,
            temperature=self.temperature,
        )
        said: list[str] = []
        measured = Measured(time.monotonic())
        try:
            for text in self.client.answer(question, measured):
                said.append(text)
                sys.stdout.write(text)
                sys.stdout.flush()
        finally:
            sys.stdout.write("\n")
            if said:
                self.turns += [turn, Turn("assistant", "".join(said))]
        if sys.stderr.isatty():
            say(f"[{measured.words()}]")


def chat(
    context: typer.Context,
    words: Words = None,
    base_url: BaseUrl = None,
    key: Key = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
) -> None:
    """Talk to a model of a running server. Without a prompt: a conversation.

    In a conversation Ctrl-C stops the answer and Ctrl-D leaves. The first word is the model when it
    is the name of one; else the only model there is answers.

    Examples: `allod chat`, `allod chat smollm2-135m Who wrote Hamlet?`, `git diff | allod chat qwen3 -`
    """
    url = base_url or _own_url(context)
    with closing(ChatClient(url, key or config.client_key())) as client:
        model, prompt = choose(client.model_names(), words or ())
        talk = Conversation(client, model, max_tokens, temperature)
        if prompt:
            talk.ask(sys.stdin.read() if prompt == "-" else prompt)
        else:
            converse(talk)


def choose(names: Sequence[str], words: Sequence[str]) -> tuple[str, str]:
    """The model and the prompt that the words after `chat` mean.

    Raises:
        ModelNotFound: no model is named and there is not exactly one.
    """
    if words and words[0] in names:
        return words[0], " ".join(words[1:])
    if len(names) == 1:
        return names[0], " ".join(words)
    known = ", ".join(names) or "none; `allod pull smollm2-135m` fetches one"
    raise ModelNotFound(f"name the model first: `allod chat MODEL [PROMPT]`. Models there: {known}")


def converse(talk: Conversation) -> None:
    """Ask, answer, until Ctrl-D."""
    if sys.stdin.isatty():
        say(f"{talk.model}: Ctrl-C stops an answer, Ctrl-D leaves")
    while True:
        try:
            prompt = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        except KeyboardInterrupt:
            say("")
            continue
        if prompt.strip():
            _ask_and_go_on(talk, prompt)


def _ask_and_go_on(talk: Conversation, prompt: str) -> None:
    try:
        talk.ask(prompt)
    except KeyboardInterrupt:
        say("[stopped]")
    except AllodError as error:
        say(f"allod: {error.message}")


def _own_url(context: typer.Context) -> str:
    """Where a server with these settings answers on this machine."""
    api = settings_of(context).api
    host = "127.0.0.1" if api.host in ("0.0.0.0", "::", "") else api.host
    return f"http://[{host}]:{api.port}" if ":" in host else f"http://{host}:{api.port}"
