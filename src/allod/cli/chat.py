"""`allod chat`: talk to a model, at a prompt or with one question, and show it pictures."""

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from allod import config
from allod.cli import pictures
from allod.cli.client import ChatClient, Content, Measured, Question, Turn
from allod.cli.options import own_url, settings_of
from allod.cli.pictures import Attached, Piece
from allod.cli.terminal import say
from allod.core.errors import AllodError, ConfigurationError, ModelNotFound
from allod.media.settings import MediaSettings

_QUOTED, _IMAGES = "allod.chat.quoted", "allod.chat.images"
_IMAGE_COMMAND = "/image"
_SHORT_OF_PATH = f"write {_IMAGE_COMMAND} PATH, for example {_IMAGE_COMMAND} ~/photo.jpg"


class ChatCommand(TyperCommand):
    """Notes how many words stand behind a `--`: these are words, whatever they look like."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as every command does; see `typer`."""
        ctx.meta[_QUOTED] = len(args) - args.index("--") - 1 if "--" in args else 0
        return super().parse_args(ctx, args)


def _note_images(context: typer.Context, paths: list[str] | None) -> None:
    context.meta[_IMAGES] = paths or []


Images = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        "-i",
        metavar="PATH",
        callback=_note_images,
        help="Picture to send before the words; may be given several times.",
    ),
]
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
        metavar="[MODEL] [PROMPT]...",
        help="A prompt of `-` is read from stdin. A word that is the path of a picture is the picture.",
        show_default=False,
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

    def ask(self, content: Content) -> None:
        """Print the answer as it comes. Ctrl-C stops it; what was said until then stands.

        Raises:
            AllodError: there is no answer, or it breaks.
        """
        turn = Turn("user", content)
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
    _images: Images = None,
    base_url: BaseUrl = None,
    key: Key = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
) -> None:
    """Talk to a model of a running server. Without a prompt: a conversation.

    In a conversation Ctrl-C stops the answer and Ctrl-D leaves; `/image PATH`, or a line that is the path
    of a picture, shows it to the model with the next question. The first word is the model when it
    is the name of one; else the only model there is answers.

    Words behind `--` are never taken for paths.

    Examples: `allod chat`, `allod chat smollm2-135m Who wrote Hamlet?`, `git diff | allod chat qwen3 -`

    With pictures: `allod chat photo.jpg What is this?`, `allod chat before.png after.png What changed?`,
    `allod chat --image scan.png -- Why is scan.png blurred`
    """
    media = settings_of(context).media
    images = [pictures.read(path, media) for path in context.meta[_IMAGES]]
    with closing(ChatClient(base_url or own_url(context), key or config.client_key())) as client:
        model, prompt = choose(client.model_names(), words or ())
        pieces = [*images, *_pieces(prompt, context.meta[_QUOTED], media)]
        talk = Conversation(client, model, max_tokens, temperature)
        if any(isinstance(piece, str) for piece in pieces):
            talk.ask(pictures.content_of(pieces))
        else:
            converse(talk, media, [piece for piece in pieces if isinstance(piece, Attached)])


def choose(names: Sequence[str], words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The model, and the words of the prompt, that the words after `chat` mean.

    Raises:
        ModelNotFound: no model is named and there is not exactly one.
    """
    if words and words[0] in names:
        return words[0], words[1:]
    if len(names) == 1:
        return names[0], words
    known = ", ".join(names) or "none; `allod pull smollm2-135m` fetches one"
    raise ModelNotFound(f"name the model first: `allod chat MODEL [PROMPT]`. Models there: {known}")


def converse(talk: Conversation, media: MediaSettings, attached: Sequence[Attached] = ()) -> None:
    """Ask, answer, until Ctrl-D; pictures go along with the first question after them."""
    if sys.stdin.isatty():
        say(f"{talk.model}: Ctrl-C stops an answer, Ctrl-D leaves, {_IMAGE_COMMAND} PATH shows a picture")
    waiting: list[Attached] = []
    _attach(waiting, attached)
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        except KeyboardInterrupt:
            say("")
            continue
        try:
            shown = _shown(line.strip(), media)
        except ConfigurationError as error:
            say(f"allod: {error.message}")
            continue
        _attach(waiting, shown)
        if line.strip() and not shown:
            _ask_and_go_on(talk, [*waiting, line])
            waiting.clear()


def _pieces(prompt: Sequence[str], quoted: int, media: MediaSettings) -> list[Piece]:
    """The prompt of the command line: its last `quoted` words stay words."""
    first_quoted = max(0, len(prompt) - quoted)
    pieces = [*pictures.find(prompt[:first_quoted], media), *prompt[first_quoted:]]
    words = [piece for piece in pieces if isinstance(piece, str)]
    if words == ["-"]:
        return [sys.stdin.read() if piece == "-" else piece for piece in pieces]
    return pieces if any(words) else [piece for piece in pieces if isinstance(piece, Attached)]


def _shown(line: str, media: MediaSettings) -> Sequence[Attached]:
    """The pictures that a line of a conversation shows; of a line that asks something, none."""
    match line.split(maxsplit=1):
        case [command, paths] if command == _IMAGE_COMMAND:
            return pictures.named(paths, media)
        case [command] if command == _IMAGE_COMMAND:
            raise ConfigurationError(_SHORT_OF_PATH)
        case _:
            return pictures.alone(line, media)


def _attach(waiting: list[Attached], more: Sequence[Attached]) -> None:
    waiting += more
    for picture in more:
        say(picture.words())


def _ask_and_go_on(talk: Conversation, pieces: Sequence[Piece]) -> None:
    turns_before = len(talk.turns)
    try:
        talk.ask(pictures.content_of(pieces))
    except KeyboardInterrupt:
        say("[stopped]")
    except AllodError as error:
        say(f"allod: {error.message}")
    if len(pieces) > 1 and len(talk.turns) == turns_before:
        say("[there was no answer, so the pictures are not kept; attach them again]")
