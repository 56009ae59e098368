"""Names of the entries of a ZIP archive: their encoding, and those that are skipped or refused."""

from __future__ import annotations

import re
import unicodedata
import zipfile

#: Folders and files that operating systems add to archives.
SYSTEM_FOLDERS = frozenset({"__MACOSX"})
SYSTEM_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
#: Beginning of the names of macOS' files for metadata.
METADATA_PREFIX = "._"

_LATIN, _CYRILLIC, _JAPANESE = (
    re.compile(r"^LATIN"),
    re.compile(r"^CYRILLIC"),
    re.compile(r"HIRAGANA|KATAKANA|CJK|IDEOGRAPHIC|FULLWIDTH"),
)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
#: A Latin letter beside one that is not ASCII.
_MIXED = re.compile(r"[A-Za-z][^\x00-\x7f]|[^\x00-\x7f][A-Za-z]")


def decode_name(info: zipfile.ZipInfo) -> str:
    """The entry's name with printable characters only, in the most likely encoding.

    `zipfile` must have decoded it as cp437, as it does without the UTF-8 flag. Programs also write UTF-8, with or
    without that flag, cp866 (Russian) and Shift-JIS.
    """
    try:
        name = _guess(info.filename.encode("cp437"))
    except UnicodeEncodeError:  # Python 3.12 reads the name from an extra field, where it is UTF-8
        name = info.filename
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)


def is_skipped(name: str) -> bool:
    """Whether the entry is a folder, or a file that an operating system added."""
    folders, _, base_name = name.rpartition("/")
    return (
        not base_name
        or not SYSTEM_FOLDERS.isdisjoint(folders.split("/"))
        or base_name in SYSTEM_FILES
        or base_name.startswith(METADATA_PREFIX)
    )


def is_unsafe(name: str) -> bool:
    """Whether the name is not a relative path below one folder, separated by `/`."""
    return name.startswith("/") or "\\" in name or ".." in name.split("/") or re.match(r"[A-Za-z]:", name) is not None


def _guess(raw: bytes) -> str:
    western = raw.decode("cp437")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass
    if _is_western(western):
        return western
    russian = raw.decode("cp866")
    if _is_in(_CYRILLIC, russian) and not _MIXED.search(russian):
        return russian
    try:
        japanese = raw.decode("cp932")  # Microsoft's Shift-JIS
    except UnicodeDecodeError:
        return western
    return japanese if _is_in(_JAPANESE, japanese) else western


def _is_western(text: str) -> bool:
    """Whether at most two letters with accents follow each other, and they are beside a letter without one."""
    return all(
        len(run[0]) <= 2
        and _is_in(_LATIN, run[0])
        and (text[run.start() - 1 : run.start()].isalpha() or text[run.end() : run.end() + 1].isalpha())
        for run in _NOT_ASCII.finditer(text)
    )


def _is_in(script: re.Pattern[str], text: str) -> bool:
    """Whether all characters of `text` that are not ASCII belong to the script."""
    return all(script.search(unicodedata.name(character, "")) for character in text if not character.isascii())
