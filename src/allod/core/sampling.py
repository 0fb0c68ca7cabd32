"""How the next token of a row is chosen. Crosses the process border, so it is a msgspec struct."""

import msgspec


class Sampling(msgspec.Struct, frozen=True):
    """Resolved sampling of one row. Neutral defaults: plain sampling from the model's distribution.

    Attributes:
        temperature: divides the logits; 0 means greedy (argmax), whatever the filters say.
        top_p: smallest set of most likely tokens whose probability reaches this is kept.
        top_k: keep this many most likely tokens; 0 keeps all.
        min_p: drop tokens less likely than this fraction of the most likely one.
        repetition_penalty: divides positive and multiplies negative logits of every token that
            stands in the prompt or the answer so far (Keskar et al. 2019, CTRL, section 4.1).
        presence_penalty: subtracted once from logits of tokens in the answer so far.
        frequency_penalty: subtracted per occurrence in the answer so far (OpenAI's formula).
        logit_bias: (token id, added logit) pairs.
        seed: makes the row's choices a function of (seed, position), whatever else is in the batch.
        top_logprobs: None for no log probabilities, else how many alternatives to report (0 to 20).
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    top_logprobs: int | None = None

    @property
    def is_greedy(self) -> bool:
        """True when the row takes the most likely token."""
        return self.temperature == 0.0

    @property
    def needs_history(self) -> bool:
        """True when the row's logits depend on the tokens seen so far."""
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0


class SamplingWishes(msgspec.Struct, frozen=True):
    """What a client or a checkpoint asked for; None where it said nothing.

    Precedence: request, then the checkpoint's generation_config, then `Sampling`'s defaults.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: tuple[tuple[int, float], ...] | None = None
    seed: int | None = None
    top_logprobs: int | None = None

    def over(self, weaker: "SamplingWishes") -> "SamplingWishes":
        """These wishes, with gaps filled from weaker ones."""
        merged = msgspec.structs.asdict(weaker) | self._given()
        return msgspec.convert(merged, SamplingWishes)

    def resolve(self) -> Sampling:
        """A complete Sampling: gaps take the neutral defaults."""
        return msgspec.convert(self._given(), Sampling)

    def _given(self) -> dict[str, object]:
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
