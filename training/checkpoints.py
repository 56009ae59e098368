"""Checkpoints: one self-contained `student_epoch{n}.pt` after each epoch, written whole or not at all."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from common.student.errors import StudentError
from common.student.tokens import wrap
from training.config import Config

log = logging.getLogger(__name__)

_NAME = re.compile(r"student_epoch(\d+)\.pt")


def path_of(folder: Path, epoch: int) -> Path:
    return folder / f"student_epoch{epoch}.pt"


def save(folder: Path, epoch: int, content: dict[str, Any]) -> Path:
    """Write through a temporary file that is synced before it gets the checkpoint's name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, epoch)
    temporary = path.with_suffix(".pt.part")
    with temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return path


def numbered(folder: Path) -> list[Path]:
    """The folder's checkpoints, the newest epoch first."""
    found = {path: _NAME.fullmatch(path.name) for path in folder.glob("student_epoch*.pt")}
    return sorted((path for path, match in found.items() if match), key=_epoch, reverse=True)


def newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that a run can go on from; a torn or foreign file is skipped with a warning."""
    for path in numbered(folder):
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a torn zip raises anything from EOFError to UnpicklingError
            log.warning("%s cannot be read (%s); trying the one before it.", path, type(error).__name__)
            continue
        if isinstance(content, dict) and "optimizer" in content:
            return content
        log.warning("%s holds weights only, nothing to resume from; trying the one before it.", path)
    return None


def content(
    epoch: int,
    config: Config,
    student: BlipForConditionalGeneration,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    tokenizer: PreTrainedTokenizerFast,
) -> dict[str, Any]:
    """All that a run needs to go on, and that a worker needs to caption, in tensors and plain values."""
    return {
        "epoch": epoch,
        "model": student.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "random": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
        "config": config.as_dict(),
        "model_config": student.config.to_dict(),
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
    }


def tokenizer_of(saved: dict[str, Any]) -> PreTrainedTokenizerFast:
    """The tokenizer of the run that wrote the checkpoint."""
    return wrap(Tokenizer.from_str(saved["tokenizer"]))


def restore(
    saved: dict[str, Any],
    student: BlipForConditionalGeneration,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Put a run back to where the checkpoint was written. Everything else follows from seed and epoch.

    Raises `StudentError` when the checkpoint is of another student.
    """
    try:
        student.load_state_dict(saved["model"])
    except RuntimeError as error:
        raise StudentError(
            "The run in this checkpoint folder is of another student. Give this one another --checkpoints, or start "
            "over with --resume never."
        ) from error
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    torch.set_rng_state(saved["random"]["cpu"])
    torch.cuda.set_rng_state_all(saved["random"]["cuda"][: torch.cuda.device_count()])


def _epoch(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])
