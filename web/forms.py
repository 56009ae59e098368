"""Multipart form parser that accepts an image with any file name, or without one.

werkzeug's parser treats a part without a file name as text, drops the whole form if a part's header is not UTF-8, and
returns an empty form for a malformed body. This parser differs in these three points, and uses werkzeug's decoder,
limits and temporary files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import IO

from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from common import problems
from common.problems import shown_name

#: Names of the fields that contain images or an archive of images.
IMAGE_FIELDS = frozenset({"image", "images", "archive"})
#: Bytes of each read from the request.
CHUNK_SIZE = 64 * 1024

_Parsed = tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]


def decode_text(data: bytes) -> str:
    """Decode text of unknown encoding, such as a file name: as UTF-8 if it is valid UTF-8, else as Latin-1."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


class FormParser(FormDataParser):
    """Parse a request body into text fields and files.

    Raises `bad-request` for a malformed or truncated multipart form, `too-many-images` for more than `max_form_parts`
    parts, and `upload-too-large` for a text field of more than `max_form_memory_size` bytes.
    """

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> _Parsed:
        if mimetype != "multipart/form-data":
            return super().parse(stream, mimetype, content_length, options)
        texts: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        with ExitStack() as stack:  # closes the temporary files if an exception is raised
            for part, content in self._parts(stream, (options or {}).get("boundary", ""), content_length, stack):
                name = part.name or ""
                if not _is_file(part):
                    texts.append((name, decode_text(content.read())))
                elif _is_empty_file(part, content):
                    content.close()
                else:
                    # With None, FileStorage would use the name of the temporary file.
                    filename = part.filename if isinstance(part, File) else ""
                    files.append((name, FileStorage(content, filename, name, headers=part.headers)))
            stack.pop_all()
        return stream, MultiDict(texts), MultiDict(files)

    def _parts(
        self, stream: IO[bytes], boundary: str, content_length: int | None, stack: ExitStack
    ) -> Iterator[tuple[Field | File, IO[bytes]]]:
        """Each part with its content, positioned at its beginning; the contents are registered on `stack`."""
        part: Field | File | None = None
        content: IO[bytes] = io.BytesIO()
        count = size = 0
        for event in self._events(stream, boundary):
            if isinstance(event, Field | File):
                part, size, count = event, 0, count + 1
                if self.max_form_parts is not None and count > self.max_form_parts:
                    raise problems.TOO_MANY_IMAGES(
                        "The form has more than {limit} parts, the maximum for one request. Send the pictures in "
                        "several requests.",
                        limit=self.max_form_parts,
                    )
                content = stack.enter_context(self._open_content(part, content_length))
            elif isinstance(event, Data) and part is not None:
                size += len(event.data)
                if self.max_form_memory_size is not None and size > self.max_form_memory_size and not _is_file(part):
                    raise problems.UPLOAD_TOO_LARGE(
                        "The text of the form field {field} is longer than {limit} kB. Send a picture in the field "
                        "`image`, or the pictures of a batch in `images`.",
                        field=shown_name(part.name or ""),
                        limit=self.max_form_memory_size // 1000,
                    )
                content.write(event.data)
                if not event.more_data:
                    content.seek(0)
                    yield part, content

    def _events(self, stream: IO[bytes], boundary: str) -> Iterator[Event]:
        """The events of werkzeug's decoder; raises `bad-request` for a malformed form."""
        if not boundary or not boundary.isascii():
            raise problems.BAD_REQUEST("The form's Content-Type has no boundary. Let the HTTP library set this header.")
        decoder = _Decoder(boundary.encode(), self.max_form_memory_size)
        chunks: Iterator[bytes | None] = chain(iter(partial(stream.read, CHUNK_SIZE), b""), (None,))
        for chunk in chunks:
            try:
                decoder.receive_data(chunk)
                while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
                    yield event
            except (ValueError, RequestEntityTooLarge) as error:  # the latter for an endless header
                raise problems.BAD_REQUEST(
                    "The multipart form is malformed: it ends too early, or one of its parts has an invalid header. "
                    "Nothing was stored; check how the client builds the form, and send it again."
                ) from error

    def _open_content(self, part: Field | File, content_length: int | None) -> IO[bytes]:
        """A stream for the part's content; a long file is stored in the temporary folder."""
        if not _is_file(part):
            return io.BytesIO()
        filename = part.filename if isinstance(part, File) else None
        return self.stream_factory(content_length, part.headers.get("content-type"), filename)


class FormRequest(Request):
    """A request that parses forms with `FormParser`."""

    form_data_parser_class = FormParser


class _Decoder(MultipartDecoder):
    """werkzeug's decoder, which accepts headers in Latin-1, too."""

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        return super()._parse_headers(decode_text(bytes(data)).encode())


def _is_file(part: Field | File) -> bool:
    """Whether the part is a file: it has a file name, even an empty one, or its field is an image field."""
    return isinstance(part, File) or part.name in IMAGE_FIELDS


def _is_empty_file(part: Field | File, content: IO[bytes]) -> bool:
    """Whether this is the empty part that a browser sends for a file field without a chosen file."""
    if not isinstance(part, File) or part.filename:
        return False
    empty = not content.read(1)
    content.seek(0)
    return empty
