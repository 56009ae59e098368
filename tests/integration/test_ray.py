"""The example of docs/scaling.md captions a folder on Ray."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.settings import PROJECT_ROOT
from tests.support.images import numbered

GUIDE = (PROJECT_ROOT / "docs/scaling.md").read_text(encoding="utf-8")
#: Seconds for starting Ray, loading the model and captioning.
TIMEOUT = 600


@pytest.mark.slow
def test_the_example_captions_each_image_and_leaves_out_a_broken_one(tmp_path: Path) -> None:
    from pyarrow import parquet  # a dependency of Ray, which only the slow tests install

    (code,) = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    for name in ("photos", "captions"):
        (tmp_path / name).mkdir()
        code = code.replace(f"s3://bucket/{name}", str(tmp_path / name))
    for number, image in enumerate(numbered(5)):
        (tmp_path / f"photos/{number}.jpg").write_bytes(image)
    (tmp_path / "photos/broken.jpg").write_bytes(b"text")

    environment = {**os.environ, "CAPTIOND_MODEL": "demo", "CAPTIOND_BEAMS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, env=environment, timeout=TIMEOUT, check=True)

    captions = {Path(row["path"]).name: row["caption"] for row in parquet.read_table(tmp_path / "captions").to_pylist()}
    assert captions.keys() == {"0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "broken.jpg"}
    assert [name for name, caption in captions.items() if caption is None] == ["broken.jpg"]
