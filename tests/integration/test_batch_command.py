"""`captiond batch --url` through the whole service."""

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
