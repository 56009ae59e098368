"""Malicious and unusual multipart forms, each with the statuses that are allowed in response."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.images import encoded

CONTENT_TYPE = "multipart/form-data; boundary=x"
REFUSED = (400, 413, 415, 422)


@dataclass(frozen=True)
class Form:
    """A request's body and headers, and the allowed response statuses."""

    name: str
    body: bytes
    statuses: tuple[int, ...] = (400,)
    content_type: str = CONTENT_TYPE
    environ: dict[str, str] = field(default_factory=dict)


def part(name: str = "image", filename: str | None = "photo.jpg", data: bytes = b"") -> bytes:
    """One part of a form: a file, or a field if `filename` is None."""
    file = f'; filename="{filename}"' if filename is not None else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"


END = b"--x--\r\n"


def forms() -> Iterator[Form]:
    """All forms, for `POST /v1/jobs`."""
    image = encoded()
    good = part(data=image) + END
    yield Form("no part", END)
    yield Form("text instead of an image", part(filename=None, data=b"a word") + END, (415,))
    yield Form("no file chosen", part(filename="") + END)
    yield Form("no file name", part(filename=None, data=image) + END, (202,))
    yield Form("an empty file name", part(filename="", data=image) + END, (202,))
    yield Form("1,000 fields", part("a", None) * 1000 + END, REFUSED)
    yield Form("1,001 files", part(data=image[:10]) * 1001 + END, REFUSED)
    yield Form("a header without an end", b"--x\r\nContent-Disposition: " + b"a" * 10**7, REFUSED)
    yield Form("100,000 headers", b"--x\r\n" + b"A: b\r\n" * 100_000 + b"\r\n" + END, REFUSED)
    yield Form("no boundary", good, content_type="multipart/form-data")
    yield Form("another boundary", good, content_type="multipart/form-data; boundary=y")
    yield Form("a boundary of 100 kB", good, content_type="multipart/form-data; boundary=" + "y" * 100_000)
    yield Form("dashes for a boundary", b"-" * 10**7, REFUSED, content_type="multipart/form-data; boundary=" + "-" * 60)
    yield Form("no closing boundary", good[: -len(END)], (202, *REFUSED))
    yield Form("a longer Content-Length", good, (202, *REFUSED), environ={"CONTENT_LENGTH": str(len(good) + 1000)})
    yield Form("a shorter Content-Length", good, REFUSED, environ={"CONTENT_LENGTH": str(len(good) // 2)})
    yield Form("a negative Content-Length", good, (202, *REFUSED), environ={"CONTENT_LENGTH": "-1"})
    yield Form("a Content-Length of 10 GB", good, (413,), environ={"CONTENT_LENGTH": "10000000000"})
    yield Form("a word as Content-Length", good, (202, *REFUSED), environ={"CONTENT_LENGTH": "many"})
    yield Form("a form within the form", part(data=good) + END, REFUSED)
    nested = b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n" + image + b"\r\n--y--\r\n" + END
    yield Form("multipart within multipart", nested, REFUSED)
    yield Form("a field's name of 1 MB", part("a" * 10**6, data=image) + END, REFUSED)
    yield Form("a field of 10 MB", part("a", None, b"a" * 10**7) + END, REFUSED)
    yield Form("half a character in the file's name", part(data=image).replace(b"photo", b"\x83\x5c") + END, (202,))
    yield Form("a part without a header", b"--x\r\n\r\n" + image + b"\r\n" + END)
    yield Form("NUL in the file's name", part(filename="a\0b.jpg", data=image) + END, (202,))
    yield Form("path traversal in the file's name", part(filename="../../etc/passwd", data=image) + END, (202,))
    yield Form("Windows path traversal in the file's name", part(filename="..\\..\\boot.ini", data=image) + END, (202,))
    yield Form("a file's name of 20 kB", part(filename="a" * 20_000 + ".jpg", data=image) + END, (202, *REFUSED))
    yield Form("invalid UTF-8 in the file's name", part(data=image).replace(b"photo", b"\xff\xfe") + END, (202,))
    yield Form("a wrong file extension", part(filename="photo.exe", data=image) + END, (202,))
