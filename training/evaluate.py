"""Scores models that the worker can load on pictures with captions, in one table.

python -m training.evaluate --model models/demo --captions captions_val.json --images val/ --json scores.json
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from common.engine import Precision
from common.settings import Settings
from common.student import load_student
from common.student.errors import StudentError
from training.captioning import caption_pictures
from training.constant import best_constant
from training.data import DataError, Picture, limited, read_coco
from training.metrics import TOKENIZER, score

COLUMNS = ("cider", "bleu_4", "meteor_nltk", "rouge_l", "bleu_1", "bleu_2", "bleu_3")
#: Drawn when --limit leaves out some of the pictures.
SEED = 0


@dataclass(frozen=True)
class Row:
    """One model's result."""

    name: str
    metrics: Mapping[str, float | None]
    captions: Mapping[int, str]


def main(arguments: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", action="append", default=[], help="demo, a .pt, a folder or a hub id; repeatable")
    parser.add_argument("--captions", type=Path, nargs="+", required=True, help="COCO caption files")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folder or .tar for each caption file")
    parser.add_argument("--constant", type=Path, nargs="+", help="caption files to find the best constant caption in")
    parser.add_argument("--limit", type=int, default=0, help="pictures scored; 0 for all")
    parser.add_argument("--beams", type=int, default=settings.beams, help="beams of the search")
    parser.add_argument("--max-length", type=int, default=settings.max_length, help="longest caption, in tokens")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32", help="arithmetic of the models")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures captioned at once")
    parser.add_argument("--json", type=Path, help="file for settings, metrics and every caption")
    chosen = parser.parse_args(arguments)
    if len(chosen.captions) != len(chosen.images):
        parser.error("Give as many --images as --captions.")

    try:
        pictures = limited(read_coco(chosen.captions, chosen.images), chosen.limit, SEED)
        rows = [constant_row(chosen.constant, pictures)] if chosen.constant else []
        rows += [model_row(source, pictures, settings, chosen) for source in chosen.model]
    except (StudentError, DataError) as error:
        parser.exit(1, f"{error}\n")
    print(table(rows))
    print(
        f"{len(pictures)} pictures, beams {chosen.beams}, longest caption {chosen.max_length} tokens, "
        f"{chosen.precision}, tokenizer {TOKENIZER}"
    )
    if chosen.json:
        content = {
            "pictures": len(pictures),
            "beams": chosen.beams,
            "max_length": chosen.max_length,
            "precision": chosen.precision,
            "tokenizer": TOKENIZER,
            "captions_from": [str(path) for path in chosen.captions],
            "models": {row.name: {"metrics": dict(row.metrics), "captions": dict(row.captions)} for row in rows},
        }
        chosen.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def model_row(source: str, pictures: list[Picture], settings: Settings, chosen: argparse.Namespace) -> Row:
    """The captions and scores of one model."""
    student = load_student(
        source, processor=settings.processor, text_heads=settings.text_heads, vision_heads=settings.vision_heads
    )
    student.model.to("cuda" if torch.cuda.is_available() else "cpu")
    captions = caption_pictures(
        student.model,
        student.tokenizer,
        pictures,
        beams=chosen.beams,
        max_length=chosen.max_length,
        batch_size=chosen.batch_size,
        precision=chosen.precision,
    )
    return scored(source, captions, pictures)


def constant_row(caption_files: list[Path], pictures: list[Picture]) -> Row:
    """The best that one sentence for all pictures can do, found on other pictures' captions."""
    caption = best_constant(caption_files)
    return scored(f'constant: "{caption}"', {picture.id: caption for picture in pictures}, pictures)


def scored(name: str, captions: Mapping[int, str], pictures: list[Picture]) -> Row:
    return Row(name, score(captions, {picture.id: picture.captions for picture in pictures}), captions)


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        f"| model | {' | '.join(COLUMNS)} | different captions |",
        f"| --- | {' | '.join('---:' for _ in COLUMNS)} | ---: |",
    ]
    for row in rows:
        values = (row.metrics[column] for column in COLUMNS)
        cells = ("n/a" if value is None else f"{value:.4f}" for value in values)
        lines.append(f"| {row.name} | {' | '.join(cells)} | {len(set(row.captions.values()))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
