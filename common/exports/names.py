"""Names of files in exports: relative paths that stay below the folder in which an export is unpacked."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from common import xmp
from common.exports.export import Names
from common.jobs import Job

#: Bytes of a folder's or file's name, which leave space for a number and a suffix below the 255 of most file systems.
MAX_PART_BYTES = 240
#: Parts of a path. With `MAX_PART_BYTES` each, they stay below the 4096 bytes that Linux allows.
MAX_PARTS = 16

_CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DRIVES = re.compile("^([A-Za-z]:)+")


def image_path(job: Job) -> str:
    """The path of a job's image: its `custom_id`, else its file name, as `relative_path` makes it."""
    return relative_path(job.custom_id or (job.input.filename if job.input else ""))


def relative_path(name: str) -> str:
    """`name` as a path with `/` that cannot leave the folder it is relative to; `picture` if nothing is left.

    Control characters, drive letters, and parts such as `..` are removed. Long parts keep their ends, and deep paths
    their last `MAX_PARTS` parts.
    """
    parts = _CONTROL_CHARACTERS.sub("", name).replace("\\", "/").split("/")
    # Shortened first, because the rest of a long part can begin like a drive.
    without_drives = (_DRIVES.sub("", _shortened(part)) for part in parts)
    # Windows ignores dots and spaces at the end of a name, so that `.. ` is the parent folder, too.
    kept = [part for part in without_drives if part.strip(". ")]
    return "/".join(kept[-MAX_PARTS:]) or "picture"


class SidecarNames:
    """Gives each image of an archive a sidecar with a name of its own.

    Where two images would share a sidecar, such as `a.jpg` and `a.png`, the later one's is named after its whole file
    name (`a.png.txt`), and where that is taken, too, it is numbered (`a.png (2).txt`). Names that differ only in case
    or in Unicode normalisation count as equal, because many file systems do not distinguish them.
    """

    def __init__(self, suffix: str, names: Names) -> None:
        self._suffix = suffix
        self._names = names
        self._taken: set[str] = set()
        self._copies: Counter[str] = Counter()

    def give(self, image: str) -> str:
        """The name of the sidecar of the image with this relative path."""
        return next(name for name in self._candidates(image) if self._take(name))

    def _candidates(self, image: str) -> Iterator[str]:
        """Names for the sidecar, best first."""
        path = PurePosixPath(image)
        if self._names is Names.REPLACE or (self._suffix == ".xmp" and xmp.replaces_suffix(path)):
            yield str(path.with_suffix(self._suffix))
        yield image + self._suffix
        while True:
            self._copies[image] += 1
            yield f"{image} ({self._copies[image] + 1}){self._suffix}"

    def _take(self, name: str) -> bool:
        """Reserve a name; False if it is taken."""
        key = unicodedata.normalize("NFC", name).casefold()
        if key in self._taken:
            return False
        self._taken.add(key)
        return True


def _shortened(part: str) -> str:
    return part.encode()[-MAX_PART_BYTES:].decode(errors="ignore")
