"""The routes of files: read the form, call the service, encode."""

from operator import attrgetter

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from allod.api.access import tenant_of
from allod.api.json_answer import json_answer
from allod.core.errors import BodyTooLarge
from allod.service.files import FileService
from allod.service.settings import BatchSettings
from allod.wire.files import deleted_file, understood_upload
from allod.wire.multipart import FormReader, Part
from allod.wire.pages import page_body, understood_page

_MOST_FILES = 10_000
_FRAMING_BYTES = 65_536
"""What a form may have around its file."""


class FileRoutes:
    """Handlers of `/v1/files`."""

    def __init__(self, files: FileService, settings: BatchSettings) -> None:
        self._files = files
        self._settings = settings

    async def create(self, request: Request) -> Response:
        """Keep a file."""
        upload = understood_upload(await self._read_form(request))
        return json_answer(msgspec.json.encode(await self._files.create(upload, tenant_of(request.scope))))

    async def list_files(self, request: Request) -> Response:
        """The files of who asks, from the newest."""
        page = understood_page(request.query_params, default=_MOST_FILES, most=_MOST_FILES)
        purpose = request.query_params.get("purpose")
        return json_answer(
            page_body(await self._files.all(tenant_of(request.scope), purpose), page, attrgetter("id"))
        )

    async def get(self, request: Request, file_id: str) -> Response:
        """What is known of a file."""
        file, _ = await self._files.one(file_id, tenant_of(request.scope))
        return json_answer(msgspec.json.encode(file))

    async def content(self, request: Request, file_id: str) -> Response:
        """The bytes of a file. A browser saves them: what strangers uploaded is no page of ours."""
        _, content = await self._files.one(file_id, tenant_of(request.scope))
        headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def delete(self, request: Request, file_id: str) -> Response:
        """Forget a file."""
        await self._files.delete(file_id, tenant_of(request.scope))
        return json_answer(deleted_file(file_id))

    async def _read_form(self, request: Request) -> dict[str, Part]:
        """The form of the body.

        Raises:
            InvalidRequest: it is no form.
            BodyTooLarge: it is longer than a file may be; nothing more of it is read.
            ClientDisconnect: the client left while sending.
        """
        reader = FormReader(request.headers.get("content-type", ""))
        limit_bytes = self._settings.max_file_bytes + _FRAMING_BYTES
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit_bytes:
            raise self._too_large()
        read_bytes = 0
        async for chunk in request.stream():
            read_bytes += len(chunk)
            if read_bytes > limit_bytes:
                raise self._too_large()
            reader.feed(chunk)
        parts = reader.flush()
        if any(len(part.data) > self._settings.max_file_bytes for part in parts.values()):
            raise self._too_large()
        return parts

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The file is longer than {self._settings.max_file_bytes} bytes, the limit of this server; "
            "split it, or raise the setting batches.max_file_bytes."
        )
