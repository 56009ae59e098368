"""The confidence in a caption: the chance, by its score, that it is right.

`training.evaluate --calibration` fits the curve to validation images and writes it beside the model's weights. What
counts as right is in `training.calibration`.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat, ValidationError

from captioning.errors import StudentError
from common.translation import _

#: File name in a model's folder. Beside a `.pt` it is the suffix that replaces `.pt`.
CALIBRATION = "calibration.json"

log = logging.getLogger(__name__)


class Calibration(BaseModel):
    """A logistic curve from score to confidence, for the model of that version (`Student.version`).

    `slope` is positive, so that a higher score never gives a lower confidence. The score of a caption is divided by
    its length to the power of `length_penalty`, so the curve holds for captions of that penalty only. The file also
    has the figures of the fit, which nothing reads.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, strict=True)

    model: str
    length_penalty: float
    slope: PositiveFloat
    intercept: float

    def confidence(self, score: float) -> float:
        """The chance, 0 to 1, that a caption with this score is right. `score` must be finite."""
        exponent = self.slope * score + self.intercept
        # In two cases, because the exponential of a large positive number overflows.
        return 1 / (1 + math.exp(-exponent)) if exponent >= 0 else math.exp(exponent) / (1 + math.exp(exponent))


def calibration_path(model: Path) -> Path:
    """Where the calibration of a model's folder or `.pt` file is."""
    return model / CALIBRATION if model.is_dir() else model.with_suffix(f".{CALIBRATION}")


def load_calibration(model: Path, version: str) -> Calibration | None:
    """The calibration beside a model's folder or `.pt` file; None if there is none, or only that of other weights.

    Raises `StudentError` if the file cannot be read as a calibration.
    """
    path = calibration_path(model)
    try:
        calibration = Calibration.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise StudentError(
            _(
                "{path} is not a calibration: {reason}. Delete it, and make it again with training.evaluate "
                "--calibration; without it, captions have no confidence.",
                path=path,
                reason=reason,
            )
        ) from error
    if calibration.model != version:
        log.warning(
            "%s is of other weights, so captions have no confidence. Make it again with training.evaluate "
            "--calibration.",
            path,
        )
        return None
    return calibration
