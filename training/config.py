"""Settings of a training run. The command line flags are generated from the fields of `Config`.

Precedence: flag, then recipe, then default. The defaults are the seed recipe.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from training.data import formats

#: Default folder of a run's checkpoints.
CHECKPOINTS = Path("checkpoints")

#: The settings that each recipe changes.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "seed": {},
    # Settings common to published distillations of captioners and of Whisper, see docs/training.md.
    "beyond": {
        "init": "teacher",
        "random_captions": True,
        "lr": 1e-4,
        "weight_decay": 0.05,
        "warmup_steps": 500,
        "schedule": "cosine",
        "clip": 1.0,
        "precision": "auto",
    },
}


def _flag(default: Any, help: str, **options: Any) -> Any:
    return field(default=default, metadata={"help": help, **options})


@dataclass(frozen=True)
class Config:
    """Settings of one run of `training.distill`. Raises `ValueError` for invalid combinations."""

    recipe: str = _flag("seed", "defaults of the other settings", choices=tuple(RECIPES))
    data: tuple[str, ...] = _flag((), f"data sets: {formats.FORMATS}", nargs="+", action="extend")
    val_data: tuple[str, ...] = _flag((), "data sets to validate on, instead of a split", nargs="+", action="extend")
    captions: tuple[Path, ...] = _flag((), "COCO caption files: with --images, another way to say coco:J:D", nargs="+")
    images: tuple[Path, ...] = _flag((), "folder or .tar of images for each caption file", nargs="+")
    val_captions: tuple[Path, ...] = _flag((), "caption files to validate on", nargs="+")
    val_images: tuple[Path, ...] = _flag((), "folder or .tar for each validation file", nargs="+")
    repeat: tuple[int, ...] = _flag(
        (), "times that an epoch shows the images of each training data set, in their order; default: once", nargs="+"
    )
    novel_objects: int = _flag(
        0, "made-up examples of each object that captions rarely name but the stem knows from ImageNet; 0: none"
    )
    limit: int = _flag(12_000, "images taken, before the split; 0 for all")
    train_fraction: float = _flag(0.8, "part of the images that is trained on, the rest validates")

    teacher: str = _flag("Salesforce/blip-image-captioning-base", "hub id, folder or .pt; none trains by CE alone")
    student: str = _flag(
        "seed", "seed, demo, vit, demo-teacher, a BlipConfig as FILE.json, or weights to start from as FILE.pt"
    )
    stem: str = _flag(
        "none", "published weights that the stem of student demo starts from", choices=("none", "efficientnet-lite2")
    )
    stem_lr: float = _flag(0.0, "learning rate of the stem's last blocks; 0 leaves the stem as it is")
    classes_only: float = _flag(
        0.0, "part of the images of which a hybrid sees nothing but their ImageNet classes in training"
    )
    feature_cache: Path = _flag(Path("feature_cache"), "folder of the cached features of the stem's frozen blocks")
    dropout: float = _flag(0.0, "part of the text decoder's states that is dropped in training")
    student_vision_layers: int = _flag(0, "layers of the student's vision encoder; 0 for its own, here and below")
    student_text_layers: int = _flag(0, "layers of its text decoder")
    student_text_hidden: int = _flag(0, "width of its text decoder")
    student_text_heads: int = _flag(0, "attention heads of its text decoder")
    student_text_ffn: int = _flag(0, "inner width of its text decoder's layers")
    init: str = _flag("random", "what the student starts from", choices=("random", "teacher"))
    tokenizer: str = _flag("", "folder or hub id; default: the teacher's, else the student's own")
    vocabulary: int = _flag(4000, "word pieces of a tokenizer trained here (student demo without a teacher)")
    image_size: int = _flag(0, "side in pixels; 0 for the student's own")

    teacher_logits: str = _flag(
        "online", "run the teacher on every batch, or cache its top words on disk", choices=("online", "cache")
    )
    teacher_cache: Path = _flag(Path("teacher_cache"), "folder of --teacher-logits cache")
    teacher_precision: str = _flag(
        "same", "arithmetic of the teacher; same is that of --precision", choices=("same", "fp32", "bf16")
    )

    epochs: int = _flag(15, "passes over the training images")
    batch_size: int = _flag(16, "images a step, on all processes together")
    micro_batch_size: int = _flag(0, "images a pass on each process; 0 for all of its part of the step at once")
    captions_per_image: int = _flag(1, "captions of each image a step; their image is encoded once")
    random_captions: bool = _flag(False, "sample the captions each epoch instead of taking the first ones")
    pseudo_captions: tuple[Path, ...] = _flag((), "teacher's captions, from training.pseudo_label", nargs="+")
    pseudo_fraction: float = _flag(0.5, "part of the captions that is replaced by the teacher's")
    pseudo_min_cider: float = _flag(0.0, "teacher's captions with a lower CIDEr-D against people's are dropped")
    augment: bool = _flag(False, "random crop, flip and colours")
    views: int = _flag(
        0, "number of augmented views of an image, the first without changes; 0 for a new view each epoch"
    )

    alpha: float = _flag(0.5, "weight of cross-entropy; KL to the teacher gets the rest, and at 1 is left out")
    temperature: float = _flag(1.0, "temperature of the KL term, which is scaled by its square")
    label_smoothing: float = _flag(0.0, "smoothing of the cross-entropy")
    self_critical: int = _flag(
        0, "captions that the student samples per image and learns from by their CIDEr-D; 0 for people's captions"
    )
    image_mse: float = _flag(0.0, "weight of the squared difference between student's and teacher's image states")
    lr: float = _flag(3e-5, "AdamW's learning rate")
    weight_decay: float = _flag(0.01, "AdamW's weight decay")
    warmup_steps: int = _flag(0, "steps of linear warm-up")
    schedule: str = _flag("constant", "learning rate after the warm-up", choices=("constant", "cosine"))
    clip: float = _flag(0.0, "maximum norm of the gradient; 0 for no clipping")
    ema: float = _flag(0.0, "decay of a running average of the weights, which is scored and served; 0 for none")
    precision: str = _flag(
        "fp32", "arithmetic of the forward passes; auto is bf16 on a GPU", choices=("fp32", "bf16", "auto")
    )

    eval_limit: int = _flag(0, "validation images captioned after each epoch; 0 for all")
    eval_batch_size: int = _flag(32, "images captioned at once")
    beams: int = _flag(5, "beams of the captions that are scored")
    max_length: int = _flag(32, "longest caption, in tokens")

    checkpoints: Path = _flag(CHECKPOINTS, "folder of student_epoch{n}.pt and metrics.jsonl")
    resume: str = _flag("auto", "auto continues from the newest readable checkpoint", choices=("auto", "never"))
    save_every_steps: int = _flag(0, "steps between checkpoints in the middle of an epoch; 0 for none")
    seed: int = _flag(42, "seed of split, order, weights and augmentation")
    num_workers: int = _flag(2, "processes that decode images; 0 decodes in this one and keeps small sets in memory")
    device: str = _flag("auto", "cpu, cuda, cuda:1 …; auto takes CUDA when there is one")
    smoke: bool = _flag(False, "run an end-to-end smoke test on drawn images and exit")

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"--{name.replace('_', '-')} must be a finite number, not {value}.")
        if not 0.0 < self.train_fraction < 1.0:
            raise ValueError(
                f"--train-fraction must lie between 0 and 1, so that there are training and validation images; "
                f"it is {self.train_fraction:g}."
            )
        if self.repeat and (len(self.repeat) != len(self.data) + len(self.captions) or min(self.repeat) < 1):
            raise ValueError("--repeat takes a whole number of 1 or more for each training data set.")
        if self.novel_objects < 0 or (
            self.novel_objects and (self.teacher != "none" or self.stem_lr or (self.augment and not self.views))
        ):
            raise ValueError(
                "--novel-objects are stem features, made instead of those of an image: use it with 1 or more, a frozen "
                "stem, --teacher none, and --views if images are augmented."
            )
        if self.limit < 0 or self.eval_limit < 0:
            raise ValueError("--limit and --eval-limit must be 0 or more.")
        if len(self.captions) != len(self.images) or len(self.val_captions) != len(self.val_images):
            raise ValueError("Give as many --images as --captions, and as many --val-images as --val-captions.")
        if self.teacher == "none" and self.alpha != 1.0:
            raise ValueError("Without a teacher there is nothing to distil from: use --alpha 1 with --teacher none.")
        if self.teacher == "none" and self.init == "teacher":
            raise ValueError(
                "Without a teacher a student cannot start from one: use --init random with --teacher none."
            )
        shaped = self.image_size or self.student_vision_layers or self.student_text_layers or self.student_text_hidden
        shaped = shaped or self.student_text_heads or self.student_text_ffn
        if self.student.endswith(".pt") and (self.init == "teacher" or shaped):
            raise ValueError(
                "A student from a .pt has its own shape and weights: use --init random, and leave out --image-size "
                "and the flags of its shape."
            )
        if self.image_mse and (self.teacher == "none" or self.teacher_logits == "cache"):
            raise ValueError("--image-mse needs the teacher's image states: use it with --teacher-logits online.")
        if self.self_critical and (self.self_critical < 2 or self.alpha < 1 or self.label_smoothing or self.image_mse):
            raise ValueError(
                "--self-critical compares 2 or more captions of an image and learns from their rewards only: use it "
                "with --alpha 1, without --label-smoothing and --image-mse."
            )
        if self.views < 0 or (self.views and not self.augment):
            raise ValueError("--views is a number of augmented views: use it with --augment, and 1 or more.")
        for name in ("dropout", "classes_only", "ema"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"--{name.replace('_', '-')} must lie between 0 and 1, and below 1.")
        if self.batch_size < 1 or self.micro_batch_size < 0 or self.save_every_steps < 0:
            raise ValueError("--batch-size must be 1 or more, --micro-batch-size and --save-every-steps 0 or more.")
        if not 0.0 <= self.pseudo_fraction <= 1.0:
            raise ValueError("--pseudo-fraction must lie between 0 and 1.")
        if not 0.0 <= self.alpha <= 1.0 or self.temperature <= 0.0:
            raise ValueError("--alpha must lie between 0 and 1, and --temperature above 0.")

    @property
    def train_sources(self) -> tuple[formats.Source, ...]:
        """The training data sets."""
        return formats.sources(self.data, self.captions, self.images)

    @property
    def val_sources(self) -> tuple[formats.Source, ...]:
        """The validation data sets. Empty if validation uses a split of the training data."""
        return formats.sources(self.val_data, self.val_captions, self.val_images)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The configuration from the dictionary of `as_dict`. Missing settings have their defaults."""
        types = get_type_hints(cls)
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: _typed(types[name], value) for name, value in values.items() if name in known})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for logs and checkpoints."""
        return {
            name: [str(item) for item in value]
            if isinstance(value, tuple)
            else str(value)
            if isinstance(value, Path)
            else value
            for name, value in dataclasses.asdict(self).items()
        }


def _typed(kind: Any, value: Any) -> Any:
    """Convert a plain value to the type of its field."""
    if kind == tuple[int, ...]:
        return tuple(int(item) for item in value)
    if kind == tuple[Path, ...]:
        return tuple(Path(item) for item in value)
    return tuple(value) if kind == tuple[str, ...] else Path(value) if kind is Path else value


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Parse a command line. Exits with an error message when it is invalid."""
    parser = argparse.ArgumentParser(
        prog="python -m training.distill",
        description=__doc__,
        argument_default=argparse.SUPPRESS,  # distinguishes omitted flags from flags with the default value
    )
    types = get_type_hints(Config)
    for item in dataclasses.fields(Config):
        options: dict[str, Any] = dict(item.metadata)
        kind = types[item.name]
        options["help"] += f" (default: {item.default})" if item.default not in ((), "") else ""
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = {tuple[Path, ...]: Path, tuple[str, ...]: str, tuple[int, ...]: int}.get(kind, kind)
        parser.add_argument("--" + item.name.replace("_", "-"), **options)
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    if not given.get("data") and not given.get("captions") and not given.get("smoke"):
        parser.error(formats.NEEDED)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        return Config(**{**RECIPES[given.get("recipe", "seed")], **given})
    except ValueError as error:
        parser.error(str(error))
