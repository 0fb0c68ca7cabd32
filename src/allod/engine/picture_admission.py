"""Whether a prompt's pictures can ever be looked at here."""

from allod.core.messages import Refused, Submit
from allod.core.pictures import Sight

_OUT_OF_PLACE = "messages: the places of the pictures are not in order, or not within the prompt"


class PictureAdmission:
    """Judges the pictures of submissions.

    Args:
        sight: what pictures cost; None for a model that does not see.
        blind_because: why a model that could see does not.
    """

    def __init__(self, sight: Sight | None, blind_because: str) -> None:
        self._sight = sight
        self._blind_because = blind_because

    def refusal(self, submit: Submit) -> Refused | None:
        """Why a submission's pictures can never be looked at; None when they can."""
        if not submit.pictures:
            return None
        if self._sight is None:
            reason = f": {self._blind_because}" if self._blind_because else ""
            return Refused(
                submit.request,
                "invalid",
                f"messages: this model does not look at pictures here{reason}; send words only",
            )
        if flaw := _flaw(submit):
            return Refused(submit.request, "invalid", flaw)
        return self._shortage(submit, self._sight)

    def _shortage(self, submit: Submit, sight: Sight) -> Refused | None:
        for index, span in enumerate(submit.pictures):
            needed = sight.shelf_bytes(span)
            if needed > sight.cache_bytes:
                return Refused(
                    submit.request,
                    "picture",
                    f"this picture needs {_mib(needed)}, and {_mib(sight.cache_bytes)} are set aside for "
                    "pictures; send it smaller or with low detail, or raise the setting "
                    "runner.picture_cache_bytes",
                    picture=index,
                )
        return None


def _flaw(submit: Submit) -> str | None:
    end = 0
    for span in submit.pictures:
        if span.start < end or span.length < 1:
            return _OUT_OF_PLACE
        end = span.end
    if end > len(submit.tokens):
        return _OUT_OF_PLACE
    if end == len(submit.tokens):
        # The last token is read by the first decode step, which reads tokens only.
        return "messages: the prompt ends with a picture; let words follow it"
    return None


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"
