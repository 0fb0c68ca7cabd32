"""Another name for a model, with what those who use it want by default."""

import msgspec

from allod.core.ids import ModelName
from allod.core.request import ReasoningForm


class Alias(msgspec.Struct, frozen=True, omit_defaults=True):
    """One more name that clients may ask for.

    Attributes:
        name: what clients write; `*` stands for any characters.
        model: the catalogue key that answers.
        reasoning: where the model's reasoning goes when the request does not say.
        thinking: switches the model's reasoning when the request does not say; None leaves it.
    """

    name: str
    model: ModelName
    reasoning: ReasoningForm | None = None
    thinking: bool | None = None

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for many names."""
        return "*" in self.name
