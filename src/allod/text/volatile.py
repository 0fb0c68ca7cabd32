"""Heads that change from turn to turn, made stable before the template sees them.

A prompt's KV state can be reused up to the first token that differs. A client that puts a nonce or the
time of day first makes every turn a cold one. Each rule here takes one such habit out; each has a switch
in `PromptSettings`, and those that change the order of words are off unless the owner turns them on.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from allod.core.request import Conversation, Message
from allod.text.settings import PromptSettings
from allod.text.traits import SYSTEM_ROLES

_BILLING_HEADER = re.compile(r"\s*x-anthropic-billing-header:[^\n]*\n*")
_CLOCK_LINE = re.compile(r"[^\n]*\b\d{1,2}:\d{2}(?::\d{2})?\b[^\n]*")
_SAYS_NOW = re.compile(r"\b(?:current|now|today|time is)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Rule:
    is_wanted: Callable[[PromptSettings], bool]
    change: Callable[[Message], Message | None]


def stable(conversation: Conversation, settings: PromptSettings) -> Conversation:
    """The conversation after the rules that are switched on; they touch system messages only.

    A system message of which nothing is left is left out.
    """
    for rule in _RULES:
        if rule.is_wanted(settings):
            changed = (_applied(rule, message) for message in conversation.messages)
            conversation = replace(conversation, messages=tuple(filter(None, changed)))
    return conversation


def _applied(rule: _Rule, message: Message) -> Message | None:
    return rule.change(message) if message.role in SYSTEM_ROLES else message


def _without_billing_header(message: Message) -> Message | None:
    """Claude Code's first system block: its version and a nonce, no word for a model.

    It is dropped where it opens a system message, up to the end of its line.
    """
    header = _BILLING_HEADER.match(message.content)
    if header is None:
        return message
    rest = message.content[header.end() :]
    return replace(message, content=rest) if rest else None


def _with_clock_last(message: Message) -> Message:
    """Home Assistant's first line, `Current time is 10:00:00. Today's date is ...`, as the last one."""
    first, _, rest = message.content.partition("\n")
    if not rest.strip() or not (_CLOCK_LINE.fullmatch(first) and _SAYS_NOW.search(first)):
        return message
    return replace(message, content=f"{rest.rstrip()}\n{first}")


_RULES = (
    _Rule(lambda settings: settings.drop_billing_header, _without_billing_header),
    _Rule(lambda settings: settings.move_clock_last, _with_clock_last),
)
