"""A multipart form, read as it arrives and kept in memory: what is uploaded is nobody's temporary file."""

from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from allod.core.errors import InvalidRequest, refused

_MOST_PARTS = 16
_MOST_NAME_BYTES = 255


@dataclass(slots=True)
class Part:
    """One field of a form.

    Attributes:
        name: of the field.
        filename: None where the field is no file.
        data: its bytes.
    """

    name: str = ""
    filename: str | None = None
    data: bytearray = field(default_factory=bytearray)


class FormReader:
    """Bytes in any cut -> the parts of a form.

    Args:
        content_type: the header, which names the boundary.

    Raises:
        InvalidRequest: the header is not that of a form.
    """

    def __init__(self, content_type: str) -> None:
        essence, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if essence != b"multipart/form-data" or not boundary:
            raise refused(
                "Content-Type",
                "is not that of a form; send multipart/form-data with a boundary, as clients do",
            )
        self._parts: dict[str, Part] = {}
        self._part = Part()
        self._header = bytearray()
        self._value = bytearray()
        self._ended = False
        self._parser = _parser(boundary, self)

    def feed(self, data: bytes) -> None:
        """Take in a piece of the body.

        Raises:
            InvalidRequest: it is not a form.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _broken(str(error)) from error

    def flush(self) -> dict[str, Part]:
        """The parts by name; of repeated names the last one counts.

        Raises:
            InvalidRequest: the form stops before its end.
        """
        if not self._ended:
            raise _broken("it stops before its last boundary")
        return self._parts

    def begin_part(self) -> None:
        """A part starts."""
        self._part = Part()

    def part_data(self, data: bytes, start: int, end: int) -> None:
        """More of a part."""
        self._part.data += data[start:end]

    def end_part(self) -> None:
        """A part is complete."""
        self._parts[self._part.name] = self._part
        if len(self._parts) > _MOST_PARTS:
            raise _broken(f"it has more than {_MOST_PARTS} fields")

    def header_field(self, data: bytes, start: int, end: int) -> None:
        """More of a header's name."""
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        """More of a header's value."""
        self._value += data[start:end]

    def end_header(self) -> None:
        """A header is complete; only Content-Disposition says something."""
        if bytes(self._header).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._part.name = _text(options.get(b"name", b""))
            filename = options.get(b"filename")
            self._part.filename = None if filename is None else _text(filename)
        self._header.clear()
        self._value.clear()

    def end(self) -> None:
        """The form is complete."""
        self._ended = True


def _parser(boundary: bytes, reader: FormReader) -> MultipartParser:
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin_part,
                "on_part_data": reader.part_data,
                "on_part_end": reader.end_part,
                "on_header_field": reader.header_field,
                "on_header_value": reader.header_value,
                "on_header_end": reader.end_header,
                "on_end": reader.end,
            },
        )
    except FormParserError as error:
        raise _broken(str(error)) from error


def _text(raw: bytes) -> str:
    """A name from a header: UTF-8 as browsers send it, and no longer than a file system would take."""
    return raw[:_MOST_NAME_BYTES].decode("utf-8", "replace").replace("\0", "")


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"the body is not a multipart form: {why}; send one as clients do")
