"""What renders prompts for one model and reads its answers, made from the files of its checkpoint."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from allod.core.card import ModelCard
from allod.core.errors import ConfigurationError, ImportRefused, ModelUnavailable
from allod.core.ids import TokenId
from allod.local.reuse import PromptEncoder
from allod.text.dialects import dialect_of, named
from allod.text.grammar import GrammarBuilder
from allod.text.lark import TokenFacts
from allod.text.markup import Dialect, ReasoningMarks
from allod.text.picture_words import PICTURE_WORDS
from allod.text.reasoning import find_marks
from allod.text.template import JinjaChatTemplate
from allod.text.tokenizer import FileTokenCodec

_DEFAULT = "default"
_TOOL_USE = "tool_use"


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
        named_tokens = {
            name: getattr(self, name) for name in self.__struct_fields__ if name.endswith("_token")
        }
        return {
            name: token.content if isinstance(token, _TokenText) else token
            for name, token in named_tokens.items()
            if isinstance(token, str | _TokenText)
        }

    def template(self, name: str) -> str | None:
        """The template of that name; a single one is the default."""
        if self.chat_template is None or isinstance(self.chat_template, str):
            return self.chat_template if name == _DEFAULT else None
        return next((known.template for known in self.chat_template if known.name == name), None)


@dataclass(frozen=True, slots=True)
class Chat:
    """How one model chats.

    Attributes:
        template: renders conversations.
        dialect: how it writes calls.
        marks: what stands around its reasoning, where it reasons.
    """

    template: JinjaChatTemplate
    dialect: Dialect
    marks: ReasoningMarks | None


@dataclass(frozen=True, slots=True)
class Kit:
    """What renders for one model, as of one card of it; `chat` is None without a chat template."""

    card: ModelCard
    codec: FileTokenCodec
    prompts: PromptEncoder
    chat: Chat | None
    grammars: GrammarBuilder

    def ids_of(self, marks: Iterable[str]) -> tuple[TokenId, ...]:
        """The ids of those marks that are one token of the vocabulary."""
        encoded = (self.codec.encode(mark, special=False) for mark in marks)
        return tuple(ids[0] for ids in encoded if len(ids) == 1)


def load_kit(folder: Path, card: ModelCard) -> Kit:
    """Read a model's tokenizer and template.

    Raises:
        ModelUnavailable: they cannot be read.
    """
    try:
        path = str(folder / "tokenizer.json")
        codec = FileTokenCodec.from_file(path)
        grammars = GrammarBuilder(_facts(path, codec, card))
        return Kit(card, codec, PromptEncoder(codec), _chat(folder, card), grammars)
    except (OSError, ValueError, ImportRefused, ConfigurationError) as error:
        raise ModelUnavailable(
            f"The files of the model '{card.name}' cannot be used: {error}. Import it again."
        ) from error


def _facts(path: str, codec: FileTokenCodec, card: ModelCard) -> TokenFacts:
    return TokenFacts(
        path=path,
        added=codec.added_tokens,
        special=codec.special_tokens,
        size=codec.vocabulary_size,
        scored=card.vocabulary,
        ends=card.stop_tokens,
    )


def _chat(folder: Path, card: ModelCard) -> Chat | None:
    config = _read_config(folder / "tokenizer_config.json")
    source = _read_text(folder / "chat_template.jinja") or config.template(_DEFAULT) or _beside(folder)
    if not source:
        return None
    template = JinjaChatTemplate(
        source,
        config.special_tokens(),
        datetime.now,
        tool_source=config.template(_TOOL_USE),
        picture_word=PICTURE_WORDS.get(card.architecture, "") if card.vision else "",
    )
    known = template.source
    dialect = named(card.tool_dialect) if card.tool_dialect else dialect_of(known, template.takes_tools)
    return Chat(template, dialect, find_marks(known))


def _read_config(path: Path) -> _TokenizerConfig:
    text = _read_text(path)
    if text is None:
        return _TokenizerConfig()
    try:
        return msgspec.json.decode(text, type=_TokenizerConfig)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _beside(folder: Path) -> str | None:
    """The template in a file of its own that older processors wrote."""
    text = _read_text(folder / "chat_template.json")
    return msgspec.json.decode(text, type=_TokenizerConfig).template(_DEFAULT) if text else None


def _read_text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
