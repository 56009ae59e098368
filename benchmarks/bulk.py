"""The same folder of pictures, captioned as a manifest by two workers of captiond, and by two processes of Ray Data.

With a model that costs nothing, which shows what everything else costs, and with the demo. Reported are the seconds
from the start of the workers, or of Ray, to the last result, and how many of the captions are the same.
"""

from __future__ import annotations

import io
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks import report
from benchmarks.colour_worker import ColourCaptioner
from benchmarks.load import different_images
from benchmarks.manifest import SIDE, WORKER, WORKERS, caption, workers
from captioning.captioner import Captioner, load_captioner
from captioning.stream import caption_stream
from common.problems import Problem
from common.settings import Settings

#: Pictures for each model.
PICTURES = {"colours": 20_000, "demo": 2_000}
PICTURES_QUICK = {"colours": 2_000, "demo": 200}
#: The Celery app of each model's workers.
APPS = {"colours": WORKER, "demo": "worker"}
#: Pictures of a batch of Ray Data.
RAY_BATCH = 64


def main(arguments: list[str] | None = None) -> None:
    parser = report.parser("benchmarks.bulk", __doc__)
    options = parser.parse_args(arguments)
    rows: list[list[object]] = []
    ratios: dict[str, float] = {}
    for model, count in (PICTURES_QUICK if options.quick else PICTURES).items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_pictures(folder / "pictures", count, model)
            ours = timed(with_captiond, folder, model)
            theirs = timed(with_ray, folder, model)
        same = sum(ours[1][name] == theirs[1][name] for name in ours[1])
        ratios[f"captiond_vs_ray_{model}"] = theirs[0] / ours[0]
        rows += [[model, count, ours[0], count / ours[0], theirs[0], count / theirs[0], same]]
    header = ["model", "pictures", "captiond s", "pictures/s", "Ray s", "pictures/s", "same captions"]
    print(report.table(header, rows))
    report.write(options.json, ratios, rows=rows)


def write_pictures(folder: Path, count: int, model: str) -> None:
    """Write different pictures: tiny ones for the model that costs nothing, photographs' sizes for the demo."""
    folder.mkdir()
    images = different_images() if model == "demo" else tiny_pictures()
    for number, data in enumerate(islice(images, count)):
        (folder / f"{number:06}.jpg").write_bytes(data)


def tiny_pictures() -> Iterator[bytes]:
    """PNG files of different colours."""
    number = 0
    while True:
        buffer = io.BytesIO()
        Image.new("RGB", (SIDE, SIDE), (number % 256, number // 256 % 256, 0)).save(buffer, "PNG")
        yield buffer.getvalue()
        number += 1


def timed(
    run: Callable[[Path, str], dict[str, str | None]], folder: Path, model: str
) -> tuple[float, dict[str, str | None]]:
    """Seconds of a run, and its captions by file name."""
    started = time.monotonic()
    captions = run(folder, model)
    return time.monotonic() - started, captions


def with_captiond(folder: Path, model: str) -> dict[str, str | None]:
    """Start Redis, web server and workers, and caption the folder; returns captions by file name."""
    with workers(folder / "service", f"file://{folder}/pictures", APPS[model]) as running:
        run = caption(running, f"file://{folder}/pictures/", "out")
        results = (running.processes.settings.data / "results" / "out").glob("part-*")
        rows = [json.loads(line) for path in results for line in path.read_text(encoding="utf-8").splitlines()]
    assert run.batch["status"] == "completed", run.batch
    return {Path(row["custom_id"]).name: row["caption"] for row in rows}


class CaptionImages:
    """The class of docs/scaling.md with either model."""

    def __init__(self, model: str) -> None:
        self.settings = Settings(model="demo", precision="fp32", beams=1)
        self.captioner: Captioner = ColourCaptioner() if model == "colours" else load_captioner(self.settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        results = caption_stream(self.captioner, batch["bytes"], bytes, self.settings.max_batch)
        captions = [None if isinstance(result, Problem) else result.caption for _, result in results]
        return {"path": batch["path"], "caption": captions}


def with_ray(folder: Path, model: str) -> dict[str, str | None]:
    """Start Ray, and caption the folder."""
    import ray
    from pyarrow import parquet

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(include_dashboard=False, num_cpus=WORKERS + 1, logging_level=logging.WARNING)  # one more to read the files
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        images = ray.data.read_binary_files(str(folder / "pictures"), include_paths=True)
        captioned = images.map_batches(
            CaptionImages, fn_constructor_args=(model,), batch_size=RAY_BATCH, concurrency=WORKERS
        )
        captioned.write_parquet(str(folder / "captions"))
    finally:
        ray.shutdown()
    rows = parquet.read_table(folder / "captions").to_pylist()
    return {Path(row["path"]).name: row["caption"] for row in rows}


if __name__ == "__main__":
    main()
