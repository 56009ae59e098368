"""Resizes the images of data sets once, into WebDataset shards that training reads quickly.

python -m training.prepare --data coco:captions_train2017.json:train2017 --out shards/train --side 480

A shard is written whole or not at all, so a stopped run goes on where it was when it is started again. Images that
cannot be read are left out, and listed in `unreadable.txt`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import multiprocessing
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image
from tqdm import tqdm

from common import strict_json
from common.files import whole
from common.images.decoding import decode
from common.problems import Problem
from training.data import formats
from training.data.images import MAX_PIXELS, CaptionedImage, DataError, ImageId

#: What the shards are made of, and how: those made otherwise must not be mixed with them.
MANIFEST = "prepared.json"
UNREADABLE = "unreadable.txt"
#: Raised when the same settings make other shards than before. Those of version 1 had no number, and were distorted.
VERSION = 2
#: Images read ahead for each process.
AHEAD = 32


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.prepare", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    formats.add_flags(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--side", type=int, default=480, help="shorter side in pixels; nothing is enlarged")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs, 1 to 95")
    parser.add_argument("--shard", type=int, default=5000, help="images in a shard")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that resize images")
    chosen = parser.parse_args(arguments)
    if min(chosen.side, chosen.shard, chosen.processes) < 1 or not 1 <= chosen.quality <= 95:
        parser.error("--side, --shard and --processes are at least 1, and --quality is 1 to 95.")
    try:
        data = formats.sources(chosen.data, chosen.captions, chosen.images)
        images = formats.read(data)
        how = {"side": chosen.side, "quality": chosen.quality, "shard": chosen.shard}
        about = {"version": VERSION, "data": [str(source) for source in data], "pictures": len(images), **how}
        chosen.out.mkdir(parents=True, exist_ok=True)
        with FileLock(chosen.out / "prepare.lock", blocking=False):
            claim(chosen.out, about)
            prepare(images, chosen.out, **how, processes=chosen.processes)
    except DataError as error:
        parser.exit(1, f"{error}\n")
    except Timeout:
        parser.exit(1, f"Another process writes to {chosen.out} at this moment.\n")
    except OSError as error:
        parser.exit(1, f"The shards cannot be written: {error}. Started again, this goes on after the last one.\n")
    unreadable = listed(chosen.out)
    if len(unreadable) == len(images):
        parser.exit(1, f"None of the {len(images)} images can be read: {chosen.out / UNREADABLE} says why.\n")
    last = math.ceil(len(images) / chosen.shard) - 1
    print(f"Train with --data 'wds:{chosen.out}/{{{0:06d}..{last:06d}}}.tar'")
    if unreadable:
        print(f"{len(unreadable)} of {len(images)} images cannot be read: {chosen.out / UNREADABLE}.")


def claim(folder: Path, about: dict[str, Any]) -> None:
    """Note what the folder's shards are made of; raise `DataError` when that is something else already."""
    path = folder / MANIFEST
    if not path.exists():
        with whole(path) as file:
            file.write((strict_json.dumps(about, indent=1) + "\n").encode())
    elif json.loads(path.read_text(encoding="utf-8")) != about:
        raise DataError(
            f"{folder} holds shards of other data or settings, or of another version of this program ({path}). Name "
            "another --out, or remove it."
        )


def prepare(
    images: Sequence[CaptionedImage], folder: Path, *, side: int, quality: int, shard: int, processes: int
) -> None:
    """Write the shards that are not there yet, with a bar that counts images."""
    # Not forked: what runs beside a fork in this process would be copied at any point of its work.
    context = multiprocessing.get_context("forkserver")
    resize = partial(resized, side=side, quality=quality)
    with (
        ProcessPoolExecutor(processes, mp_context=context) as pool,
        tqdm(total=len(images), desc="preparing", unit="image", mininterval=5) as progress,
    ):
        for number, first in enumerate(range(0, len(images), shard)):
            chosen = images[first : first + shard]
            path = folder / f"{number:06d}.tar"
            if path.exists():
                progress.update(len(chosen))
                continue
            unreadable = listed(folder)
            with whole(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
                for image, outcome in outcomes(chosen, resize, pool, processes):
                    if isinstance(outcome, str):
                        unreadable.add(f"{image.file_name}: {outcome}")
                    else:
                        add(tar, image, outcome)
                    progress.update()
                if unreadable:
                    with whole(folder / UNREADABLE) as lines:
                        lines.write(("\n".join(sorted(unreadable)) + "\n").encode())


def outcomes(
    images: Sequence[CaptionedImage], resize: partial[bytes | str], pool: ProcessPoolExecutor, processes: int
) -> Iterator[tuple[CaptionedImage, bytes | str]]:
    """Each image with its small JPEG, or with why there is none. Files are read here, in their order."""
    ahead = AHEAD * processes
    for first in range(0, len(images), ahead):
        chosen = images[first : first + ahead]
        yield from zip(chosen, pool.map(resize, map(content_of, chosen), chunksize=AHEAD // 8), strict=True)


def content_of(image: CaptionedImage) -> bytes | str:
    """The file's bytes, or why there are none."""
    try:
        return image.source.read(image.file_name)
    except DataError as error:
        return str(error)


def resized(data: bytes | str, *, side: int, quality: int) -> bytes | str:
    """A JPEG whose shorter side is at most `side`; or why there is none."""
    if isinstance(data, str):
        return data
    try:
        image = decode(data, MAX_PIXELS, side)
    except Problem as problem:
        return problem.detail
    scale = side / min(image.size)
    if scale < 1:
        width, height = (max(1, round(length * scale)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def add(tar: tarfile.TarFile, image: CaptionedImage, jpeg: bytes) -> None:
    """The sample: its image, and what is known of it, under one name. Nothing in it depends on the hour."""
    about = {"id": image.id, "file_name": image.file_name, "captions": image.captions}
    for ending, content in (("jpg", jpeg), ("json", strict_json.dumps(about).encode())):
        member = tarfile.TarInfo(f"{sample_name(image.id)}.{ending}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def sample_name(image: ImageId) -> str:
    """The name of a sample's files. A text may hold what none of them may: dots, slashes, any length."""
    if isinstance(image, int):
        return f"{image:012d}"
    return hashlib.sha256(image.encode("utf-8", "surrogatepass")).hexdigest()


def listed(folder: Path) -> set[str]:
    """The lines on unreadable images so far."""
    path = folder / UNREADABLE
    return set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()


if __name__ == "__main__":
    main()
