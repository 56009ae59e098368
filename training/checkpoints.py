"""Checkpoints: a self-contained `student_epoch{n}.pt` after each epoch, and `unfinished.pt` within an epoch.

Writes are atomic. A run resumes from the checkpoint with the most training.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from captioning.errors import StudentError
from captioning.student.finite import not_finite
from captioning.student.tokens import to_transformers
from common.files import atomic_write
from training.config import Config
from training.data.fingerprint import Fingerprint
from training.loss_meter import LossMeter
from training.state import State

log = logging.getLogger("training")

_NAME = re.compile(r"student_epoch(\d+)\.pt")
UNFINISHED = "unfinished.pt"


def path_of(folder: Path, epoch: int) -> Path:
    return folder / f"student_epoch{epoch}.pt"


def save(path: Path, content: dict[str, Any]) -> Path:
    with atomic_write(path) as file:
        torch.save(content, file)
    return path


def save_epoch(folder: Path, content: dict[str, Any]) -> None:
    """Write the checkpoint of a complete epoch and delete that of the incomplete epoch."""
    path = save(path_of(folder, content["epoch"]), content)
    (folder / UNFINISHED).unlink(missing_ok=True)
    log.info("Saved %s.", path)


def save_unfinished(folder: Path, content: dict[str, Any]) -> None:
    """Write the checkpoint of an incomplete epoch, replacing the previous one."""
    path = save(folder / UNFINISHED, content)
    log.info("Saved %s after %d images of epoch %d.", path, content["pictures"], content["epoch"])


def numbered(folder: Path) -> list[Path]:
    """Checkpoints of complete epochs in the folder, newest first."""
    paths = (path for path in folder.glob("student_epoch*.pt") if _NAME.fullmatch(path.name))
    return sorted(paths, key=_epoch, reverse=True)


def newest(folder: Path) -> dict[str, Any] | None:
    """The content of the checkpoint with the most training that a run can resume from; None without one.

    Unreadable and foreign files, weights that are not finite and epochs without a step are skipped with a warning.
    """
    finished = next((content for path in numbered(folder) if (content := _read(path))), None)
    unfinished = _read(folder / UNFINISHED) if (folder / UNFINISHED).exists() else None
    if unfinished and (not finished or unfinished["epoch"] > finished["epoch"]):
        return unfinished
    return finished


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a truncated zip raises anything from EOFError to UnpicklingError
        log.warning("%s cannot be read (%s); trying the previous checkpoint.", path, type(error).__name__)
        return None
    if not isinstance(content, dict) or "optimizer" not in content:
        log.warning("%s holds weights only, so training cannot resume from it; trying the previous checkpoint.", path)
    elif content.get("finished") and content.get("steps") == 0:
        log.warning("%s was saved after an epoch without a step; trying the previous checkpoint.", path)
    elif not_finite(content["model"]) or not_finite(content.get("trained") or {}):
        log.warning("%s holds weights that are not finite (NaN or infinite); trying the previous checkpoint.", path)
    else:
        return content
    return None


def content(
    state: State, config: Config, tokenizer: PreTrainedTokenizerFast, data: Fingerprint, *, finished: bool = False
) -> dict[str, Any]:
    """Checkpoint content: everything that resuming and captioning need, as tensors and plain values."""
    return {
        "epoch": state.epoch,
        "finished": finished,
        "pictures": state.images_seen,
        "steps": state.steps,
        "sums": state.loss_meter.sums,
        "model": state.best.state_dict(),
        "trained": state.student.state_dict() if state.average else None,
        "optimizer": state.optimizer.state_dict(),
        "config": config.as_dict(),
        "data": data.as_dict(),
        "model_config": state.student.config.to_dict(),
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
    }


def tokenizer_of(saved: dict[str, Any]) -> PreTrainedTokenizerFast:
    """The tokenizer stored in a checkpoint."""
    return to_transformers(Tokenizer.from_str(saved["tokenizer"]))


def restore(saved: dict[str, Any], state: State) -> None:
    """Load a checkpoint into `state`.

    Raises `StudentError` when the checkpoint has another student's shape, or an older format.
    """
    if "steps" not in saved:
        raise StudentError(
            "The checkpoint was written by an earlier version, so training cannot resume from it. Start from its "
            "weights with --student FILE.pt and another --checkpoints."
        )
    try:
        state.student.load_state_dict(saved["trained"] or saved["model"])
    except RuntimeError as error:
        raise StudentError(
            "The checkpoint folder belongs to a run of another student. Use another --checkpoints, or start over with "
            "--resume never."
        ) from error
    if state.average:
        state.average.model.load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.epoch, state.images_seen, state.steps = saved["epoch"], saved["pictures"], saved["steps"]
    state.loss_meter = LossMeter(saved["sums"])


def _epoch(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])
