"""Training runs of a tiny student on a handful of drawn images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.support.coco import write_coco
from tests.support.models import tiny_config, tiny_model, tiny_tokenizer
from training import distill


class Run:
    """Runs in one folder with common flags; `epochs` and other flags are given per run."""

    def __init__(self, folder: Path) -> None:
        captions, images = write_coco(folder, 10)
        (folder / "shape.json").write_text(json.dumps(tiny_config(tiny_tokenizer()).to_dict()))
        tiny_tokenizer().save_pretrained(folder / "tokenizer")
        self.folder = folder
        self._flags: dict[str, Any] = {
            "data": f"coco:{captions}:{images}",
            "student": folder / "shape.json",
            "tokenizer": folder / "tokenizer",
            "teacher": "none",
            "alpha": 1,
            "batch-size": 4,
            "lr": 0.01,
            "num-workers": 0,
            "device": "cpu",
            "beams": 1,
            "max-length": 8,
        }

    def go(self, checkpoints: str = "run", **flags: Any) -> Path:
        """Train and return the folder of the checkpoints."""
        distill.main(self.arguments(checkpoints, **flags))
        return self.folder / checkpoints

    def arguments(self, checkpoints: str = "run", **flags: Any) -> list[str]:
        """The command line of a run."""
        given = self._flags | {name.replace("_", "-"): value for name, value in flags.items()}
        arguments = [
            word
            for name, value in given.items()
            for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)] if value != [] else [])
        ]
        return [*arguments, "--checkpoints", str(self.folder / checkpoints)]


def teacher_folder(folder: Path) -> Path:
    """Save a tiny teacher with its tokenizer in Hugging Face format. Return its folder."""
    path = folder / "teacher"
    tiny_model(seed=7).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint that are used for captioning."""
    content: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return content
