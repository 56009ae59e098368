"""Export a student as a folder for the worker: config.json, float16 safetensors, tokenizer.

python -m training.export --checkpoint checkpoints/student_epoch15.pt --out models/mine
"""

from __future__ import annotations

import argparse
from pathlib import Path

from captioning.errors import StudentError
from captioning.student import load_student, save_folder
from common.settings import from_environment


def main(arguments: list[str] | None = None) -> None:
    settings = from_environment()
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help=".pt of training.distill or of another student")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--processor", default=settings.processor, help="tokenizer for a .pt without one")
    args = parser.parse_args(arguments)
    try:
        student = load_student(
            args.checkpoint,
            processor=args.processor,
            text_heads=settings.text_heads,
            vision_heads=settings.vision_heads,
        )
        save_folder(student.model, student.tokenizer, args.out)
    except StudentError as error:
        parser.exit(1, f"{error}\n")
    megabytes = sum(path.stat().st_size for path in args.out.iterdir()) / 1e6
    print(f"Wrote {args.out}: {megabytes:.1f} MB.")


if __name__ == "__main__":
    main()
