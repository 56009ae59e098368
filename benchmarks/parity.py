"""Our engine's captions against those of transformers' `generate`, on real pictures, and CIDEr by precision.

    python -m benchmarks.parity --data coco:captions_val.json:val/ --json FILE

In fp32 the captions must be the same, token for token. A difference is only a tie if both engines give the two
captions scores that differ by no more than float error; anything else is counted as an error.
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
#: What scores of the same caption may differ by: sums in another order.
FLOAT_ERROR = 1e-5


def main(arguments: list[str] | None = None) -> None:
    parser = report.parser("benchmarks.parity", __doc__)
    formats.add_flags(parser)
    parser.add_argument("--model", default="demo", help="demo, a .pt, a folder or a hub id")
    parser.add_argument("--limit", type=int, default=0, help="pictures; 0 for all")
    chosen = parser.parse_args(arguments)
    settings = Settings()
    try:
        pictures = formats.read(formats.sources(chosen.data, chosen.captions, chosen.images))
    except DataError as error:
        parser.error(str(error))
    pictures = limited(pictures, 50 if chosen.quick else chosen.limit, seed=0)
    student = load_student(chosen.model, processor=settings.processor)

    def best(caption: Callable[[torch.Tensor], list[list[Caption]]]) -> dict[ImageId, Caption]:
        return {picture.id: found for picture, found in best_captions(caption, pictures, student.preprocessing, BATCH)}

    model, tokenizer, search = student.model, student.tokenizer, Search()
    expected = best(partial(generate, model, tokenizer, beams=search.beams, max_length=search.max_length))
    said = {"generate": expected}
    for each in PRECISIONS:
        said[each] = best(partial(Engine(copy.deepcopy(model), tokenizer, each).caption, search=search))
    cider = {name: scored(pictures, captions) for name, captions in said.items()}
    different = {name: differences(expected, captions) for name, captions in said.items()}
    print(report.table(["", "CIDEr", "other captions"], [[name, cider[name], different[name]] for name in said]))
    ties, errors = ties_and_errors(expected, said["fp32"])
    print(f"{len(expected)} pictures. Of fp32's differences {ties} are ties within {FLOAT_ERROR:g}, {errors} are not.")
    ratios = {f"cider_{name}": cider[name] / cider["fp32"] for name in ("bf16", "int8")}
    report.write(chosen.json, ratios, pictures=len(expected), cider=cider, different=different, errors=errors)
    report.plot(chosen.plot, "CIDEr by precision", cider)


def scored(pictures: Sequence[CaptionedImage], captions: Mapping[ImageId, Caption]) -> float:
    """CIDEr."""
    texts = [tokenize(caption.text) for caption in captions.values()]
    truths = {picture.id: [tokenize(text) for text in picture.captions] for picture in pictures}
    return cider_of(texts, [truths[picture] for picture in captions])


def differences(expected: Mapping[ImageId, Caption], found: Mapping[ImageId, Caption]) -> int:
    return sum(caption.text != found[picture].text for picture, caption in expected.items())


def ties_and_errors(expected: Mapping[ImageId, Caption], found: Mapping[ImageId, Caption]) -> tuple[int, int]:
    """Of the captions that differ: how many score the same but for float error, and how many do not."""
    pairs = [(one, found[picture]) for picture, one in expected.items() if one.text != found[picture].text]
    ties = sum(abs(one.score - other.score) <= FLOAT_ERROR for one, other in pairs)
    return ties, len(pairs) - ties


if __name__ == "__main__":
    main()
