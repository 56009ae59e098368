"""HTML report of training runs: losses and metrics by epoch, and sample captions of people, teachers and students.

python -m training.report checkpoints --out report.html

Reads a run's `metrics.jsonl` and newest checkpoint, which names the data and the teacher. The page is one
self-contained file; the plots are also written beside it as SVG. Needs the extra `report`.
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

from captioning.errors import StudentError
from captioning.student import load_student
from common.settings import from_environment
from training import checkpoints
from training.captioning import caption_images
from training.config import CHECKPOINTS, Config
from training.data.images import CaptionedImage, DataError, ImageId, limited, readable
from training.distill import images_of
from training.models import load_teacher

#: Maximum side, in pixels, of the images on the page.
MAX_SIDE = 320
#: Seed of the sample of images.
SEED = 0


@dataclass(frozen=True)
class Run:
    """A checkpoint folder: the last metrics entry of each epoch, and the newest checkpoint."""

    folder: Path
    epochs: list[dict[str, Any]]
    checkpoint: Path
    config: Config


@dataclass(frozen=True)
class CaptionedSample:
    """An image on the page: `data:` URL, reference captions, and the captions of models by name."""

    url: str
    references: tuple[str, ...]
    captions: dict[str, str]


def main(arguments: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m training.report", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*", default=[CHECKPOINTS], help="checkpoint folders")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page")
    parser.add_argument("--pictures", type=int, default=12, help="validation images of the first run that are shown")
    args = parser.parse_args(arguments)
    try:
        from training.plots import plot
    except ImportError:
        parser.exit(1, "The plots need matplotlib: pip install -e '.[report]'.\n")
    try:
        runs = [read(folder) for folder in args.runs]
        captioned = samples(runs, args.pictures) if args.pictures else []
    except (DataError, StudentError) as error:
        parser.exit(1, f"{error}\n")
    svg = plot({str(run.folder): run.epochs for run in runs})
    template = Environment(loader=PackageLoader("training"), autoescape=True).get_template("report.html")
    page = template.render(runs=runs, plots=svg[svg.index("<svg") :], images=captioned)
    args.out.write_text(page, encoding="utf-8")
    args.out.with_suffix(".svg").write_text(svg, encoding="utf-8")
    print(f"Wrote {args.out} and {args.out.with_suffix('.svg')}.")


def read(folder: Path) -> Run:
    """Read a run. Raises `DataError` for a folder without metrics or a checkpoint."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        entries = {entry["epoch"]: entry for entry in map(json.loads, lines)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} has no metrics.jsonl of training.distill.") from error
    if not entries:
        raise DataError(f"{folder} has no complete epoch yet.")
    for path in checkpoints.numbered(folder):
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return Run(folder, [entries[epoch] for epoch in sorted(entries)], path, Config.from_dict(saved["config"]))
    raise DataError(f"There is no checkpoint in {folder}.")


def samples(runs: Sequence[Run], count: int) -> list[CaptionedSample]:
    """Validation images of the first run, with reference captions and those of each teacher and student."""
    _, val_images = images_of(runs[0].config)
    images = limited(val_images, count, SEED)
    captions: dict[str, dict[ImageId, str]] = {}
    for run in runs:
        if run.config.teacher != "none" and f"teacher {run.config.teacher}" not in captions:
            teacher = load_teacher(run.config)
            assert teacher is not None
            captions[f"teacher {run.config.teacher}"] = captions_of(
                teacher.model, teacher.tokenizer, images, run.config
            )
        settings = from_environment()
        student = load_student(
            run.checkpoint,
            processor=run.config.tokenizer or settings.processor,
            text_heads=settings.text_heads,
            vision_heads=settings.vision_heads,
        )
        captions[f"student {run.checkpoint}"] = captions_of(student.model, student.tokenizer, images, run.config)
    return [
        CaptionedSample(url, image.captions, {name: by_id[image.id] for name, by_id in captions.items()})
        for image, url in data_urls(images)
    ]


def captions_of(
    model: BlipForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    images: Sequence[CaptionedImage],
    config: Config,
) -> dict[ImageId, str]:
    """A model's captions by image id, with the run's search settings."""
    return caption_images(
        model.to("cuda" if torch.cuda.is_available() else "cpu"),
        tokenizer,
        images,
        beams=config.beams,
        max_length=config.max_length,
        batch_size=config.eval_batch_size,
    )


def data_urls(images: Sequence[CaptionedImage]) -> list[tuple[CaptionedImage, str]]:
    """The readable images, downsized, as `data:` URLs."""
    urls = []
    for image, decoded in readable(images):
        decoded.thumbnail((MAX_SIDE, MAX_SIDE))
        buffer = io.BytesIO()
        decoded.save(buffer, "JPEG", quality=85)
        urls.append((image, f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"))
    return urls


if __name__ == "__main__":
    main()
