"""Scores models that the worker can load on images with captions, in one table, with bootstrap intervals.

python -m training.evaluate --model models/demo --model mine.pt --data coco:captions_val.json:val --json scores.json
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from captioning.engine import Precision
from captioning.student import load_student
from captioning.student.errors import StudentError
from common import strict_json
from common.settings import Settings, from_environment
from training.baselines import best_constant
from training.captioning import caption_images
from training.data import formats
from training.data.images import CaptionedImage, DataError, ImageId, limited, warn_of_overlap
from training.metrics import TOKENIZER, conditions, java, measures
from training.metrics.bootstrap import CONFIDENCE, Estimate, Resampled, resample
from training.metrics.tokens import tokenize

#: In the table's order; those that need Java are left out of it when no model has them.
COLUMNS = ("cider", "meteor", "spice", "bleu_4", "meteor_nltk", "rouge_l", "bleu_1", "bleu_2", "bleu_3")
NEED_JAVA = ("meteor", "spice")
#: Java's own tokenizer, as coco-caption uses it.
PTB = "ptb"
#: Drawn when --limit leaves out some of the images, and by the bootstrap.
SEED = 0


@dataclass(frozen=True)
class Row:
    """One model's result."""

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
    parser.add_argument("--train-data", nargs="+", default=[], help="data sets trained on: warns of images in both")
    parser.add_argument("--constant", type=Path, nargs="+", help="caption files to find the best constant caption in")
    parser.add_argument("--limit", type=int, default=0, help="images scored; 0 for all")
    parser.add_argument("--beams", type=int, default=settings.beams, help="beams of the search")
    parser.add_argument("--max-length", type=int, default=settings.max_length, help="longest caption, in tokens")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32", help="arithmetic of the models")
    parser.add_argument("--batch-size", type=int, default=32, help="images captioned at once")
    parser.add_argument("--tokenizer", choices=(TOKENIZER, PTB), default=TOKENIZER, help="ptb: Java's own, extra coco")
    parser.add_argument("--resamples", type=int, default=1000, help="draws of the bootstrap")
    parser.add_argument("--json", type=Path, help="file for settings, metrics, intervals and every caption")
    chosen = parser.parse_args(arguments)
    if not chosen.model and not chosen.constant:
        parser.error("--model is needed: demo, a .pt, a folder or a hub id.")
    if chosen.tokenizer == PTB and java.programs() is None:
        parser.exit(1, "Java's tokenizer is not to be had here; leave out --tokenizer.\n")

    try:
        data = formats.sources(chosen.data, chosen.captions, chosen.images)
        images = limited(formats.read(data), chosen.limit, SEED)
        if chosen.train_data:
            warn_of_overlap(formats.read(chosen.train_data), images)
        constant = best_constant(chosen.constant) if chosen.constant else ""
        captions = {source: captions_of(source, images, settings, chosen) for source in chosen.model}
    except (StudentError, DataError) as error:
        parser.exit(1, f"{error}\n")
    scored = [image for image in images if all(image.id in said for said in captions.values())]
    if not scored:
        parser.exit(1, "None of the images can be read.\n")
    if constant:
        captions[f'constant: "{constant}"'] = dict.fromkeys((image.id for image in scored), constant)
    rows = [row(name, said, scored, chosen.tokenizer, chosen.resamples) for name, said in captions.items()]
    print(table(rows))
    print(conditions(len(scored), data, chosen.beams, chosen.max_length, chosen.tokenizer) + f", {chosen.precision}.")
    print(
        f"In brackets {CONFIDENCE:.0%} of {chosen.resamples} resamples of the images (bootstrap, seed {SEED}); CIDEr "
        "keeps the document frequencies of them all."
    )
    if chosen.json:
        about = {
            "pictures": len(scored),
            "data": [str(source) for source in data],
            "beams": chosen.beams,
            "max_length": chosen.max_length,
            "precision": chosen.precision,
            "tokenizer": chosen.tokenizer,
            "resamples": chosen.resamples,
            "confidence": CONFIDENCE,
        }
        content = about | {"models": {each.name: as_json(each, rows[0]) for each in rows}}
        chosen.json.write_text(strict_json.dumps(content, indent=1) + "\n", encoding="utf-8")


def captions_of(
    source: str, images: Sequence[CaptionedImage], settings: Settings, chosen: argparse.Namespace
) -> dict[ImageId, str]:
    """What one model says."""
    student = load_student(
        source, processor=settings.processor, text_heads=settings.text_heads, vision_heads=settings.vision_heads
    )
    student.model.to("cuda" if torch.cuda.is_available() else "cpu")
    return caption_images(
        student.model,
        student.tokenizer,
        images,
        beams=chosen.beams,
        max_length=chosen.max_length,
        batch_size=chosen.batch_size,
        precision=chosen.precision,
    )


def row(
    name: str, captions: Mapping[ImageId, str], images: Sequence[CaptionedImage], tokenizer: str, resamples: int
) -> Row:
    """A model's captions, scored."""
    texts = [captions[image.id] for image in images]
    words = in_words([*texts, *(text for image in images for text in image.captions)], tokenizer)
    rest = iter(words[len(texts) :])
    truths = [[next(rest) for _ in image.captions] for image in images]
    hypotheses = words[: len(texts)]
    scored = [*measures(hypotheses, truths), *java.measures(hypotheses, truths)]
    return Row(name, captions, resample(scored, resamples, SEED))


def in_words(captions: Sequence[str], tokenizer: str) -> list[list[str]]:
    """The captions, cut by the tokenizer of that name."""
    folder = java.programs() if tokenizer == PTB else None
    return java.tokenize(folder, captions) if folder else [tokenize(caption) for caption in captions]


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table; after each but the first, its difference to the first."""
    columns = [name for name in COLUMNS if name not in NEED_JAVA or any(name in row.scores.totals for row in rows)]
    lines = [
        f"| model | {' | '.join(columns)} | different captions |",
        f"| --- | {' | '.join('---:' for _ in columns)} | ---: |",
    ]
    for row in rows:
        cells = (shown(row.scores.estimate(name)) if name in row.scores.totals else "n/a" for name in columns)
        lines.append(f"| {row.name} | {' | '.join(cells)} | {len(set(row.captions.values()))} |")
        if row is not rows[0]:
            cells = (shown(found, "+") if (found := difference(row, rows[0], name)) else "n/a" for name in columns)
            lines.append(f"| … minus {rows[0].name} | {' | '.join(cells)} | |")
    return "\n".join(lines)


def difference(row: Row, first: Row, name: str) -> Estimate | None:
    """How much better the row is; None when either lacks the metric."""
    both = name in row.scores.totals and name in first.scores.totals
    return row.scores.minus(first.scores, name) if both else None


def shown(estimate: Estimate, sign: str = "") -> str:
    """A value with its interval."""
    return f"{estimate.value:{sign}.4f} ({estimate.low:{sign}.3f} … {estimate.high:{sign}.3f})"


def as_json(row: Row, first: Row) -> dict[str, Any]:
    """A row in plain values."""
    names = [name for name in COLUMNS if name in row.scores.totals]
    estimates = {name: row.scores.estimate(name) for name in names}
    differences = {name: found for name in names if row is not first and (found := difference(row, first, name))}
    return {
        "metrics": {name: row.scores.totals.get(name) for name in COLUMNS if name in names or name not in NEED_JAVA},
        "intervals": {name: [each.low, each.high] for name, each in estimates.items()},
        "minus_first": {name: [each.value, each.low, each.high] for name, each in differences.items()},
        "captions": dict(row.captions),
    }


if __name__ == "__main__":
    main()
