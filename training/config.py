"""Every setting of a training run; the defaults are the seed recipe, the flags are made from the fields."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from training import formats

#: Where a run writes unless told.
CHECKPOINTS = Path("checkpoints")


def _flag(default: Any, help: str, **options: Any) -> Any:
    return field(default=default, metadata={"help": help, **options})


@dataclass(frozen=True)
class Config:
    """One run of `training.distill`."""

    data: tuple[str, ...] = _flag((), f"data sets: {formats.FORMATS}", nargs="+", action="extend")
    val_data: tuple[str, ...] = _flag((), "data sets to validate on, instead of a split", nargs="+", action="extend")
    captions: tuple[Path, ...] = _flag((), "COCO caption files: with --images, another way to say coco:J:D", nargs="+")
    images: tuple[Path, ...] = _flag((), "folder or .tar of pictures for each caption file", nargs="+")
    val_captions: tuple[Path, ...] = _flag((), "caption files to validate on", nargs="+")
    val_images: tuple[Path, ...] = _flag((), "folder or .tar for each validation file", nargs="+")
    limit: int = _flag(12_000, "pictures taken, before the split; 0 for all")
    train_fraction: float = _flag(0.8, "part of the pictures that is trained on, the rest validates")

    teacher: str = _flag("Salesforce/blip-image-captioning-base", "hub id, folder or .pt; none trains by CE alone")
    student: str = _flag("seed", "seed, demo, demo-teacher, or a BlipConfig as FILE.json")
    tokenizer: str = _flag("", "folder or hub id; default: the teacher's, else the student's own")
    vocabulary: int = _flag(4000, "word pieces of a tokenizer trained here (student demo without a teacher)")
    image_size: int = _flag(0, "side in pixels; 0 for the student's own")

    epochs: int = _flag(15, "passes over the training pictures")
    batch_size: int = _flag(16, "pictures a step")
    captions_per_image: int = _flag(1, "captions of each picture a step; their picture is encoded once")
    random_captions: bool = _flag(False, "draw the captions anew each epoch instead of taking the first ones")
    augment: bool = _flag(False, "random crop, flip and brightness")

    alpha: float = _flag(0.5, "weight of cross-entropy; KL to the teacher gets the rest")
    temperature: float = _flag(1.0, "temperature of the KL term, which is scaled by its square")
    label_smoothing: float = _flag(0.0, "smoothing of the cross-entropy")
    lr: float = _flag(3e-5, "AdamW's learning rate")
    weight_decay: float = _flag(0.01, "AdamW's weight decay")
    warmup_steps: int = _flag(0, "steps of linear warm-up")
    schedule: str = _flag("constant", "learning rate after the warm-up", choices=("constant", "cosine"))
    clip: float = _flag(0.0, "largest norm of the gradient; 0 for no clipping")
    precision: str = _flag("fp32", "arithmetic of the forward passes", choices=("fp32", "bf16"))

    eval_limit: int = _flag(0, "validation pictures captioned after each epoch; 0 for all")
    eval_batch_size: int = _flag(32, "pictures captioned at once")
    beams: int = _flag(5, "beams of the captions that are scored")
    max_length: int = _flag(32, "longest caption, in tokens")

    checkpoints: Path = _flag(CHECKPOINTS, "folder of student_epoch{n}.pt and metrics.jsonl")
    resume: str = _flag("auto", "auto continues from the newest readable checkpoint", choices=("auto", "never"))
    seed: int = _flag(42, "seed of split, order, weights and augmentation")
    num_workers: int = _flag(2, "processes that decode pictures; 0 decodes in this one and keeps small sets in memory")
    device: str = _flag("auto", "cpu, cuda, cuda:1 …; auto takes CUDA when there is one")

    def __post_init__(self) -> None:
        if len(self.captions) != len(self.images) or len(self.val_captions) != len(self.val_images):
            raise ValueError("Give as many --images as --captions, and as many --val-images as --val-captions.")
        if self.teacher == "none" and self.alpha != 1.0:
            raise ValueError("Without a teacher there is nothing to distil from: use --alpha 1 with --teacher none.")
        if not 0.0 <= self.alpha <= 1.0 or self.temperature <= 0.0:
            raise ValueError("--alpha must lie between 0 and 1, and --temperature above 0.")

    @property
    def train_sources(self) -> tuple[str, ...]:
        """Every data set that is trained on, as `--data` names it."""
        return formats.sources(self.data, self.captions, self.images)

    @property
    def val_sources(self) -> tuple[str, ...]:
        """Every data set that is validated on; none for a part of the training's own."""
        return formats.sources(self.val_data, self.val_captions, self.val_images)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The configuration that `as_dict` saved in a checkpoint; what it does not say is as by default."""
        types = get_type_hints(cls)
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: _typed(types[name], value) for name, value in values.items() if name in known})

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, as they are printed and saved in every checkpoint."""
        return {
            name: [str(item) for item in value]
            if isinstance(value, tuple)
            else str(value)
            if isinstance(value, Path)
            else value
            for name, value in dataclasses.asdict(self).items()
        }


def _typed(kind: Any, value: Any) -> Any:
    """A plain value as the field's type has it."""
    if kind == tuple[Path, ...]:
        return tuple(Path(item) for item in value)
    return tuple(value) if kind == tuple[str, ...] else Path(value) if kind is Path else value


def parse(arguments: Sequence[str] | None = None) -> Config:
    """The configuration of a command line; exits with a sentence when it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m training.distill",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    types = get_type_hints(Config)
    for item in dataclasses.fields(Config):
        options: dict[str, Any] = dict(item.metadata)
        kind = types[item.name]
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = {tuple[Path, ...]: Path, tuple[str, ...]: str}.get(kind, kind)
        default = list(item.default) if isinstance(item.default, tuple) else item.default
        parser.add_argument("--" + item.name.replace("_", "-"), default=default, **options)
    values: dict[str, Any] = vars(parser.parse_args(arguments))
    if not values["data"] and not values["captions"]:
        parser.error(formats.NEEDED)
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    try:
        return Config(**values)
    except ValueError as error:
        parser.error(str(error))
