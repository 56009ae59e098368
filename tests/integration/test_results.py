"""The results of one batch over HTTP in all formats: real Redis, real worker, demo model, streamed by waitress."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest
import requests
from pycocotools.coco import COCO

from common.exports import FORMATS
from tests.support.images import numbered
from tests.support.service import Service, wait_until

#: The batch: two images in folders, and a file that is no image.
NAMES = ["a/1.jpg", "a/2.jpg", "bad.jpg"]


@pytest.fixture(scope="module")
def batch(service: Service) -> str:
    """The path of a finished batch whose first caption was edited."""
    images = [("images", (name, data)) for name, data in zip(NAMES, [*numbered(2), b"text"], strict=True)]
    form = [("custom_id", name) for name in NAMES]
    path = str(requests.post(f"{service.url}/v1/batches", files=images, data=form).json()["urls"]["self"])
    wait_until(lambda: service.get(path)[1]["status"] == "completed", service.log)
    job = json.loads(requests.get(f"{service.url}{path}/results").text.splitlines()[0])["id"]
    requests.patch(f"{service.url}/v1/jobs", json={"captions": {job: "my number"}}).raise_for_status()
    return path


def captions(format: str, content: bytes, folder: Path) -> dict[str, str]:
    """The captions of a file by their names in it."""
    if format.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name).decode() for name in archive.namelist()}
    if format == "csv":
        return {row["custom_id"]: row["caption"] for row in csv.DictReader(io.StringIO(content.decode()))}
    if format == "coco":
        (folder / "coco.json").write_bytes(content)
        coco = COCO(str(folder / "coco.json"))
        return {coco.imgs[each["image_id"]]["file_name"]: each["caption"] for each in coco.anns.values()}
    if format == "labelstudio":
        tasks = json.loads(content)
        results = [(task.get("annotations") or task["predictions"])[0]["result"][0] for task in tasks]
        return {
            task["data"]["captioning"].split("?d=")[1]: result["value"]["text"][0]
            for task, result in zip(tasks, results, strict=True)
        }
    rows = [json.loads(line) for line in content.decode().splitlines()]
    return (
        {row["file_name"]: row["text"] for row in rows}
        if format == "hf"
        else {row["custom_id"]: row["caption"] or "" for row in rows}
    )


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_the_edited_and_the_model_s_caption(
    service: Service, batch: str, format: str, tmp_path: Path
) -> None:
    answer = requests.get(f"{service.url}{batch}/results?format={format}")

    found = captions(format, answer.content, tmp_path)
    first, second, *rest = found
    assert answer.status_code == 200
    assert "my number" in found[first]
    assert found[second].strip() and "my number" not in found[second]
    assert [found[name] for name in rest] == ([""] if format in ("jsonl", "csv") else [])


def test_unchanged_results_are_not_sent_again(service: Service, batch: str) -> None:
    url = f"{service.url}{batch}/results?format=coco"
    tag = requests.get(url).headers["ETag"]

    assert requests.get(url, headers={"If-None-Match": tag}).status_code == 304
