"""The accepted formats: their names, and the suffixes of their files."""

from __future__ import annotations

from common.images import raw
from common.translation import _

#: Suffixes by Pillow's name of the format. Vector formats and formats whose decoder starts another program (EPS) are
#: excluded deliberately.
SUFFIXES_BY_FORMAT = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "HEIF": (".heic", ".heics", ".heif", ".heifs", ".hif"),
    "AVIF": (".avif", ".avifs"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
}
FORMATS = tuple(SUFFIXES_BY_FORMAT)
#: Suffixes of the formats that Pillow reads.
RENDERED_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES_BY_FORMAT.values() for suffix in suffixes)
#: Suffixes of all formats, also where rawpy is not installed: a RAW file is then refused with the reason.
SUFFIXES = RENDERED_SUFFIXES | raw.SUFFIXES
#: The formats that can be read here, for people.
FORMAT_NAMES = (
    _("JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP, TIFF or camera RAW")
    if raw.is_installed()
    else _("JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF")
)
