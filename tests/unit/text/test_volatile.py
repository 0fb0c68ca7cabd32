import pytest

from allod.core.request import Conversation, Message
from allod.text.settings import PromptSettings
from allod.text.volatile import stable

HEADER = "x-anthropic-billing-header: cc_version=2.1.90.abc; cc_entrypoint=cli; cch=1a2b3;"
ASK = Message("user", "ask")
CLOCK = "Current time is 10:21:07. Today's date is 2026-02-03."
CLOCK_LAST = PromptSettings(move_clock_last=True)


def after(*messages: Message, settings: PromptSettings | None = None) -> tuple[Message, ...]:
    return stable(Conversation(messages), settings or PromptSettings()).messages


def test_two_turns_that_differ_in_the_nonce_only_are_the_same() -> None:
    """Whether the header is a system message of its own or the first line of one."""
    for rest in ("", "\nYou help.", "\n\nYou help."):
        first = after(Message("system", HEADER + rest), ASK)
        second = after(Message("system", HEADER.replace("1a2b3", "fffff") + rest), ASK)
        assert first == second
        assert first == ((Message("system", "You help."), ASK) if rest else (ASK,))


@pytest.mark.parametrize(
    "message",
    [
        Message("user", HEADER),
        Message("assistant", HEADER),
        Message("system", f"Explain this:\n{HEADER}"),
        Message("system", "x-anthropic-billing"),
    ],
)
def test_the_header_is_dropped_only_where_it_is_one(message: Message) -> None:
    """In a user's words or further down it is something the model is asked about."""
    assert after(message) == (message,)


def test_every_rule_has_a_switch() -> None:
    """Nothing is dropped that the owner wants kept."""
    message = Message("system", f"{HEADER}\nYou help.")
    assert after(message, settings=PromptSettings(drop_billing_header=False)) == (message,)


def test_the_clock_goes_last_if_the_owner_wants_it() -> None:
    """The line is moved, no word is lost; by default it stays."""
    message = Message("system", f"{CLOCK}\nYou are a voice assistant.\n")
    assert after(message) == (message,)
    assert after(message, settings=CLOCK_LAST) == (Message("system", f"You are a voice assistant.\n{CLOCK}"),)


@pytest.mark.parametrize(
    "text",
    [
        CLOCK,
        f"{CLOCK}\n",
        "You help.\nIt is now 10:00.",
        "Open from 10:00 to 18:00.\nYou help.",
        "Today\nis fine",
    ],
)
def test_only_a_first_line_that_tells_the_time_is_moved(text: str) -> None:
    """Opening hours are no clock."""
    assert after(Message("system", text), settings=CLOCK_LAST) == (Message("system", text),)


def test_both_rules_work_together() -> None:
    """The clock may stand under the header."""
    message = Message("developer", f"{HEADER}\n{CLOCK}\nYou help.")
    assert after(message, settings=CLOCK_LAST) == (Message("developer", f"You help.\n{CLOCK}"),)
