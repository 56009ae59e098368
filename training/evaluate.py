"""Evaluate models on captioned images: one table of scores with bootstrap confidence intervals.

python -m training.evaluate --model models/demo --model mine.pt --data coco:captions_val.json:val --json scores.json

With --calibration, also fit the confidence in captions of each model to its scores on these images.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from captioning.engine import Caption, Engine, Precision, Search
from captioning.errors import StudentError
from captioning.student import load_student
from captioning.student.calibration import calibration_path
from common import strict_json
from common.settings import Settings, from_environment
from training import calibration
from training.baselines import best_constant
from training.captioning import best_captions
from training.data import formats
from training.data.images import CaptionedImage, DataError, ImageId, limited, warn_of_overlap
from training.metrics import TOKENIZER, conditions, java, measures
from training.metrics.bootstrap import CONFIDENCE, Estimate, Resampled, resample
from training.metrics.tokens import tokenize

#: Columns of the table. Metrics that need Java are omitted if no model has them.
COLUMNS = ("cider", "meteor", "spice", "bleu_4", "meteor_nltk", "rouge_l", "bleu_1", "bleu_2", "bleu_3")
NEED_JAVA = ("meteor", "spice")
#: Name of coco-caption's tokenizer in Java.
PTB = "ptb"
#: Seed of the sample by --limit, and of the bootstrap.
SEED = 0


@dataclass(frozen=True)
class Captioned:
    """The captions of the model at `path`, which is None for one of the hub, in the version `Student.version`."""

    path: Path | None
    version: str
    captions: Mapping[ImageId, Caption]


@dataclass(frozen=True)
class Row:
    """The result of one model."""

    name: str
    captions: Mapping[ImageId, str]
    scores: Resampled


def main(arguments: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings = from_environment()
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", action="append", default=[], help="demo, a .pt, a folder or a hub id; repeatable")
    formats.add_flags(parser)
    parser.add_argument("--train-data", nargs="+", default=[], help="training data sets: warns of images in both")
    parser.add_argument(
        "--constant", type=Path, nargs="+", help="caption files for the best constant caption, a baseline"
    )
    parser.add_argument("--limit", type=int, default=0, help="images scored; 0 for all")
    parser.add_argument("--beams", type=int, default=settings.beams, help="beams of the search")
    parser.add_argument("--max-length", type=int, default=settings.max_length, help="longest caption, in tokens")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32", help="arithmetic of the models")
    parser.add_argument("--batch-size", type=int, default=32, help="images captioned at once")
    parser.add_argument("--tokenizer", choices=(TOKENIZER, PTB), default=TOKENIZER, help="ptb: Java's own, extra coco")
    parser.add_argument("--resamples", type=int, default=1000, help="draws of the bootstrap")
    parser.add_argument("--json", type=Path, help="file for settings, metrics, intervals and every caption")
    parser.add_argument(
        "--calibration", action="store_true", help="write the calibration of each model beside its weights"
    )
    args = parser.parse_args(arguments)
    if not args.model and not args.constant:
        parser.error("--model is needed: demo, a .pt, a folder or a hub id.")
    if args.tokenizer == PTB and java.programs() is None:
        parser.exit(1, "Java's tokenizer is not available; leave out --tokenizer.\n")

    try:
        data = formats.sources(args.data, args.captions, args.images)
        images = limited(formats.read(data), args.limit, SEED)
        if args.train_data:
            warn_of_overlap(formats.read(args.train_data), images)
        constant = best_constant(args.constant) if args.constant else ""
        captioned = {source: captions_of(source, images, settings, args) for source in args.model}
    except (StudentError, DataError) as error:
        parser.exit(1, f"{error}\n")
    scored = [image for image in images if all(image.id in each.captions for each in captioned.values())]
    if not scored:
        parser.exit(1, "None of the images can be read.\n")
    captions = {
        source: {image.id: each.captions[image.id].text for image in scored} for source, each in captioned.items()
    }
    if constant:
        captions[f'constant: "{constant}"'] = dict.fromkeys((image.id for image in scored), constant)
    rows = [score_model(name, texts, scored, args.tokenizer, args.resamples) for name, texts in captions.items()]
    print(table(rows))
    print(conditions(len(scored), data, args.beams, args.max_length, args.tokenizer) + f", {args.precision}.")
    print(
        f"In brackets: {CONFIDENCE:.0%} bootstrap intervals, {args.resamples} resamples of the images, seed {SEED}. "
        "CIDEr keeps the document frequencies of all images."
    )
    about = {
        "pictures": len(scored),
        "data": [str(source) for source in data],
        "beams": args.beams,
        "max_length": args.max_length,
        "precision": args.precision,
    }
    if args.json:
        statistics = {"tokenizer": args.tokenizer, "resamples": args.resamples, "confidence": CONFIDENCE}
        content = about | statistics | {"models": {row.name: as_json(row, rows[0]) for row in rows}}
        args.json.write_text(strict_json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if args.calibration:
        try:
            for source, each in captioned.items():
                print("\n" + calibrate(source, each, scored, about))
        except DataError as error:
            parser.exit(1, f"{error}\n")


def captions_of(
    source: str, images: Sequence[CaptionedImage], settings: Settings, args: argparse.Namespace
) -> Captioned:
    """One model's captions. Raises `StudentError`."""
    student = load_student(
        source, processor=settings.processor, text_heads=settings.text_heads, vision_heads=settings.vision_heads
    )
    if args.calibration and student.path is None:
        raise StudentError(
            f"{source} is neither a .pt nor a local folder with safetensors, so a calibration cannot be kept with it. "
            "Download a model of the hub to a folder first."
        )
    model = student.model.to("cuda" if torch.cuda.is_available() else "cpu")
    engine, search = Engine(model, student.tokenizer, args.precision), Search(args.beams, args.max_length)
    captions = best_captions(
        lambda pixels: engine.caption(pixels, search), images, student.preprocessing, args.batch_size
    )
    return Captioned(student.path, student.version, {image.id: caption for image, caption in captions})


def calibrate(source: str, captioned: Captioned, images: Sequence[CaptionedImage], conditions: dict[str, Any]) -> str:
    """Write a model's calibration and return a report of it. Raises `DataError`."""
    assert captioned.path is not None
    path = calibration_path(captioned.path)
    fitted = calibration.fit([captioned.captions[image.id] for image in images], images)
    calibration.write(path, fitted, captioned.version, Search.length_penalty, conditions)
    return f"Confidence of {source}, written to {path}: {calibration.report(fitted)}"


def score_model(
    name: str, captions: Mapping[ImageId, str], images: Sequence[CaptionedImage], tokenizer: str, resamples: int
) -> Row:
    """Score a model's captions."""
    texts = [captions[image.id] for image in images]
    words = split_words([*texts, *(text for image in images for text in image.captions)], tokenizer)
    rest = iter(words[len(texts) :])
    truths = [[next(rest) for _ in image.captions] for image in images]
    hypotheses = words[: len(texts)]
    scored = [*measures(hypotheses, truths), *java.measures(hypotheses, truths)]
    return Row(name, captions, resample(scored, resamples, SEED))


def split_words(captions: Sequence[str], tokenizer: str) -> list[list[str]]:
    """Tokenize the captions by the tokenizer of that name."""
    folder = java.programs() if tokenizer == PTB else None
    return java.tokenize(folder, captions) if folder else [tokenize(caption) for caption in captions]


def table(rows: Sequence[Row]) -> str:
    """A Markdown table of the rows; each row but the first is followed by its difference to the first."""
    columns = [name for name in COLUMNS if name not in NEED_JAVA or any(name in row.scores.totals for row in rows)]
    lines = [
        f"| model | {' | '.join(columns)} | different captions |",
        f"| --- | {' | '.join('---:' for _ in columns)} | ---: |",
    ]
    for row in rows:
        cells = (formatted(row.scores.estimate(name)) if name in row.scores.totals else "n/a" for name in columns)
        lines.append(f"| {row.name} | {' | '.join(cells)} | {len(set(row.captions.values()))} |")
        if row is not rows[0]:
            cells = (formatted(delta, "+") if (delta := difference(row, rows[0], name)) else "n/a" for name in columns)
            lines.append(f"| … minus {rows[0].name} | {' | '.join(cells)} | |")
    return "\n".join(lines)


def difference(row: Row, first: Row, name: str) -> Estimate | None:
    """Difference of a metric to the first row; None if either row lacks the metric."""
    both = name in row.scores.totals and name in first.scores.totals
    return row.scores.minus(first.scores, name) if both else None


def formatted(estimate: Estimate, sign: str = "") -> str:
    """Format a value and its interval."""
    return f"{estimate.value:{sign}.4f} ({estimate.low:{sign}.3f} … {estimate.high:{sign}.3f})"


def as_json(row: Row, first: Row) -> dict[str, Any]:
    """A row as plain values."""
    names = [name for name in COLUMNS if name in row.scores.totals]
    estimates = {name: row.scores.estimate(name) for name in names}
    differences = {name: delta for name in names if row is not first and (delta := difference(row, first, name))}
    return {
        "metrics": {name: row.scores.totals.get(name) for name in COLUMNS if name in names or name not in NEED_JAVA},
        "intervals": {name: [each.low, each.high] for name, each in estimates.items()},
        "minus_first": {name: [each.value, each.low, each.high] for name, each in differences.items()},
        "captions": dict(row.captions),
    }


if __name__ == "__main__":
    main()
