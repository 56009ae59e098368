"""The teacher's own captions as a file of JSON lines: a head that says who made them, then one picture a line.

They are what the student should say (sequence-level distillation, Kim and Rush 2016, arXiv 1606.07947): one teacher's
way of putting things is easier to learn than five people's.
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
    """Who made the captions, and each picture's; a torn last line is left out. Raises `DataError`."""
    head, lines, _ = _parsed(path)
    return head, {line["picture"]: str(line["caption"]) for line in lines}


def resume(path: Path, head: Mapping[str, Any]) -> set[ImageId]:
    """Make the file ready for more lines and give the pictures it has; starts it with `head` where there is none.

    Raises `DataError` when it was made by another teacher or search.
    """
    if not path.exists() or not path.stat().st_size:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(strict_json.dumps(head) + "\n", encoding="utf-8")
        return set()
    found, lines, whole = _parsed(path)
    if found != head:
        raise DataError(
            f"The captions in {path} were made otherwise: {found}, and now {dict(head)}. Name another file."
        )
    os.truncate(path, whole)
    return {line["picture"] for line in lines}


def line(picture: ImageId, caption: str, score: float) -> str:
    """One picture's line."""
    return strict_json.dumps({"picture": picture, "caption": caption, "score": round(score, 4)}) + "\n"


def agreement(captions: Mapping[ImageId, str], pictures: Iterable[CaptionedImage]) -> dict[ImageId, float]:
    """CIDEr-D of each captioned picture's caption to what people wrote of it."""
    chosen = [picture for picture in pictures if picture.id in captions]
    scores = cider_each(
        [tokenize(captions[picture.id]) for picture in chosen],
        [[tokenize(caption) for caption in picture.captions] for picture in chosen],
    )
    return {picture.id: score for picture, score in zip(chosen, scores, strict=True)}


def for_training(paths: Sequence[Path], pictures: Sequence[CaptionedImage], least_cider: float) -> dict[ImageId, str]:
    """The captions that several files have for these pictures, without those that agree less with people's.

    Raises `DataError`, also when there is none at all: they are of other pictures then.
    """
    captions: dict[ImageId, str] = {}
    for path in paths:
        captions |= read(path)[1]
    wanted = {picture.id for picture in pictures}
    captions = {number: caption for number, caption in captions.items() if number in wanted and caption}
    if least_cider > 0:
        scores = agreement(captions, pictures)
        captions = {number: caption for number, caption in captions.items() if scores[number] >= least_cider}
    if paths and not captions:
        raise DataError("None of the pseudo-captions is of a training picture and agrees enough with its captions.")
    return captions


def _parsed(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """Head, lines, and how many bytes they are. Only what stands after the last line's end can be torn."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"There is no file of pseudo-captions {path}.") from error
    whole = content.rfind(b"\n") + 1
    try:
        head, *lines = [json.loads(each) for each in content[:whole].splitlines()]
        if not all({"picture", "caption"} <= each.keys() for each in lines) or "teacher" not in head:
            raise KeyError
        for each in lines:
            each["picture"] = checked_id(each["picture"])
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{path} holds no captions of training.pseudo_label.") from error
    return head, lines, whole
