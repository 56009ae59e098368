"""Checkpoints: a self-contained `student_epoch{n}.pt` after each epoch, and `unfinished.pt` in the middle of one.

Both are written whole or not at all. A run goes on from the one that is furthest.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from captioning.student.errors import StudentError
from captioning.student.finite import not_finite
from captioning.student.tokens import wrap
from common.files import whole
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
    with whole(path) as file:
        torch.save(content, file)
    return path


def save_epoch(folder: Path, content: dict[str, Any]) -> None:
    """Write the checkpoint of an epoch that is done, which makes that of its middle useless."""
    path = save(path_of(folder, content["epoch"]), content)
    (folder / UNFINISHED).unlink(missing_ok=True)
    log.info("Saved %s.", path)


def save_unfinished(folder: Path, content: dict[str, Any]) -> None:
    """Write the checkpoint of an epoch that is not done, over the one before it."""
    path = save(folder / UNFINISHED, content)
    log.info("Saved %s after %d pictures of epoch %d.", path, content["pictures"], content["epoch"])


def numbered(folder: Path) -> list[Path]:
    """The folder's checkpoints, the newest epoch first."""
    found = {path: _NAME.fullmatch(path.name) for path in folder.glob("student_epoch*.pt")}
    return sorted((path for path, match in found.items() if match), key=_epoch, reverse=True)


def newest(folder: Path) -> dict[str, Any] | None:
    """The furthest checkpoint that a run can go on from.

    A torn or foreign file is skipped with a warning, as are weights that are not finite and an epoch without a step.
    """
    finished = next((content for path in numbered(folder) if (content := _read(path))), None)
    unfinished = _read(folder / UNFINISHED) if (folder / UNFINISHED).exists() else None
    if unfinished and (not finished or unfinished["epoch"] > finished["epoch"]):
        return unfinished
    return finished


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn zip raises anything from EOFError to UnpicklingError
        log.warning("%s cannot be read (%s); trying the one before it.", path, type(error).__name__)
        return None
    if not isinstance(content, dict) or "optimizer" not in content:
        log.warning("%s holds weights only, nothing to resume from; trying the one before it.", path)
    elif content.get("finished") and content.get("steps") == 0:
        log.warning("%s was saved after an epoch without a step; trying the one before it.", path)
    elif not_finite(content["model"]) or not_finite(content.get("trained") or {}):
        log.warning("%s holds weights that are not finite (NaN or infinite); trying the one before it.", path)
    else:
        return content
    return None


def content(
    state: State, config: Config, tokenizer: PreTrainedTokenizerFast, data: Fingerprint, *, finished: bool = False
) -> dict[str, Any]:
    """All that a run needs to go on, and that a worker needs to caption, in tensors and plain values."""
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
    """The tokenizer of the run that wrote the checkpoint."""
    return wrap(Tokenizer.from_str(saved["tokenizer"]))


def restore(saved: dict[str, Any], state: State) -> None:
    """Put a run back to where the checkpoint was written.

    Raises `StudentError` when the checkpoint is of another student, or of a version that kept less.
    """
    if "steps" not in saved:
        raise StudentError(
            "The run in this checkpoint folder was begun by an earlier version. Start from its weights by --student "
            "FILE.pt, with another --checkpoints."
        )
    try:
        state.student.load_state_dict(saved["trained"] or saved["model"])
    except RuntimeError as error:
        raise StudentError(
            "The run in this checkpoint folder is of another student. Give this one another --checkpoints, or start "
            "over with --resume never."
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
