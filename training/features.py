"""On-disk cache of the features that the frozen part of a hybrid's stem computes for each view of each image.

Each stem has its own folder, named by a hash of everything that its features depend on. Each process appends to its
own files, `NAME.features` with rows of equal size and `NAME.keys` with their keys, and reads the files of all other
processes. Features are on disk before their keys, so a killed process loses only what was not yet written.
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
from common.files import append
from training.data.images import DataError

#: Bytes of a view's key.
KEY_BYTES = 16

log = logging.getLogger("training")


class FeatureCache:
    """Features of views, float16 [channels, height, width]. `inputs` is what they depend on: weights, preprocessing."""

    def __init__(self, folder: Path, inputs: Mapping[str, Any], shape: tuple[int, ...]) -> None:
        about = strict_json.dumps(inputs, sort_keys=True, indent=1)
        self._folder = folder / hashlib.sha256(about.encode()).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "about.json").write_text(about + "\n", encoding="utf-8")
        self._row = np.dtype(("<f2", shape))
        self._own = self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._parts: list[NDArray[np.float16]] = []  # memory-mapped
        self._locations: dict[bytes, tuple[int, int]] = {}  # key to part and row
        self.read()

    def __getstate__(self) -> dict[str, Any]:
        """State without the memory-mapped rows. A data loader process maps the files itself."""
        return self.__dict__ | {"_parts": [], "_locations": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.read()

    def __contains__(self, view: str) -> bool:
        return cache_key(view) in self._locations

    def __getitem__(self, view: str) -> NDArray[np.float16]:
        """The features of a view, by its name. Raises `KeyError` if they are not cached."""
        part, row = self._locations[cache_key(view)]
        features: NDArray[np.float16] = self._parts[part][row]
        return features

    def read(self) -> None:
        """Open the files of all processes, without incomplete rows at their end."""
        self._parts, self._locations = [], {}
        for path in sorted(self._folder.glob("*.keys")):
            keys = np.fromfile(path, dtype=f"V{KEY_BYTES}")
            file = path.with_suffix(".features")
            rows = min(len(keys), file.stat().st_size // self._row.itemsize)
            if rows:
                self._locations |= {key.tobytes(): (len(self._parts), row) for row, key in enumerate(keys[:rows])}
                self._parts.append(np.memmap(file, dtype="<f2", mode="r", shape=(rows, *self._row.shape)))

    def write(self, features: Mapping[str, NDArray[np.float16]]) -> None:
        """Write features of views, by their names, to disk. They are available after the next `read`."""
        contents = (
            (".features", b"".join(array.astype("<f2").tobytes() for array in features.values())),
            (".keys", b"".join(map(cache_key, features))),
        )
        for suffix, content in contents:
            append(self._own.with_suffix(suffix), content)

    def check_space(self, views: int) -> None:
        """Raise `DataError` when the disk has too little space for the features of `views` more views."""
        needed, free = views * self._row.itemsize, shutil.disk_usage(self._folder).free
        if needed > free:
            raise DataError(
                f"The features of {views} views take {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free in "
                f"{self._folder.parent}. Give a smaller --views or another --feature-cache."
            )
        log.info("Caching the features of %d views in %s: %.1f GB.", views, self._folder, needed / 1e9)


def cache_key(view: str) -> bytes:
    """Key of a view in the files."""
    return hashlib.blake2b(view.encode(), digest_size=KEY_BYTES).digest()
