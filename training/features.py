"""What the untrained part of a hybrid's stem makes of each view of each picture, on disk: computed once, read by every
later epoch and run.

A folder is one stem's; its name is made from all that decides what is in it. Each process appends to files of its own,
`NAME.features` with rows of one size and `NAME.keys` with what they are of, and reads those of all others. Features are
on the disk before the keys that count them, so that a kill costs what was not yet written and nothing else.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import strict_json
from training.data.images import DataError

#: Bytes of a view's key.
KEY_BYTES = 16

log = logging.getLogger("training")


class FeatureCache:
    """Features [channels, height, width] of views, in float16. `of` is what they depend on: weights, preprocessing."""

    def __init__(self, folder: Path, of: Mapping[str, Any], shape: tuple[int, ...]) -> None:
        about = strict_json.dumps(of, sort_keys=True, indent=1)
        self._folder = folder / hashlib.sha256(about.encode()).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "about.json").write_text(about + "\n", encoding="utf-8")
        self._row = np.dtype(("<f2", shape))
        self._own = self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._parts: list[NDArray[np.float16]] = []  # memory-mapped
        self._places: dict[bytes, tuple[int, int]] = {}  # key to part and row
        self.read()

    def __getstate__(self) -> dict[str, Any]:
        """Without the rows, which a loader's process maps for itself."""
        return self.__dict__ | {"_parts": [], "_places": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.read()

    def __contains__(self, view: str) -> bool:
        return key_of(view) in self._places

    def __getitem__(self, view: str) -> NDArray[np.float16]:
        """The features of a view, by its name; raises `KeyError` for one that is not there."""
        part, row = self._places[key_of(view)]
        features: NDArray[np.float16] = self._parts[part][row]
        return features

    def read(self) -> None:
        """Read what all processes have written, up to where a file was torn."""
        self._parts, self._places = [], {}
        for path in sorted(self._folder.glob("*.keys")):
            keys = np.fromfile(path, dtype=f"V{KEY_BYTES}")
            file = path.with_suffix(".features")
            rows = min(len(keys), file.stat().st_size // self._row.itemsize)
            if rows:
                self._places |= {key.tobytes(): (len(self._parts), row) for row, key in enumerate(keys[:rows])}
                self._parts.append(np.memmap(file, dtype="<f2", mode="r", shape=(rows, *self._row.shape)))

    def write(self, features: Mapping[str, NDArray[np.float16]]) -> None:
        """Put the features of views, by their names, on the disk; they are found after the next `read`."""
        contents = (
            (".features", b"".join(each.astype("<f2").tobytes() for each in features.values())),
            (".keys", b"".join(map(key_of, features))),
        )
        for suffix, content in contents:
            with self._own.with_suffix(suffix).open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    def make_room(self, views: int) -> None:
        """Raise `DataError` when the disk has no room for so many more views."""
        needed, free = views * self._row.itemsize, shutil.disk_usage(self._folder).free
        if needed > free:
            raise DataError(
                f"The features of {views} views take {needed / 1e9:.1f} GB, and there are {free / 1e9:.1f} GB left in "
                f"{self._folder.parent}. Give a smaller --views or another --feature-cache."
            )
        log.info("CachedTeacher the features of %d views in %s: %.1f GB.", views, self._folder, needed / 1e9)


def key_of(view: str) -> bytes:
    """What a view is found by."""
    return hashlib.blake2b(view.encode(), digest_size=KEY_BYTES).digest()
