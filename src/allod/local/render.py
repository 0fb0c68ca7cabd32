"""Requests to prompts: the checkpoint's template and tokenizer, off the event loop."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from allod.core.card import ModelCard
from allod.core.errors import InvalidRequest, refused
from allod.core.ids import ModelName, TenantId, TokenId
from allod.core.pictures import PictureSpan
from allod.core.request import Conversation, GenerationRequest, Infill, RawText, RawTokens
from allod.local.kit import Chat, Kit, load_kit
from allod.local.pictures import LaidOut, Pictures
from allod.local.reading import Reading
from allod.text.boundaries import message_starts
from allod.text.expansion import Spliced, spliced
from allod.text.grammar import GrammarWish
from allod.text.infill import infill_prompt
from allod.text.markup import Dialect, Parser, ReasoningMarks
from allod.text.parse import AnswerParser, PlainParser
from allod.text.reasoning import ReasoningParser
from allod.text.settings import PromptSettings
from allod.text.volatile import stable

_THREADS = 2
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt, and how its answer is read.

    Attributes:
        tokens: the prompt.
        reading: what turns the answer's tokens into events.
        grammar: what the answer must follow; empty for free text.
        ending: tokens that end this answer beside the model's own.
        echo: the prompt's text, where the request wants it back.
        spans: which tokens stand for pictures.
        pictures: the pictures, one for each span.
        boundaries: where messages begin that other prompts may not have.
    """

    tokens: tuple[TokenId, ...]
    reading: Reading
    grammar: str = ""
    ending: tuple[TokenId, ...] = ()
    echo: str = ""
    spans: tuple[PictureSpan, ...] = ()
    pictures: tuple[LaidOut, ...] = ()
    boundaries: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Draft:
    """A conversation as text, in which each picture is still a mark."""

    request: GenerationRequest
    conversation: Conversation
    kit: Kit
    chat: Chat
    prompt: str


class Prompts(Protocol):
    """Something that renders requests."""

    async def render(self, request: GenerationRequest, card: ModelCard) -> Rendered:
        """The prompt of a request.

        Raises:
            InvalidRequest: the model cannot take this source.
            ModelUnavailable: the model's tokenizer or template cannot be read.
        """
        ...


class PromptRenderer:
    """Renders prompts on threads of its own, so that the event loop never waits for a long one.

    Args:
        folder_of: where a model's files are.
        settings: what is done to prompts before they are rendered.
        pictures: lays pictures out; None where no model sees.
    """

    def __init__(
        self,
        folder_of: Callable[[ModelCard], Path],
        settings: PromptSettings | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        self._folder_of = folder_of
        self._pictures = pictures
        self._settings = settings or PromptSettings()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="render")
        self._kits: dict[ModelName, Kit] = {}
        self._loading = threading.Lock()

    async def render(self, request: GenerationRequest, card: ModelCard) -> Rendered:
        """The prompt of a request, and how its answer is read.

        Raises:
            InvalidRequest: the model cannot take this source, a picture of it cannot be looked at, or the
                form asked for cannot be enforced.
            ModelUnavailable: the model's tokenizer or template cannot be read.
        """
        source = request.source
        if not isinstance(source, Conversation) or not source.pictures:
            return await self._run(self._render, request, card)
        draft = await self._run(self._draft, request, source, card)
        return await self._run(self._finish, draft, await self._laid_out(draft, card))

    async def prepare(self, card: ModelCard) -> None:
        """Read a model's tokenizer and template now: that can take half a second of its first request.

        Raises:
            ModelUnavailable: they cannot be read.
        """
        await self._run(self._kit, card)

    async def tokens(self, request: GenerationRequest, card: ModelCard) -> tuple[TokenId, ...]:
        """The prompt of a request, as the model reads it.

        Raises:
            InvalidRequest: the model cannot take this source.
        """
        return (await self.render(request, card)).tokens

    async def count(self, request: GenerationRequest, card: ModelCard) -> int:
        """How many tokens the prompt has.

        Raises:
            InvalidRequest: the model cannot take this source.
        """
        return len(await self.tokens(request, card))

    async def text(self, card: ModelCard, tokens: Sequence[TokenId]) -> str:
        """The text of tokens, special tokens included.

        Raises:
            InvalidRequest: a token is not in the vocabulary.
        """
        return await self._run(self._text, card, tokens)

    def close(self) -> None:
        """Let the threads end; prompts that are under way are finished first."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *arguments))

    def _text(self, card: ModelCard, tokens: Sequence[TokenId]) -> str:
        codec = self._kit(card).codec
        for index, token in enumerate(tokens):
            if token >= codec.vocabulary_size:
                raise InvalidRequest(
                    f"tokens[{index}]: {token} is not in the vocabulary of '{card.name}'; "
                    f"send ids below {codec.vocabulary_size}",
                    param=f"tokens[{index}]",
                )
        return b"".join(map(codec.token_bytes, tokens)).decode(errors="replace")

    def _render(self, request: GenerationRequest, card: ModelCard) -> Rendered:
        kit = self._kit(card)
        match request.source:
            case Conversation() as conversation:
                return self._finish(self._draft(request, conversation, card), ())
            case RawText(text=text, special=special):
                tokens, echo = kit.codec.encode(text, special=special), text
            case RawTokens(tokens=tokens):
                echo = kit.codec.decode(tokens) if request.echo else ""
            case Infill() as gap:
                tokens, echo = kit.codec.encode(_infilled(gap, kit, card), special=True), gap.prefix
        wish = GrammarWish(request.form, None, None, None, starts_inside=False)
        return Rendered(
            tokens=tokens,
            reading=Reading(kit.codec, continues=True),
            grammar=kit.grammars.build(wish),
            echo=echo if request.echo else "",
        )

    def _draft(self, request: GenerationRequest, conversation: Conversation, card: ModelCard) -> _Draft:
        kit = self._kit(card)
        chat = _chat_of(kit, card)
        if conversation.pictures and (self._pictures is None or not card.vision):
            raise refused(
                conversation.pictures[0].field,
                f"the model '{card.name}' reads text only; send words, or ask a model that sees",
            )
        if self._pictures is not None:
            self._pictures.require_few(conversation.pictures)
        conversation = stable(conversation, self._settings)
        return _Draft(request, conversation, kit, chat, chat.template.render(conversation))

    async def _laid_out(self, draft: _Draft, card: ModelCard) -> list[LaidOut]:
        """What each picture becomes in the prompt."""
        if self._pictures is None:
            return []
        form = draft.chat.template.picture_form
        return [await self._pictures.lay_out(picture, form, card) for picture in draft.conversation.pictures]

    def _finish(self, draft: _Draft, laid: Sequence[LaidOut]) -> Rendered:
        request, kit, chat, conversation = draft.request, draft.kit, draft.chat, draft.conversation
        prompt = draft.prompt
        inside = chat.marks is not None and prompt.rstrip().endswith(chat.marks.opening)
        wish = GrammarWish(request.form, conversation, chat.dialect, chat.marks, starts_inside=inside)
        calls = _takes_calls(conversation)
        reads_calls = calls or bool(conversation.tools) or chat.dialect.frames_answer
        dialect = chat.dialect if reads_calls else None
        reading = Reading(
            codec=kit.codec,
            parser=partial(_parser, conversation, dialect, chat.marks, inside=inside),
            shown=frozenset(kit.ids_of(_markup(dialect, chat.marks))),
            reasoning=request.reasoning or "field",
            continues=conversation.continue_last,
            takes_calls=calls,
        )
        if chat.marks is not None:
            reading = replace(reading, marks=chat.marks)
        placed = _placed(request.tenant, prompt, laid, kit)
        pictures = tuple(laid[place.picture] for place in placed.places)
        spans = (
            PictureSpan(place.start, place.length, picture.digest, picture.tensor_bytes)
            for place, picture in zip(placed.places, pictures, strict=True)
        )
        return Rendered(
            tokens=placed.tokens,
            reading=reading,
            grammar=kit.grammars.build(wish),
            ending=kit.ids_of(dialect.ending) if dialect else (),
            spans=tuple(spans),
            pictures=pictures,
            boundaries=message_starts(placed.tokens, kit.codec.special_tokens),
        )

    def _kit(self, card: ModelCard) -> Kit:
        kit = self._kits.get(card.name)
        if kit is not None and kit.card == card:
            return kit  # without waiting for another model that is being read
        with self._loading:
            kit = self._kits.get(card.name)
            if kit is None or kit.card != card:
                kit = self._kits[card.name] = load_kit(self._folder_of(card), card)
        return kit


def _chat_of(kit: Kit, card: ModelCard) -> Chat:
    if kit.chat is None:
        raise InvalidRequest(
            f"messages: the model '{card.name}' has no chat template; "
            "send plain text to /v1/completions instead",
            param="messages",
        )
    return kit.chat


def _placed(tenant: TenantId, prompt: str, laid: Sequence[LaidOut], kit: Kit) -> Spliced:
    """The prompt's tokens. A template writes the special ones itself; the tokenizer adds none."""
    if not laid:
        return Spliced(kit.prompts.encode(tenant, prompt), ())
    return spliced(prompt, [picture.tokens for picture in laid], kit.codec)


def _infilled(gap: Infill, kit: Kit, card: ModelCard) -> str:
    prompt = infill_prompt(gap.prefix, gap.suffix, kit.codec.added_tokens)
    if prompt is None:
        raise InvalidRequest(
            f"suffix: the model '{card.name}' cannot fill a gap: its vocabulary has no tokens for it; "
            "leave the field out, or use a model for code",
            param="suffix",
        )
    return prompt


def _takes_calls(conversation: Conversation) -> bool:
    """Whether calls may come: tools are offered, or were at an earlier turn."""
    offered = bool(conversation.tools) or any(message.tool_calls for message in conversation.messages)
    return offered and conversation.tool_choice != "none"


def _markup(dialect: Dialect | None, marks: ReasoningMarks | None) -> tuple[str, ...]:
    reasoning = (marks.opening, marks.closing) if marks else ()
    return (*(dialect.marks if dialect else ()), *reasoning)


def _parser(
    conversation: Conversation, dialect: Dialect | None, marks: ReasoningMarks | None, *, inside: bool
) -> Parser:
    """A parser for one choice: reasoning outside, calls within."""
    parser: Parser = dialect.parser(conversation.tools) if dialect else PlainParser()
    if marks is not None:
        parser = ReasoningParser(marks, parser, starts_inside=inside)
    return AnswerParser(parser, single_call=not conversation.parallel_tool_calls)
