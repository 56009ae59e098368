"""Read text files in UTF-8 with or without a byte order mark, or in UTF-16 or UTF-32 with one."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from training.data.images import DataError

#: Byte order marks and their encodings. UTF-32 is first, as one of its marks begins with one of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """The file's text. Raises `DataError`."""
    try:
        return decode_text(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise DataError(f"There is no caption file {path}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def read_json(path: Path) -> Any:
    """The file's JSON value. Raises `DataError`."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not a JSON file: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from error


def decode_text(content: bytes, name: str) -> str:
    """The text of a file's bytes. Raises `DataError` with `name`, the line and the encoding.

    Other encodings are not guessed: text in Windows-1252 is also valid in many other encodings, and a wrong guess
    would train on wrong letters.
    """
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding in ("utf-16", "utf-32"):
            raise DataError(
                f"{name} has a byte order mark of {encoding.upper()}, but is not valid: {error.reason}."
            ) from error
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"Line {line} of {name} is not in UTF-8: it has the byte 0x{content[error.start]:02X}, as files in "
            "Windows-1252 and other encodings have. Save the file as UTF-8."
        ) from error
