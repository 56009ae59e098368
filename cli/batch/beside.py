"""Outputs that keep each caption with its image: a text file or XMP beside it, or the image file itself."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cli.batch import BatchError
from cli.batch.exiftool import ExifTool
from cli.batch.journal import Caption
from cli.batch.outputs import Existing
from cli.batch.sources import Source
from common import problems, xmp
from common.files import DISK_FULL_ERRNOS, atomic_write
from common.images import raw
from common.problems import Problem
from common.translation import _
from common.xmp import Property


class Beside(ABC):
    """A place for the caption of each image. What is there is kept as `existing` says."""

    def __init__(self, existing: Existing) -> None:
        self._existing = existing
        self._owners: dict[Path, Source] = {}

    def check(self, source: Source) -> None:
        if source.path is None:
            raise BatchError(_("Nothing can be written beside {image}: use --out with URLs.", image=source.location))
        path = self.path(source.path)
        other = self._owners.setdefault(path, source)
        if other == source:
            return
        if other.path and other.path.exists():
            raise BatchError(
                _(
                    "{one} and {other} would share the sidecar {sidecar}. Caption them in two runs, or use --out or "
                    "--xmp.",
                    one=other.location,
                    other=source.location,
                    sidecar=path,
                )
            )
        self._owners[path] = source

    def has(self, source: Source) -> bool:
        try:
            return self._caption(Path(source.location)) is not None
        except Problem:  # `plan` raises it again, where it is listed as the problem of its image
            return False

    def plan(self, source: Source, caption: Caption) -> Caption:
        """Raises the problem `damaged-image` when the caption cannot be put into what is there."""
        before = self._read(Path(source.location))
        return replace(caption, content=self._content(before, caption.caption), before=_digest(before))

    def write(self, captions: Sequence[Caption]) -> dict[str, Problem]:
        """What somebody changed since its caption was planned is left as it is."""
        refused = {}
        for caption in captions:
            image = Path(caption.image)
            try:
                if caption.content is not None and image.exists() and caption.before == _digest(self._read(image)):
                    self._write(image, caption.content)
            except Problem as problem:
                refused[caption.image] = problem
            except OSError as error:
                if error.errno in DISK_FULL_ERRNOS:
                    raise
                refused[caption.image] = problems.INTERNAL(
                    "{name} cannot be written: {reason}.", name=self.path(image), reason=error.strerror
                )
        return refused

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None

    @abstractmethod
    def path(self, image: Path) -> Path:
        """The file in which an image's caption is."""

    @abstractmethod
    def _read(self, image: Path) -> str | None:
        """What is there for an image; None for nothing. Raises a `Problem`."""

    def _caption(self, image: Path) -> str | None:
        """The caption in what is there; None for none. Raises a `Problem`."""
        return self._read(image)

    def _content(self, before: str | None, caption: str) -> str:
        """What is to be there: the new caption, joined with the present one as `existing` says."""
        present = (before or "").strip()
        if present and self._existing == "append":
            return f"{present}, {caption}"
        if present and self._existing == "prepend":
            return f"{caption}, {present}"
        return caption

    @abstractmethod
    def _write(self, image: Path, content: str) -> None:
        """Replace what is there for an image. Raises a `Problem`."""


class TextSidecars(Beside):
    """Text files that are named after their images: `photo.txt` for `photo.jpg`."""

    def __init__(self, suffix: str, existing: Existing) -> None:
        super().__init__(existing)
        self._suffix = suffix

    def path(self, image: Path) -> Path:
        return image.with_suffix(self._suffix)

    def _read(self, image: Path) -> str | None:
        try:
            return self.path(image).read_bytes().decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise problems.NOT_FOUND(
                "{name} cannot be read: {reason}.", name=self.path(image), reason=error.strerror
            ) from error

    def _content(self, before: str | None, caption: str) -> str:
        return super()._content(before, caption) + "\n"

    def _write(self, image: Path, content: str) -> None:
        with atomic_write(self.path(image)) as file:
            file.write(content.encode("utf-8", "surrogateescape"))


class XmpSidecars(TextSidecars):
    """XMP files with the names that digiKam, Immich and darktable look for, or Lightroom for RAW files: `photo.jpg.xmp`
    and `photo.xmp`.
    """

    def __init__(self, existing: Existing, properties: Sequence[Property] = xmp.CAPTION) -> None:
        super().__init__(".xmp", existing)
        self._properties = properties

    def path(self, image: Path) -> Path:
        if xmp.replaces_suffix(image):
            return image.with_suffix(self._suffix)
        return image.with_name(image.name + self._suffix)

    def _caption(self, image: Path) -> str | None:
        before = self._read(image)
        return None if before is None else xmp.description(before, self._properties[0])

    def _content(self, before: str | None, caption: str) -> str:
        def change(present: str | None) -> str:
            return Beside._content(self, present, caption)

        return xmp.with_caption(before, change, self._properties)


class Embedded(Beside):
    """The metadata of the images themselves, through exiftool. Raises `BatchError` if it is not installed."""

    def __init__(self, existing: Existing, properties: Sequence[Property] = xmp.CAPTION) -> None:
        super().__init__(existing)
        self._properties = properties
        self._exiftool = ExifTool()

    def check(self, source: Source) -> None:
        super().check(source)
        if source.path and source.path.suffix.lower() in raw.SUFFIXES:
            raise BatchError(
                _("{image} is a RAW file, and --embed changes none. Use --xmp for sidecars.", image=source.location)
            )

    def close(self) -> None:
        self._exiftool.close()

    def path(self, image: Path) -> Path:
        return image

    def _read(self, image: Path) -> str | None:
        return self._exiftool.read(image, self._properties[0])

    def _write(self, image: Path, content: str) -> None:
        self._exiftool.write(image, self._properties, content)


def _digest(text: str | None) -> str | None:
    """The digest of what was there; None for nothing."""
    return None if text is None else hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
