"""Caption a data set with the teacher, for `training.distill --pseudo-captions`.

python -m training.pseudo_label --data coco:captions_train2017.json:train2017 --out pseudo.jsonl

If it is started again, it continues with the images that have no line yet.
"""

from __future__ import annotations

import argparse
import logging
import statistics
from pathlib import Path
from typing import get_args

import torch

from captioning.engine import Engine, Precision, Search, choose_precision
from captioning.errors import StudentError
from captioning.student import load_student
from common.settings import from_environment
from training.captioning import best_captions
from training.config import Config
from training.data import formats, pseudo
from training.data.images import DataError
from training.models import TEACHER_TEXT_HEADS


def main(arguments: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m training.pseudo_label",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--teacher", default=Config.teacher, help="hub id, folder or .pt")
    parser.add_argument("--tokenizer", default="", help="folder or hub id, for a teacher in a .pt without one")
    formats.add_flags(parser)
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines: image, caption, score")
    parser.add_argument("--beams", type=int, default=Config.beams, help="beams of the search")
    parser.add_argument("--max-length", type=int, default=Config.max_length, help="longest caption, in tokens")
    parser.add_argument("--batch-size", type=int, default=Config.eval_batch_size, help="images captioned at once")
    parser.add_argument(
        "--precision", choices=("auto", *get_args(Precision)), default="auto", help="auto selects by measurement"
    )
    args = parser.parse_args(arguments)
    try:
        label(args)
    except (StudentError, DataError) as error:
        parser.exit(1, f"{error}\n")


def label(args: argparse.Namespace) -> None:
    """Caption the images that have no caption yet, and print the CIDEr-D against reference captions."""
    images = formats.read(formats.sources(args.data, args.captions, args.images))
    teacher = load_student(
        args.teacher, processor=args.tokenizer or from_environment().processor, text_heads=TEACHER_TEXT_HEADS
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    header = {"teacher": teacher.version, "beams": args.beams, "max_length": args.max_length}
    done = pseudo.resume(args.out, header)
    model = teacher.model.to(device)
    precision = choose_precision(model)[0] if args.precision == "auto" else args.precision
    engine = Engine(model, teacher.tokenizer, precision)
    search = Search(beams=args.beams, max_length=args.max_length)
    missing = [image for image in images if image.id not in done]
    with args.out.open("a", encoding="utf-8") as file:
        for image, caption in best_captions(
            lambda pixels: engine.caption(pixels, search), missing, teacher.preprocessing, args.batch_size
        ):
            file.write(pseudo.line(image.id, caption.text, caption.score))
            file.flush()
    captions = pseudo.read(args.out)[1]
    if not captions:
        raise DataError(f"None of the {len(images)} images can be read.")
    scores = sorted(pseudo.agreement(captions, images).values())
    print(f"{args.out} has the captions of {len(scores)} images.")
    if len(scores) > 1:
        cuts = ", ".join(f"{cut:.3f}" for cut in statistics.quantiles(scores, n=4))
        print(f"CIDEr-D against the reference captions: quartiles at {cuts}. --pseudo-min-cider drops lower ones.")


if __name__ == "__main__":
    main()
