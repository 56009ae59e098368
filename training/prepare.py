"""Resize the images of data sets and write them to WebDataset shards, which training reads quickly.

python -m training.prepare --data coco:captions_train2017.json:train2017 --out shards/train --side 480

Shards are written atomically, so a run that was stopped can be started again and continues with the next shard.
Unreadable images are skipped and listed in `unreadable.txt`.
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
from common.files import atomic_write
from common.images.decoding import decode
from common.problems import Problem
from training.data import formats
from training.data.images import MAX_PIXELS, CaptionedImage, DataError, ImageId

#: File with the data and settings of the shards. Shards of other data or settings must not be mixed with them.
MANIFEST = "prepared.json"
UNREADABLE = "unreadable.txt"
#: Version of the shards, increased when the same settings give other shards. Version 1 was not recorded.
VERSION = 2
#: Number of images that are read ahead per process.
READ_AHEAD = 32


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.prepare", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    formats.add_flags(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--side", type=int, default=480, help="maximum length of the shorter side in pixels")
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality, 1 to 95")
    parser.add_argument("--shard", type=int, default=5000, help="images per shard")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="processes that resize images")
    args = parser.parse_args(arguments)
    if min(args.side, args.shard, args.processes) < 1 or not 1 <= args.quality <= 95:
        parser.error("--side, --shard and --processes must be at least 1, and --quality must be 1 to 95.")
    try:
        data = formats.sources(args.data, args.captions, args.images)
        images = formats.read(data)
        settings = {"side": args.side, "quality": args.quality, "shard": args.shard}
        about = {"version": VERSION, "data": [str(source) for source in data], "pictures": len(images), **settings}
        args.out.mkdir(parents=True, exist_ok=True)
        with FileLock(args.out / "prepare.lock", blocking=False):
            claim(args.out, about)
            prepare(images, args.out, **settings, processes=args.processes)
    except DataError as error:
        parser.exit(1, f"{error}\n")
    except Timeout:
        parser.exit(1, f"Another process is writing to {args.out}.\n")
    except OSError as error:
        parser.exit(1, f"The shards cannot be written: {error}. Run the command again to continue.\n")
    unreadable = read_unreadable(args.out)
    if len(unreadable) == len(images):
        parser.exit(1, f"None of the {len(images)} images can be read; see {args.out / UNREADABLE}.\n")
    last = math.ceil(len(images) / args.shard) - 1
    print(f"Train with --data 'wds:{args.out}/{{{0:06d}..{last:06d}}}.tar'")
    if unreadable:
        print(f"{len(unreadable)} of {len(images)} images cannot be read; see {args.out / UNREADABLE}.")


def claim(folder: Path, about: dict[str, Any]) -> None:
    """Write the folder's manifest. Raises `DataError` if the folder has another manifest."""
    path = folder / MANIFEST
    if not path.exists():
        with atomic_write(path) as file:
            file.write((strict_json.dumps(about, indent=1) + "\n").encode())
    elif json.loads(path.read_text(encoding="utf-8")) != about:
        raise DataError(
            f"{folder} has shards of other data or settings, or of another version of this program ({path}). Use "
            "another --out, or remove the folder."
        )


def prepare(
    images: Sequence[CaptionedImage], folder: Path, *, side: int, quality: int, shard: int, processes: int
) -> None:
    """Write the missing shards, with a progress bar."""
    # A fork would copy the state, such as locks, of other threads in this process.
    context = multiprocessing.get_context("forkserver")
    resize = partial(resize_image, side=side, quality=quality)
    with (
        ProcessPoolExecutor(processes, mp_context=context) as pool,
        tqdm(total=len(images), desc="preparing", unit="image", mininterval=5) as progress,
    ):
        for number, first in enumerate(range(0, len(images), shard)):
            shard_images = images[first : first + shard]
            path = folder / f"{number:06d}.tar"
            if path.exists():
                progress.update(len(shard_images))
                continue
            unreadable = read_unreadable(folder)
            with atomic_write(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
                for image, outcome in outcomes(shard_images, resize, pool, processes):
                    if isinstance(outcome, str):
                        unreadable.add(f"{image.file_name}: {outcome}")
                    else:
                        add(tar, image, outcome)
                    progress.update()
                if unreadable:
                    with atomic_write(folder / UNREADABLE) as lines:
                        lines.write(("\n".join(sorted(unreadable)) + "\n").encode())


def outcomes(
    images: Sequence[CaptionedImage], resize: partial[bytes | str], pool: ProcessPoolExecutor, processes: int
) -> Iterator[tuple[CaptionedImage, bytes | str]]:
    """Each image with its resized JPEG or an error message. This process reads the files, in order."""
    ahead = READ_AHEAD * processes
    for first in range(0, len(images), ahead):
        batch = images[first : first + ahead]
        yield from zip(batch, pool.map(resize, map(read_file, batch), chunksize=READ_AHEAD // 8), strict=True)


def read_file(image: CaptionedImage) -> bytes | str:
    """The content of the image's file, or an error message."""
    try:
        return image.source.read(image.file_name)
    except DataError as error:
        return str(error)


def resize_image(data: bytes | str, *, side: int, quality: int) -> bytes | str:
    """A JPEG whose shorter side is at most `side` pixels, or an error message. Passes an error message on."""
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
    """Add a sample: image and metadata under one name. The output is deterministic, without timestamps."""
    about = {"id": image.id, "file_name": image.file_name, "captions": image.captions}
    for extension, content in (("jpg", jpeg), ("json", strict_json.dumps(about).encode())):
        member = tarfile.TarInfo(f"{sample_name(image.id)}.{extension}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def sample_name(image: ImageId) -> str:
    """File name of a sample without extension. String ids are hashed, as they may contain dots and slashes."""
    if isinstance(image, int):
        return f"{image:012d}"
    return hashlib.sha256(image.encode("utf-8", "surrogatepass")).hexdigest()


def read_unreadable(folder: Path) -> set[str]:
    """The lines of `unreadable.txt`."""
    path = folder / UNREADABLE
    return set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()


if __name__ == "__main__":
    main()
