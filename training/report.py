"""One page about training runs: losses and metrics by epoch, and what people, teacher and students say of images.

python -m training.report checkpoints --out report.html

Reads what a run wrote: `metrics.jsonl`, and its newest checkpoint, which names the data and the teacher. The page
needs no other file; the plots are beside it as SVG too. Needs the extra `report`.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.student import load_student
from captioning.student.errors import StudentError
from common.settings import from_environment
from training import checkpoints
from training.captioning import caption_images
from training.config import CHECKPOINTS, Config
from training.data.images import CaptionedImage, DataError, ImageId, limited, readable
from training.distill import images_of
from training.models import load_teacher

#: Longest side, in pixels, of the images on the page.
SIDE = 320
#: Drawn with it are the images that are shown.
SEED = 0


@dataclass(frozen=True)
class Run:
    """A folder that `training.distill` wrote: the last line of each epoch, and the newest checkpoint."""

    folder: Path
    epochs: list[dict[str, Any]]
    checkpoint: Path
    config: Config


@dataclass(frozen=True)
class Shown:
    """An image on the page: its address with all its bytes, people's captions, and who says what of it."""

    address: str
    people: tuple[str, ...]
    said: dict[str, str]


def main(arguments: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m training.report", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*", default=[CHECKPOINTS], help="checkpoint folders")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page")
    parser.add_argument("--pictures", type=int, default=12, help="validation images of the first run that are shown")
    chosen = parser.parse_args(arguments)
    try:
        from training.plots import plot
    except ImportError:
        parser.exit(1, "The plots need matplotlib: pip install 'captiond[report]'.\n")
    try:
        runs = [read(folder) for folder in chosen.runs]
        shown = samples(runs, chosen.pictures) if chosen.pictures else []
    except (DataError, StudentError) as error:
        parser.exit(1, f"{error}\n")
    svg = plot({str(run.folder): run.epochs for run in runs})
    template = Environment(loader=PackageLoader("training"), autoescape=True).get_template("report.html")
    page = template.render(runs=runs, plots=svg[svg.index("<svg") :], images=shown)
    chosen.out.write_text(page, encoding="utf-8")
    chosen.out.with_suffix(".svg").write_text(svg, encoding="utf-8")
    print(f"Wrote {chosen.out} and {chosen.out.with_suffix('.svg')}.")


def read(folder: Path) -> Run:
    """A run's numbers and settings. Raises `DataError` for a folder that is none's."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        entries = {entry["epoch"]: entry for entry in map(json.loads, lines)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} holds no metrics.jsonl of training.distill.") from error
    if not entries:
        raise DataError(f"{folder} has finished no epoch yet.")
    for path in checkpoints.numbered(folder):
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return Run(folder, [entries[epoch] for epoch in sorted(entries)], path, Config.from_dict(saved["config"]))
    raise DataError(f"There is no checkpoint in {folder}.")


def samples(runs: Sequence[Run], count: int) -> list[Shown]:
    """Validation images of the first run, with the captions of people, of each teacher and of each student."""
    _, val_images = images_of(runs[0].config)
    images = limited(val_images, count, SEED)
    said: dict[str, dict[ImageId, str]] = {}
    for run in runs:
        if run.config.teacher != "none" and f"teacher {run.config.teacher}" not in said:
            teacher = load_teacher(run.config)
            assert teacher is not None
            said[f"teacher {run.config.teacher}"] = captions_of(teacher.model, teacher.tokenizer, images, run.config)
        settings = from_environment()
        student = load_student(
            run.checkpoint,
            processor=run.config.tokenizer or settings.processor,
            text_heads=settings.text_heads,
            vision_heads=settings.vision_heads,
        )
        said[f"student {run.checkpoint}"] = captions_of(student.model, student.tokenizer, images, run.config)
    return [
        Shown(address, image.captions, {name: captions[image.id] for name, captions in said.items()})
        for image, address in addresses(images)
    ]


def captions_of(
    model: BlipForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    images: Sequence[CaptionedImage],
    config: Config,
) -> dict[ImageId, str]:
    """What a model says, searched for as the run does after each epoch."""
    return caption_images(
        model.to("cuda" if torch.cuda.is_available() else "cpu"),
        tokenizer,
        images,
        beams=config.beams,
        max_length=config.max_length,
        batch_size=config.eval_batch_size,
    )


def addresses(images: Sequence[CaptionedImage]) -> list[tuple[CaptionedImage, str]]:
    """The images that can be read, reduced, as `data:` addresses."""
    found = []
    for image, decoded in readable(images):
        decoded.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        decoded.save(buffer, "JPEG", quality=85)
        found.append((image, f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"))
    return found


if __name__ == "__main__":
    main()
