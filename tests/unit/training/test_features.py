"""The feature cache is shared between processes, and a truncated file loses only its end."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.images import DataError
from training.features import FeatureCache

SHAPE = (2, 3, 3)


def features(value: float) -> NDArray[np.float16]:
    return np.full(SHAPE, value, dtype=np.float16)


def cache(folder: Path, **of: object) -> FeatureCache:
    return FeatureCache(folder, of, SHAPE)


def test_features_are_shared_between_processes(tmp_path: Path) -> None:
    one, other = cache(tmp_path), cache(tmp_path)
    one.write({"a": features(1), "b": features(2)})
    other.write({"c": features(3)})

    found = cache(tmp_path)

    assert [float(found[name].mean()) for name in "abc"] == [1, 2, 3]
    assert "d" not in found


def test_a_pickled_cache_has_no_rows(tmp_path: Path) -> None:
    cache(tmp_path).write({str(number): features(number) for number in range(100)})
    sent = pickle.dumps(cache(tmp_path))

    assert len(sent) < 1000
    assert float(pickle.loads(sent)["7"].mean()) == 7


def test_each_stem_has_its_own_folder(tmp_path: Path) -> None:
    cache(tmp_path, weights="x").write({"a": features(1)})

    assert "a" not in cache(tmp_path, weights="y")


@pytest.mark.parametrize("torn", ["*.keys", "*.features"])
def test_a_truncated_file_loses_its_last_row(tmp_path: Path, torn: str) -> None:
    cache(tmp_path).write({"a": features(1), "b": features(2)})
    (path,) = tmp_path.glob(f"*/{torn}")
    path.write_bytes(path.read_bytes()[:-1])

    found = cache(tmp_path)

    assert "a" in found
    assert "b" not in found


def test_a_full_disk_is_detected_before_computing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Give a smaller --views or another --feature-cache"):
        cache(tmp_path).check_space(10**14)
