from collections.abc import Mapping, Sequence

class ProcessorMixin:
    """A processor of one model: text and pictures in, token ids and arrays out."""

    image_processor: object
    def __call__(self, *, text: Sequence[str], images: Sequence[object]) -> Mapping[str, object]: ...
