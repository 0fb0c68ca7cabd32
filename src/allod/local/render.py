"""Requests to prompts: the checkpoint's template and tokenizer, off the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from allod.core.card import ModelCard
from allod.core.errors import ImportRefused, InvalidRequest, ModelUnavailable
from allod.core.ids import ModelName, TokenId
from allod.core.ports import ChatTemplate, TokenCodec
from allod.core.request import Conversation, GenerationRequest, RawText
from allod.text.template import JinjaChatTemplate
from allod.text.tokenizer import FileTokenCodec

_THREADS = 2
_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt, and the codec that its answer is read with."""

    tokens: tuple[TokenId, ...]
    codec: TokenCodec


class Prompts(Protocol):
    """Something that renders requests."""

    async def render(self, request: GenerationRequest, card: ModelCard) -> Rendered:
        """The prompt of a request.

        Raises:
            InvalidRequest: the model cannot take this source.
            ModelUnavailable: the model's tokenizer or template cannot be read.
        """
        ...


class _NamedTemplate(msgspec.Struct, frozen=True):
    name: str
    template: str


class _TokenText(msgspec.Struct, frozen=True):
    content: str


class _TokenizerConfig(msgspec.Struct, frozen=True):
    """What a `tokenizer_config.json` says of templates and special tokens."""

    chat_template: str | tuple[_NamedTemplate, ...] | None = None
    bos_token: str | _TokenText | None = None
    eos_token: str | _TokenText | None = None
    unk_token: str | _TokenText | None = None
    sep_token: str | _TokenText | None = None
    pad_token: str | _TokenText | None = None
    cls_token: str | _TokenText | None = None
    mask_token: str | _TokenText | None = None

    def special_tokens(self) -> dict[str, str]:
        """The text of each special token, by the name templates know it by."""
        named = {name: getattr(self, name) for name in self.__struct_fields__ if name.endswith("_token")}
        return {
            name: token.content if isinstance(token, _TokenText) else token
            for name, token in named.items()
            if isinstance(token, str | _TokenText)
        }

    def template(self) -> str | None:
        """The template for plain conversations."""
        if self.chat_template is None or isinstance(self.chat_template, str):
            return self.chat_template
        return next((named.template for named in self.chat_template if named.name == _DEFAULT), None)


@dataclass(frozen=True, slots=True)
class _Kit:
    """What renders for one model, as of one import of it."""

    created: int
    codec: FileTokenCodec
    template: ChatTemplate | None


class PromptRenderer:
    """Renders prompts on threads of its own, so that the event loop never waits for a long one.

    Args:
        folder_of: where a model's files are.
    """

    def __init__(self, folder_of: Callable[[ModelCard], Path]) -> None:
        self._folder_of = folder_of
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="render")
        self._kits: dict[ModelName, _Kit] = {}
        self._loading = threading.Lock()

    async def render(self, request: GenerationRequest, card: ModelCard) -> Rendered:
        """The prompt of a request.

        Raises:
            InvalidRequest: the model cannot take this source.
            ModelUnavailable: the model's tokenizer or template cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._render, request, card)

    def close(self) -> None:
        """Let the threads end; prompts that are under way are finished first."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _render(self, request: GenerationRequest, card: ModelCard) -> Rendered:
        kit = self._kit(card)
        match request.source:
            case Conversation(messages=messages):
                if kit.template is None:
                    raise InvalidRequest(
                        f"messages: the model '{card.name}' has no chat template; "
                        "send plain text to /v1/completions instead",
                        param="messages",
                    )
                # A template writes the special tokens itself; Hugging Face's apply_chat_template adds none.
                tokens = kit.codec.encode(kit.template.render(messages), special=False)
            case RawText(text=text):
                tokens = kit.codec.encode(text, special=True)
            case source:
                tokens = source.tokens
        return Rendered(tokens, kit.codec)

    def _kit(self, card: ModelCard) -> _Kit:
        with self._loading:
            kit = self._kits.get(card.name)
            if kit is None or kit.created != card.created:
                kit = self._kits[card.name] = _load_kit(self._folder_of(card), card)
        return kit


def _load_kit(folder: Path, card: ModelCard) -> _Kit:
    try:
        config = _read_config(folder / "tokenizer_config.json")
        source = _read_text(folder / "chat_template.jinja") or config.template()
        template = JinjaChatTemplate(source, config.special_tokens(), datetime.now) if source else None
        return _Kit(card.created, FileTokenCodec.from_file(str(folder / "tokenizer.json")), template)
    except (OSError, ValueError, ImportRefused) as error:
        raise ModelUnavailable(
            f"The files of the model '{card.name}' cannot be used: {error}. Import it again."
        ) from error


def _read_config(path: Path) -> _TokenizerConfig:
    text = _read_text(path)
    if text is None:
        return _TokenizerConfig()
    try:
        return msgspec.json.decode(text, type=_TokenizerConfig)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _read_text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
