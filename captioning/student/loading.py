"""Loads any student: a `.pt` file, a folder in Hugging Face format, or a hub id."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.errors import StudentError
from captioning.preprocessing import Preprocessing
from captioning.student.calibration import Calibration, load_calibration
from captioning.student.checkpoint import load_checkpoint
from captioning.student.config import preprocessing_of
from captioning.student.folder import load_folder
from captioning.student.processor import load_tokenizer
from common.settings import PROJECT_ROOT
from common.translation import _

#: The bundled student, in Hugging Face format.
DEMO = PROJECT_ROOT / "models" / "demo"


@dataclass(frozen=True)
class Student:
    """A loaded captioning model: float32, eval mode, with its tokenizer. `version` identifies its exact weights.

    `path` is its folder or `.pt` file, and None for a model of the hub or without safetensors, which
    has no calibration.
    """

    model: BlipForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    name: str
    version: str
    demo: bool
    path: Path | None = None
    calibration: Calibration | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """The model's preprocessing of images."""
        return preprocessing_of(self.model.config)


def load_student(source: str | Path, *, processor: str | Path, text_heads: int = 8, vision_heads: int = 12) -> Student:
    """Load a student from `source`: `demo`, a `.pt` file, a folder, or a hub id.

    `processor` (folder or hub id) and the head counts are used for a `.pt` that does not contain its own.
    Raises `StudentError`.
    """
    path = DEMO if str(source) == "demo" else Path(source)
    if path.suffix == ".pt":
        model, embedded_tokenizer = load_checkpoint(path, text_heads=text_heads, vision_heads=vision_heads)
        tokenizer = embedded_tokenizer or load_tokenizer(processor)
        weights: Path | None = path
    else:
        model, tokenizer = load_folder(path if path.is_dir() else source)
        weights = next(iter(sorted(path.glob("*.safetensors"))), None) if path.is_dir() else None
    vocab_size = model.config.text_config.vocab_size
    if len(tokenizer) > vocab_size:
        raise StudentError(
            _(
                "{source} has {model} tokens, but its tokenizer has {tokenizer}. They do not belong together. Set "
                "CAPTIOND_PROCESSOR to the tokenizer it was trained with.",
                source=source,
                model=vocab_size,
                tokenizer=len(tokenizer),
            )
        )
    version = f"sha256:{_sha256(weights)}" if weights else f"hub:{getattr(model.config, '_commit_hash', None)}"
    return Student(
        model=model,
        tokenizer=tokenizer,
        name=path.stem if path.exists() else str(source),
        version=version,
        demo=path.resolve() == DEMO.resolve(),
        path=path if weights else None,
        calibration=load_calibration(path, version) if weights else None,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
