"""Programs that some tests need; script/test installs them."""

from __future__ import annotations

import shutil

import pytest

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
