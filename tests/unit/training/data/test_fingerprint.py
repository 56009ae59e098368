"""A resumed run logs changes of data and settings, and refuses those that break its split or its epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.coco import write_coco
from tests.support.training import Run, weights


@pytest.fixture
def run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Run:
    caplog.set_level("INFO")
    return Run(tmp_path)


def stopped_in_epoch_1(run: Run, images: int = 4) -> Path:
    """The folder of a run that was stopped after so many of its 8 training images, in steps of four."""
    folder = run.go(epochs=1, save_every_steps=1)
    content = torch.load(folder / "student_epoch1.pt", weights_only=True)
    torch.save({**content, "finished": False, "pictures": images}, folder / "unfinished.pt")
    (folder / "student_epoch1.pt").unlink()
    (folder / "metrics.jsonl").unlink()
    return folder


def without_fingerprint(path: Path, **changes: Any) -> None:
    """Make a checkpoint what earlier versions wrote."""
    content = torch.load(path, weights_only=True)
    del content["data"]
    torch.save({**content, **changes}, path)


class TestSplit:
    def test_a_seed_that_validates_on_training_images_is_refused(self, run: Run) -> None:
        folder = run.go(epochs=1)
        before = sorted(folder.iterdir())

        with pytest.raises(SystemExit, match=r"already trained on [12] of the 2 validation images.*42 → 1"):
            run.go(epochs=2, seed=1)

        assert sorted(folder.iterdir()) == before

    def test_training_images_are_remembered_after_a_change_of_data(self, run: Run) -> None:
        val, others = (write_coco(run.folder / name, 3, first_id=first) for name, first in (("val", 500), ("new", 600)))
        own = {"val_data": f"coco:{val[0]}:{val[1]}"}
        run.go(epochs=1, **own)
        run.go(epochs=2, data=f"coco:{others[0]}:{others[1]}", **own)

        with pytest.raises(SystemExit, match="already trained on 10 of the 10 validation images"):
            run.go(
                epochs=3,
                data=f"coco:{others[0]}:{others[1]}",
                val_data=f"coco:{run.folder / 'captions.json'}:{run.folder / 'images'}",
            )

    def test_an_overlap_from_the_start_only_logs_a_warning(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        same = f"coco:{run.folder / 'captions.json'}:{run.folder / 'images'}"
        run.go(epochs=1, val_data=same)

        folder = run.go(epochs=2, val_data=same)

        assert "10 of the 10 validation images are also training images" in caplog.text
        assert (folder / "student_epoch2.pt").exists()


class TestIncompleteEpoch:
    @pytest.mark.parametrize("changed", [{"limit": 5}, {"seed": 1}, {"train_fraction": 0.5}])
    def test_a_changed_order_is_refused(self, run: Run, changed: dict[str, Any]) -> None:
        folder = stopped_in_epoch_1(run)

        for _ in range(2):
            with pytest.raises(SystemExit, match=r"validation images, so their|images or their order have changed"):
                run.go(epochs=1, **changed)

        assert [path.name for path in folder.iterdir()] == ["unfinished.pt"]

    def test_a_smaller_data_set_is_refused(self, run: Run) -> None:
        val = write_coco(run.folder / "val", 3, first_id=500)
        own: dict[str, Any] = {"val_data": f"coco:{val[0]}:{val[1]}", "save_every_steps": 1}
        folder = run.go(epochs=1, **own)
        content = torch.load(folder / "student_epoch1.pt", weights_only=True)
        torch.save({**content, "epoch": 2, "finished": False, "pictures": 4}, folder / "unfinished.pt")

        with pytest.raises(SystemExit, match=r"after 4 images of epoch 2.*10 training images then, 3 now"):
            run.go(epochs=2, limit=3, **own)

    def test_an_epoch_resumes_with_the_same_data_in_another_folder(self, run: Run) -> None:
        folder = stopped_in_epoch_1(run)
        image_folder = run.folder / "images"
        image_folder.rename(run.folder / "moved")

        run.go(epochs=1, data=f"coco:{run.folder / 'captions.json'}:{run.folder / 'moved'}")

        assert (folder / "student_epoch1.pt").exists()


class TestChanges:
    def test_changed_settings_are_logged_and_applied(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        run.go(epochs=1)

        folder = run.go(epochs=2, lr=0.001, weight_decay=0.5, num_workers=1)

        assert "Resuming with changed settings: --epochs 1 → 2, --lr 0.01 → 0.001, --weight-decay 0.01 → 0.5." in (
            caplog.text
        )
        (group,) = torch.load(folder / "student_epoch2.pt", weights_only=True)["optimizer"]["param_groups"]
        assert group["weight_decay"] == 0.5

    def test_unchanged_settings_are_not_logged(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        run.go(epochs=1)
        (run.folder / "run" / "metrics.jsonl").unlink()
        run.go(epochs=1)

        assert "Resuming with changed settings" not in caplog.text
        assert "have changed" not in caplog.text

    def test_changed_captions_and_validation_images_are_logged(
        self, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        captions, image_folder = write_coco(run.folder / "val", 3, first_id=500)
        run.go(epochs=1, val_data=f"coco:{captions}:{image_folder}")
        text = (run.folder / "captions.json").read_text()
        (run.folder / "captions.json").write_text(text.replace("lies", "rests"))
        captions, image_folder = write_coco(run.folder / "val", 2, first_id=600)

        run.go(epochs=2, val_data=f"coco:{captions}:{image_folder}")

        assert "Captions of the training images have changed." in caplog.text
        assert "The validation images have changed: scores cannot be compared" in caplog.text


class TestEarlierVersion:
    def test_equal_settings_count_as_equal_data(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        whole = run.go("whole", epochs=2)
        without_fingerprint(run.go("parts", epochs=1) / "student_epoch1.pt")

        parts = run.go("parts", epochs=2)

        assert "did not store its training data. Its data and split settings equal the current ones" in caplog.text
        expected, found = (weights(folder / "student_epoch2.pt") for folder in (whole, parts))
        assert all(torch.equal(expected[name], found[name]) for name in expected)

    def test_a_changed_split_is_refused(self, run: Run) -> None:
        without_fingerprint(run.go(epochs=1) / "student_epoch1.pt")

        with pytest.raises(SystemExit, match=r"earlier version, which did not store .*--train-fraction 0\.8 → 0\.5"):
            run.go(epochs=2, train_fraction=0.5)

    def test_a_checkpoint_with_more_images_than_the_data_is_refused(self, run: Run) -> None:
        folder = stopped_in_epoch_1(run)
        without_fingerprint(folder / "unfinished.pt", pictures=9)

        with pytest.raises(SystemExit, match="earlier version, which did not store"):
            run.go(epochs=1)
