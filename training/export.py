"""Export a student as a folder for the worker: config.json, float16 safetensors, tokenizer.

python -m training.export --checkpoint checkpoints/student_epoch15.pt --out models/mine

The weights of several checkpoints of one training are averaged (Wortsman et al. 2022, arXiv 2109.01903 and 2203.05482).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from captioning.errors import StudentError
from captioning.student import Student, load_student, save_folder
from common.settings import from_environment


def main(arguments: list[str] | None = None) -> None:
    settings = from_environment()
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument(
        "--checkpoint", type=Path, nargs="+", required=True, help=".pt of training.distill or of another student"
    )
    parser.add_argument(
        "--shares", type=float, nargs="+", help="shares of several checkpoints in their average; default: equal ones"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--processor", default=settings.processor, help="tokenizer for a .pt without one")
    args = parser.parse_args(arguments)
    shares = args.shares or [1 / len(args.checkpoint)] * len(args.checkpoint)
    if len(shares) != len(args.checkpoint) or not math.isclose(sum(shares), 1):
        parser.error("--shares takes a number for each --checkpoint; their sum must be 1.")
    try:
        students = [
            load_student(
                path, processor=args.processor, text_heads=settings.text_heads, vision_heads=settings.vision_heads
            )
            for path in args.checkpoint
        ]
        average(students, shares)
        save_folder(students[0].model, students[0].tokenizer, args.out)
    except StudentError as error:
        parser.exit(1, f"{error}\n")
    megabytes = sum(path.stat().st_size for path in args.out.iterdir()) / 1e6
    print(f"Wrote {args.out}: {megabytes:.1f} MB.")


def average(students: Sequence[Student], shares: Sequence[float]) -> None:
    """Give the first student the average of the students' weights. Raises `StudentError` if they do not fit."""
    first, *others = students
    for other in others:
        if other.tokenizer.get_vocab() != first.tokenizer.get_vocab():
            raise StudentError(f"{other.name} has another vocabulary than {first.name}, so they have no average.")
    states = [student.model.state_dict() for student in students]
    if len({tuple((key, value.shape) for key, value in state.items()) for state in states}) > 1:
        raise StudentError("The checkpoints have different shapes, so they have no average.")
    mean = {
        key: sum(share * state[key] for share, state in zip(shares, states, strict=True))
        for key, value in states[0].items()
        if value.is_floating_point()
    }
    first.model.load_state_dict(states[0] | mean)


if __name__ == "__main__":
    main()
