"""Multipart forms: every picture in a form arrives, whatever its file name is, and with or without one.

werkzeug's own parser takes a part without a file name for text, drops the whole form when a part's header is not UTF-8,
and gives an empty form for one that it cannot read. This one keeps werkzeug's decoder, its limits and its temporary
files, and differs in these three points.
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

#: Names of the fields that hold pictures.
PICTURE_FIELDS = frozenset({"image", "images"})
#: Bytes that are read from the request at a time.
CHUNK = 64 * 1024
#: Longest part of a field's name that an error repeats, in characters.
SHOWN_NAME = 40

_Parsed = tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]


def decoded(text: bytes) -> str:
    """Text of unknown encoding, such as a file name in a header: UTF-8 if it is valid UTF-8, else Latin-1."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


class FormParser(FormDataParser):
    """Parses the body of a request into its fields and its files.

    Raises `bad-request` for a multipart form that cannot be read to its end, `too-many-images` for one with more than
    `max_form_parts` parts, and `upload-too-large` for a text of more than `max_form_memory_size` bytes.
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
        with ExitStack() as opened:  # closes the temporary files of a form that is refused halfway
            for part, content in self._parts(stream, (options or {}).get("boundary", ""), content_length, opened):
                name = part.name or ""
                if not _is_file(part):
                    texts.append((name, decoded(content.read())))
                elif _is_unfilled(part, content):
                    content.close()
                else:
                    # Without a name for it, FileStorage would take that of the temporary file.
                    filename = part.filename if isinstance(part, File) else ""
                    files.append((name, FileStorage(content, filename, name, headers=part.headers)))
            opened.pop_all()
        return stream, MultiDict(texts), MultiDict(files)

    def _parts(
        self, stream: IO[bytes], boundary: str, content_length: int | None, opened: ExitStack
    ) -> Iterator[tuple[Field | File, IO[bytes]]]:
        """Each part's header with its content, read from its beginning; `opened` closes the contents."""
        part: Field | File | None = None
        content: IO[bytes] = io.BytesIO()
        number = size = 0
        for event in self._events(stream, boundary):
            if isinstance(event, Field | File):
                part, size, number = event, 0, number + 1
                if self.max_form_parts is not None and number > self.max_form_parts:
                    raise problems.TOO_MANY_IMAGES(
                        f"The form has more than {self.max_form_parts} parts, the most that one request may have. "
                        "Send its pictures in several requests."
                    )
                content = opened.enter_context(self._container(part, content_length))
            elif isinstance(event, Data) and part is not None:
                size += len(event.data)
                if self.max_form_memory_size is not None and size > self.max_form_memory_size and not _is_file(part):
                    raise problems.UPLOAD_TOO_LARGE(
                        f"The form's field {shown_name(part.name)} is a text of more than "
                        f"{self.max_form_memory_size // 1000} kB. A picture's field is called `image`, or `images` "
                        "where several are taken."
                    )
                content.write(event.data)
                if not event.more_data:
                    content.seek(0)
                    yield part, content

    def _events(self, stream: IO[bytes], boundary: str) -> Iterator[Event]:
        """What werkzeug's decoder makes of the stream."""
        if not boundary or not boundary.isascii():
            raise problems.BAD_REQUEST(
                "The form's Content-Type has no boundary. Leave this header to the library that makes the form."
            )
        decoder = _Decoder(boundary.encode(), self.max_form_memory_size)
        chunks: Iterator[bytes | None] = chain(iter(partial(stream.read, CHUNK), b""), (None,))
        for chunk in chunks:
            try:
                decoder.receive_data(chunk)
                while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
                    yield event
            except (ValueError, RequestEntityTooLarge) as error:  # the latter for a header that has no end
                raise problems.BAD_REQUEST(
                    "The multipart form cannot be read: it ends too early, or a part of it has no proper header. "
                    "Nothing was kept; check how it was built, and send it again."
                ) from error

    def _container(self, part: Field | File, content_length: int | None) -> IO[bytes]:
        """Where the part's content is collected: for a file, what keeps a long one in the temporary folder."""
        if not _is_file(part):
            return io.BytesIO()
        filename = part.filename if isinstance(part, File) else None
        return self.stream_factory(content_length, part.headers.get("content-type"), filename)


class FormRequest(Request):
    """A request whose forms `FormParser` reads."""

    form_data_parser_class = FormParser


def shown_name(name: str | None) -> str:
    """A field's name as an error repeats it."""
    return repr((name or "")[:SHOWN_NAME])


class _Decoder(MultipartDecoder):
    """Takes headers in any encoding, where werkzeug takes UTF-8 only."""

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        return super()._parse_headers(decoded(bytes(data)).encode())


def _is_file(part: Field | File) -> bool:
    """Whether the part is a file: it has a file name, even an empty one, or is in a picture's field."""
    return isinstance(part, File) or part.name in PICTURE_FIELDS


def _is_unfilled(part: Field | File, content: IO[bytes]) -> bool:
    """Whether it is the empty part that a browser sends for a field in which no file was chosen."""
    if not isinstance(part, File) or part.filename:
        return False
    empty = not content.read(1)
    content.seek(0)
    return empty
