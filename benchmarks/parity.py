"""Our engine's captions against those of transformers' `generate`, on real pictures, and CIDEr by precision.

    python -m benchmarks.parity --captions captions_val.json --images val/ --json FILE

In fp32 the captions must be the same, token for token. A difference is only a tie if both engines give the two
captions scores that differ by no more than float error; anything else is counted as an error.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from benchmarks import report
from benchmarks.reference import generate
from common.engine import Caption, Engine, Precision, Search
from common.images import decode
from common.pixels import to_pixels
from common.settings import Settings
from common.student import load_student
from training.data import MAX_PIXELS, Picture, limited, read_coco
from training.metrics.cider import cider as cider_of
from training.metrics.tokens import tokenize

BATCH = 16
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
#: What scores of the same caption may differ by: sums in another order.
FLOAT_ERROR = 1e-5


def main(arguments: list[str] | None = None) -> None:
    parser = report.parser("benchmarks.parity", __doc__)
    parser.add_argument("--captions", type=Path, nargs="+", required=True, help="COCO caption files")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folder or .tar for each caption file")
    parser.add_argument("--model", default="demo", help="demo, a .pt, a folder or a hub id")
    parser.add_argument("--limit", type=int, default=0, help="pictures; 0 for all")
    chosen = parser.parse_args(arguments)
    settings = Settings()
    pictures = limited(read_coco(chosen.captions, chosen.images), 50 if chosen.quick else chosen.limit, seed=0)
    student = load_student(chosen.model, processor=settings.processor)

    expected = reference(student.model, student.tokenizer, pictures)
    found: dict[str, list[Caption]] = {
        each: ours(Engine(copy.deepcopy(student.model), student.tokenizer, each), student.image_size, pictures)
        for each in PRECISIONS
    }
    said = {"generate": expected, **found}
    cider = {name: scored(pictures, captions) for name, captions in said.items()}
    different = {name: differences(expected, captions) for name, captions in said.items()}
    print(report.table(["", "CIDEr", "other captions"], [[name, cider[name], different[name]] for name in said]))
    ties, errors = ties_and_errors(expected, found["fp32"])
    print(f"{len(pictures)} pictures. Of fp32's differences {ties} are ties within {FLOAT_ERROR:g}, {errors} are not.")
    ratios = {f"cider_{name}": cider[name] / cider["fp32"] for name in ("bf16", "int8")}
    report.write(chosen.json, ratios, pictures=len(pictures), cider=cider, different=different, errors=errors)
    report.plot(chosen.plot, "CIDEr by precision", cider)


def prepared(image_size: int, pictures: Sequence[Picture]) -> torch.Tensor:
    images = (decode(picture.source.read(picture.file_name), MAX_PIXELS) for picture in pictures)
    return torch.from_numpy(np.stack([to_pixels(image, image_size) for image in images]))


def reference(
    model: BlipForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, pictures: Sequence[Picture]
) -> list[Caption]:
    """The best captions of transformers."""
    size, search = model.config.vision_config.image_size, Search()
    found = []
    for first in range(0, len(pictures), BATCH):
        pixels = prepared(size, pictures[first : first + BATCH])
        ranked = generate(model, tokenizer, pixels, beams=search.beams, max_length=search.max_length)
        found += [best for best, *_ in ranked]
    return found


def ours(engine: Engine, image_size: int, pictures: Sequence[Picture]) -> list[Caption]:
    """The best captions of our engine."""
    found = []
    for first in range(0, len(pictures), BATCH):
        pixels = prepared(image_size, pictures[first : first + BATCH])
        found += [best for best, *_ in engine.caption(pixels, Search())]
    return found


def scored(pictures: Sequence[Picture], captions: Sequence[Caption]) -> float:
    """CIDEr."""
    texts = [tokenize(caption.text) for caption in captions]
    return cider_of(texts, [[tokenize(text) for text in picture.captions] for picture in pictures])


def differences(expected: Sequence[Caption], found: Sequence[Caption]) -> int:
    return sum(one.text != other.text for one, other in zip(expected, found, strict=True))


def ties_and_errors(expected: Sequence[Caption], found: Sequence[Caption]) -> tuple[int, int]:
    """Of the captions that differ: how many score the same but for float error, and how many do not."""
    pairs = [(one, other) for one, other in zip(expected, found, strict=True) if one.text != other.text]
    ties = sum(abs(one.score - other.score) <= FLOAT_ERROR for one, other in pairs)
    return ties, len(pairs) - ties


if __name__ == "__main__":
    main()
