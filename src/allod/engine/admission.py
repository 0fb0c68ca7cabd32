"""Whether a submission can ever be served here, and how long its answers may become.

What can never work is refused at once with the numbers; what only does not fit now waits in the queue.
"""

from bisect import bisect_right
from dataclasses import replace

from allod.core.messages import Refused, Submit
from allod.core.step import ModelFacts
from allod.engine.memory import Group, Load, MemoryModel
from allod.engine.picture_admission import PictureAdmission
from allod.engine.settings import EngineSettings


class Admission:
    """Judges submissions as if the engine were empty.

    Args:
        facts: what was measured on the model.
        settings: scheduling limits.
        memory: predicts bytes.
    """

    def __init__(self, facts: ModelFacts, settings: EngineSettings, memory: MemoryModel) -> None:
        self._facts = facts
        self._settings = settings
        self._memory = memory
        self._pictures = PictureAdmission(facts.sight, facts.blind_because)

    def limit(self, submit: Submit) -> int | Refused:
        """The `max_tokens` to obey, or why the submission can never be served."""
        if flaw := self._flaw(submit):
            return Refused(submit.request, "invalid", flaw)
        if refused := self._pictures.refusal(submit):
            return refused
        prompt = len(submit.tokens)
        if overflow := self._overflow(prompt, submit.max_tokens):
            return Refused(submit.request, "context", overflow)
        least = 1 if submit.max_tokens is None else submit.max_tokens
        if not self._memory.fits(self._load(submit, prompt + least)):
            return Refused(submit.request, "memory", self._shortage(submit, least))
        if submit.max_tokens is not None:
            return submit.max_tokens
        return min(self._settings.default_max_tokens, self._largest_tokens(submit) - prompt)

    def _load(self, submit: Submit, total_tokens: int) -> Load:
        """The submission alone, if each row became so long.

        A batch row may be given up and read again with what it said, so all of it counts as a prompt.
        """
        rows = len(submit.sequences) if self._facts.batchable else 1
        read_tokens = total_tokens if submit.batch else min(len(submit.tokens), total_tokens)
        load = self._memory.load_of(submit.pictures)
        return replace(load, groups=(Group(rows, total_tokens),), prompt_tokens=read_tokens)

    def _flaw(self, submit: Submit) -> str | None:
        choices, rows = len(submit.sequences), self._settings.max_batch_rows
        vocabulary = self._facts.vocabulary
        if choices == 0 or choices != len(submit.samplings) or choices != len(set(submit.sequences)):
            return f"n: {choices} sequences need as many distinct ids and {len(submit.samplings)} samplings"
        if choices > rows:
            return f"n: {choices} choices are more than the {rows} rows of a batch; ask for at most {rows}"
        if submit.max_tokens is not None and submit.max_tokens < 1:
            return f"max_tokens: {submit.max_tokens} is less than 1; ask for at least one token"
        if not submit.tokens:
            return "messages: the prompt has no tokens; send at least one"
        if not 0 <= min(submit.tokens) <= max(submit.tokens) < vocabulary:
            worst = min(submit.tokens) if min(submit.tokens) < 0 else max(submit.tokens)
            return (
                f"prompt: token {worst} is outside the model's vocabulary; ids run from 0 to {vocabulary - 1}"
            )
        return None

    def _overflow(self, prompt: int, max_tokens: int | None) -> str | None:
        """In the words of OpenAI's API, which clients match on to shorten a conversation."""
        context = self._facts.context_tokens
        limit = f"This model's maximum context length is {context} tokens. However, "
        if max_tokens is None and prompt >= context:
            return (
                f"{limit}your messages resulted in {prompt} tokens. Please reduce the length of the messages."
            )
        if max_tokens is not None and prompt + max_tokens > context:
            return (
                f"{limit}you requested {prompt + max_tokens} tokens ({prompt} in the messages, "
                f"{max_tokens} in the completion). Please reduce the length of the messages or completion."
            )
        return None

    def _largest_tokens(self, submit: Submit) -> int:
        """Most prompt and completion tokens together that fit, for a prompt of at most this length."""

        def needed_bytes(tokens: int) -> int:
            return self._memory.needed_bytes(self._load(submit, tokens))

        totals = range(1, self._facts.context_tokens + 1)
        return bisect_right(totals, self._facts.budget_bytes, key=needed_bytes)

    def _shortage(self, submit: Submit, completion: int) -> str:
        prompt = len(submit.tokens)
        load = self._load(submit, prompt + completion)
        needed, rows = self._memory.needed_bytes(load), load.rows
        largest = self._largest_tokens(submit)
        choices = f" for each of {rows} choices" if rows > 1 else ""
        return (
            f"This request needs {_gib(needed)} for {prompt + completion} tokens ({prompt} in the messages, "
            f"{completion} in the completion){choices}, but the budget is {_gib(self._facts.budget_bytes)}, "
            f"of which the weights take {_gib(self._facts.weights_bytes)}. Messages and completion of "
            f"{largest} tokens together would fit; reduce the messages, max_tokens or n."
        )


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.2f} GiB"
