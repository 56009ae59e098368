"""`captiond batch --url` and `captiond watch --url` through the whole service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.images import numbered
from tests.support.service import Service


def test_a_folder_is_captioned_by_the_service(service: Service, tmp_path: Path) -> None:
    for number, data in enumerate(numbered(70)):  # more than one request takes
        (tmp_path / f"{number:02}.jpg").write_bytes(data)
    (tmp_path / "broken.png").write_bytes(b"no image")
    out = tmp_path / "captions.jsonl"

    run = subprocess.run(
        [sys.executable, "-m", "cli.main", "batch", str(tmp_path), "--url", service.url, "--out", str(out)],
        capture_output=True,
        text=True,
    )

    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [Path(row["image"]).name for row in rows] == [f"{number:02}.jpg" for number in range(70)]
    assert all(len(row["caption"].split()) >= 3 for row in rows)
    assert run.returncode == 1
    assert "broken.png: " in run.stderr and "70 captioned, 1 failed" in run.stderr


def test_arriving_images_are_captioned_by_the_service(service: Service, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    command = [sys.executable, "-m", "cli.main", "watch", str(tmp_path), "--url", service.url, "--out", str(out)]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watching.stdout
    printed = []
    try:
        for number, data in enumerate(numbered(3)):
            (tmp_path / f"{number}.jpg").write_bytes(data)
            printed.append(watching.stdout.readline().rstrip("\n"))
    finally:
        watching.terminate()
        _, said = watching.communicate()

    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert printed == [f"{tmp_path / f'{number}.jpg'}\t{rows[number]['caption']}" for number in range(3)]
    assert (watching.returncode, said) == (0, "Stopped. 3 captioned, 0 failed.\n")
