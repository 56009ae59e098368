"""Pseudo-captions: the teacher's captions in a JSON lines file, with a header line and then one line per image.

The student learns to write them (sequence-level distillation, Kim and Rush 2016, arXiv 1606.07947): the style of one
teacher is easier to learn than that of five people. The header identifies the teacher and the search.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import strict_json
from training.data.images import CaptionedImage, DataError, ImageId, checked_id
from training.metrics.cider import cider_each
from training.metrics.tokens import tokenize


def read(path: Path) -> tuple[dict[str, Any], dict[ImageId, str]]:
    """Header and captions by image id. An incomplete last line is ignored. Raises `DataError`."""
    header, lines, _ = _parse(path)
    return header, {line["picture"]: str(line["caption"]) for line in lines}


def resume(path: Path, header: Mapping[str, Any]) -> set[ImageId]:
    """Prepare the file for appending and return the ids of the images in it. A missing file is created with `header`.

    Raises `DataError` when the file has another header, so another teacher or search.
    """
    if not path.exists() or not path.stat().st_size:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(strict_json.dumps(header) + "\n", encoding="utf-8")
        return set()
    existing, lines, size = _parse(path)
    if existing != header:
        raise DataError(f"The captions in {path} were made with {existing}, not with {dict(header)}. Use another file.")
    os.truncate(path, size)
    return {line["picture"] for line in lines}


def line(image: ImageId, caption: str, score: float) -> str:
    """The line of one image."""
    return strict_json.dumps({"picture": image, "caption": caption, "score": round(score, 4)}) + "\n"


def agreement(captions: Mapping[ImageId, str], images: Iterable[CaptionedImage]) -> dict[ImageId, float]:
    """CIDEr-D of each image's pseudo-caption against its reference captions, by image id."""
    captioned = [image for image in images if image.id in captions]
    scores = cider_each(
        [tokenize(captions[image.id]) for image in captioned],
        [[tokenize(caption) for caption in image.captions] for image in captioned],
    )
    return {image.id: score for image, score in zip(captioned, scores, strict=True)}


def for_training(paths: Sequence[Path], images: Sequence[CaptionedImage], min_cider: float) -> dict[ImageId, str]:
    """The pseudo-captions of these images in several files, without those whose CIDEr-D is below `min_cider`.

    Raises `DataError`, also when files are given and no caption is left.
    """
    captions: dict[ImageId, str] = {}
    for path in paths:
        captions |= read(path)[1]
    ids = {image.id for image in images}
    captions = {image_id: caption for image_id, caption in captions.items() if image_id in ids and caption}
    if min_cider > 0:
        scores = agreement(captions, images)
        captions = {image_id: caption for image_id, caption in captions.items() if scores[image_id] >= min_cider}
    if paths and not captions:
        raise DataError("No pseudo-caption belongs to a training image and reaches --pseudo-min-cider.")
    return captions


def _parse(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """Header, lines, and their size in bytes. Bytes after the last line break are an incomplete line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"There is no pseudo-caption file {path}.") from error
    size = content.rfind(b"\n") + 1
    try:
        header, *lines = [json.loads(text) for text in content[:size].splitlines()]
        if not all({"picture", "caption"} <= line.keys() for line in lines) or "teacher" not in header:
            raise KeyError
        for line in lines:
            line["picture"] = checked_id(line["picture"])
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is not a caption file of training.pseudo_label.") from error
    return header, lines, size
