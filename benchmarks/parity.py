"""Compares the engine's captions of real images with those of transformers' `generate`, and CIDEr by precision.

    python -m benchmarks.parity --data coco:captions_val.json:val/ --json FILE

In fp32 the captions must be the same. A different caption counts as a tie when the scores differ by no more than
`FLOAT_ERROR`, else as an error.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from benchmarks import report
from benchmarks.reference import generate
from captioning.engine import Caption, Engine, Precision, Search
from captioning.student import load_student
from common.settings import Settings
from training.captioning import best_captions
from training.data import formats
from training.data.images import CaptionedImage, DataError, ImageId, limited
from training.metrics.cider import cider as cider_of
from training.metrics.tokens import tokenize

BATCH = 16
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
#: Largest difference between two scores of one caption; sums are computed in another order.
FLOAT_ERROR = 1e-5


def main(arguments: list[str] | None = None) -> None:
    parser = report.parser("benchmarks.parity", __doc__)
    formats.add_flags(parser)
    parser.add_argument("--model", default="demo", help="demo, a .pt, a folder or a hub id")
    parser.add_argument("--limit", type=int, default=0, help="number of images; 0 for all")
    options = parser.parse_args(arguments)
    settings = Settings()
    try:
        images = formats.read(formats.sources(options.data, options.captions, options.images))
    except DataError as error:
        parser.error(str(error))
    images = limited(images, 50 if options.quick else options.limit, seed=0)
    student = load_student(options.model, processor=settings.processor)

    def best(caption: Callable[[torch.Tensor], list[list[Caption]]]) -> dict[ImageId, Caption]:
        return {image.id: first for image, first in best_captions(caption, images, student.preprocessing, BATCH)}

    model, tokenizer, search = student.model, student.tokenizer, Search()
    expected = best(partial(generate, model, tokenizer, beams=search.beams, max_length=search.max_length))
    captions = {"generate": expected}
    for precision in PRECISIONS:
        captions[precision] = best(partial(Engine(copy.deepcopy(model), tokenizer, precision).caption, search=search))
    cider = {name: cider_score(images, by_image) for name, by_image in captions.items()}
    different = {name: count_differences(expected, by_image) for name, by_image in captions.items()}
    print(report.table(["", "CIDEr", "other captions"], [[name, cider[name], different[name]] for name in captions]))
    ties, errors = ties_and_errors(expected, captions["fp32"])
    print(f"{len(expected)} images. Of fp32's differences, {ties} are ties within {FLOAT_ERROR:g}, {errors} are not.")
    ratios = {f"cider_{name}": cider[name] / cider["fp32"] for name in ("bf16", "int8")}
    report.write(options.json, ratios, pictures=len(expected), cider=cider, different=different, errors=errors)
    report.plot(options.plot, "CIDEr by precision", cider)


def cider_score(images: Sequence[CaptionedImage], captions: Mapping[ImageId, Caption]) -> float:
    """CIDEr of the captions against the images' references."""
    candidates = [tokenize(caption.text) for caption in captions.values()]
    references = {image.id: [tokenize(text) for text in image.captions] for image in images}
    return cider_of(candidates, [references[image_id] for image_id in captions])


def count_differences(expected: Mapping[ImageId, Caption], actual: Mapping[ImageId, Caption]) -> int:
    """Number of images whose captions differ."""
    return sum(caption.text != actual[image_id].text for image_id, caption in expected.items())


def ties_and_errors(expected: Mapping[ImageId, Caption], actual: Mapping[ImageId, Caption]) -> tuple[int, int]:
    """Of the captions that differ, the number with the same score within `FLOAT_ERROR`, and the number of others."""
    pairs = [(caption, actual[key]) for key, caption in expected.items() if caption.text != actual[key].text]
    ties = sum(abs(left.score - right.score) <= FLOAT_ERROR for left, right in pairs)
    return ties, len(pairs) - ties


if __name__ == "__main__":
    main()
