"""`python -m training.distill --smoke`: end-to-end smoke test in seconds, on synthetic images, with a random teacher.

Pseudo-label with a teacher, distil with its cached predictions, resume, evaluate, export, and caption with the exported
model. It is the fastest check of whether training works on a machine.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from captioning.student import build, load_student, save_folder, small_config
from common import strict_json
from training import export, pseudo_label
from training.captioning import caption_images
from training.data import formats
from training.data.synthetic import draw
from training.tokenizer import train_tokenizer
from training.validation import METRICS

IMAGES = 24
#: Image side in pixels, and (width, layers, heads) of the teacher's vision encoder and text decoder.
SIDE = 32
TEACHER = ((32, 3, 4), (24, 3, 2))
STUDENT_LAYERS = 2

log = logging.getLogger("training")


def check(distill: Callable[[list[str]], bool]) -> bool:
    """Run the smoke test in a temporary folder; `distill` is the main function of `training.distill`.

    Return False when a signal stopped it.
    """
    with tempfile.TemporaryDirectory(prefix="captiond-smoke-") as name:
        folder = Path(name)
        captions, images = draw(folder, IMAGES, side=2 * SIDE)
        data = ["--data", f"coco:{captions}:{images}"]
        teacher = folder / "teacher"
        shape = _teacher(captions, teacher)
        pseudo_label.main(
            [*data, "--teacher", str(teacher), "--out", str(folder / "pseudo.jsonl"), "--max-length", "8"]
        )
        run = [
            *data, "--recipe", "beyond", "--teacher", str(teacher), "--student", str(shape),
            "--pseudo-captions", str(folder / "pseudo.jsonl"), "--teacher-logits", "cache",
            "--teacher-cache", str(folder / "cache"), "--batch-size", "8", "--micro-batch-size", "4",
            "--ema", "0.5", "--num-workers", "0", "--beams", "2", "--max-length", "12", "--save-every-steps", "1",
            "--checkpoints", str(folder / "run"),
        ]  # fmt: skip
        if not all(distill([*run, "--epochs", count]) for count in ("1", "2")):
            return False
        epochs = [json.loads(line)["epoch"] for line in (folder / "run" / METRICS).read_text().splitlines()]
        assert epochs == [1, 2], epochs
        export.main(["--checkpoint", str(folder / "run" / "student_epoch2.pt"), "--out", str(folder / "exported")])
        student = load_student(folder / "exported", processor="unused")
        captioned = caption_images(
            student.model,
            student.tokenizer,
            formats.read([f"coco:{captions}:{images}"])[:1],
            beams=2,
            max_length=12,
            batch_size=1,
        )
        assert len(captioned) == 1
    log.info("Smoke test passed: labelled, trained, resumed, scored, exported and captioned.")
    return True


def _teacher(captions: Path, folder: Path) -> Path:
    """Save a small random teacher with its tokenizer. Return the path of its student's configuration."""
    texts = [annotation["caption"] for annotation in json.loads(captions.read_text())["annotations"]]
    tokenizer = train_tokenizer(texts, 120)
    torch.manual_seed(0)
    vision, text = TEACHER
    model = build(small_config(tokenizer, image_size=SIDE, vision=vision, text=text))
    shape = model.config.to_dict()
    for part in ("vision_config", "text_config"):
        shape[part]["num_hidden_layers"] = STUDENT_LAYERS
    save_folder(model, tokenizer, folder)
    path = folder.with_name("student.json")
    path.write_text(strict_json.dumps(shape), encoding="utf-8")
    return path
