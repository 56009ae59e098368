"""Writes a student as the folder that the worker loads: config.json, float16 safetensors, tokenizer.

python -m training.export --checkpoint checkpoints/student_epoch15.pt --out models/mine
"""

from __future__ import annotations

import argparse
from pathlib import Path

from captioning.student import load_student, save_folder
from captioning.student.errors import StudentError
from common.settings import from_environment


def main(arguments: list[str] | None = None) -> None:
    settings = from_environment()
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a .pt of training.distill, or any student's")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--processor", default=settings.processor, help="tokenizer of a .pt that brings none")
    chosen = parser.parse_args(arguments)
    try:
        student = load_student(
            chosen.checkpoint,
            processor=chosen.processor,
            text_heads=settings.text_heads,
            vision_heads=settings.vision_heads,
        )
        save_folder(student.model, student.tokenizer, chosen.out)
    except StudentError as error:
        parser.exit(1, f"{error}\n")
    megabytes = sum(path.stat().st_size for path in chosen.out.iterdir()) / 1e6
    print(f"Wrote {chosen.out}: {megabytes:.1f} MB.")


if __name__ == "__main__":
    main()
