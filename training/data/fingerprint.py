"""Fingerprint of a run's data, stored in its checkpoints, and the check of changes when a run resumes.

Two changes are refused: those that would validate on images that the run was trained on, and those that would change
the order of images in an incomplete epoch. Other changes are logged.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.config import Config
from training.data.images import CaptionedImage, DataError, ImageId, identity_keys

#: Settings that determine the split, together with the data.
SPLIT_SETTINGS = (
    *("data", "captions", "images", "val_data", "val_captions", "val_images"),
    *("limit", "train_fraction", "seed"),
)
#: Settings that do not influence the weights. Changes of these are not logged.
IRRELEVANT_SETTINGS = ("checkpoints", "feature_cache", "resume", "save_every_steps", "num_workers", "device")
#: End of every refusal.
ADVICE = "Use the previous data and settings or another --checkpoints, or start over with --resume never."

log = logging.getLogger("training")


@dataclass(frozen=True)
class Fingerprint:
    """The data of a run. The three digests are SHA-256 in hexadecimal.

    `order` is the digest of the training images' ids in order, `captions` of their captions and pseudo-captions,
    `validation` of the validation images' ids in order. `count` is the number of training images. `trained` are the
    hashed identity keys (`images.identity_keys`) of all images that the run was ever trained on, as sorted int64.
    """

    order: str
    captions: str
    validation: str
    count: int
    trained: NDArray[np.int64]

    @classmethod
    def of(
        cls, train: Sequence[CaptionedImage], val: Sequence[CaptionedImage], pseudo_captions: Mapping[ImageId, str]
    ) -> Fingerprint:
        """The fingerprint of training and validation images, and of pseudo-captions by image id."""
        return cls(
            order=_digest(image.id for image in train),
            captions=_digest((image.captions, pseudo_captions.get(image.id)) for image in train),
            validation=_digest(image.id for image in val),
            count=len(train),
            trained=np.unique(np.fromiter((key for image in train for key in _hashed_keys(image)), np.int64)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values and a tensor, for checkpoints."""
        return {**vars(self), "trained": torch.from_numpy(self.trained)}

    def after(self, saved: Mapping[str, Any], config: Config, val: Sequence[CaptionedImage]) -> Fingerprint:
        """This fingerprint, merged with the images that the run of the checkpoint `saved` was trained on.

        Logs changes since. Raises `DataError` for a change that would break the split, or the order of an incomplete
        epoch.
        """
        settings = _changed(saved["config"], config)
        before = saved.get("data")
        if before is None:
            self._check_settings(saved, settings)
            trained = self.trained
        else:
            trained = before["trained"].numpy()
            self._check(saved, before, trained, settings, val)
        _log_changes(settings)
        return replace(self, trained=np.union1d(trained, self.trained))

    def _check(
        self,
        saved: Mapping[str, Any],
        before: Mapping[str, Any],
        trained: NDArray[np.int64],
        settings: Mapping[str, tuple[Any, Any]],
        val: Sequence[CaptionedImage],
    ) -> None:
        # Images that are in both sets now were in both from the start, which is warned of elsewhere.
        removed = set(np.setdiff1d(trained, self.trained).tolist())
        leaked = sum(not removed.isdisjoint(_hashed_keys(image)) for image in val)
        if leaked:
            raise DataError(
                f"This run was already trained on {leaked} of the {len(val)} validation images, so their scores would "
                f"mean nothing{_because(settings)}. {ADVICE}"
            )
        reordered = before["order"] != self.order
        if _incomplete(saved) and (reordered or "seed" in settings):
            raise DataError(
                f"The checkpoint was written after {saved['pictures']} images of epoch {saved['epoch']}, but that "
                f"epoch's images or their order have changed: {before['count']} training images then, "
                f"{self.count} now{_because(settings)}. {ADVICE}"
            )
        if reordered:
            log.info("The training images have changed from %d to %d images.", before["count"], self.count)
        elif before["captions"] != self.captions:
            log.info("Captions of the training images have changed.")
        if before["validation"] != self.validation:
            log.info("The validation images have changed: scores cannot be compared with those of earlier epochs.")

    def _check_settings(self, saved: Mapping[str, Any], settings: Mapping[str, tuple[Any, Any]]) -> None:
        """The check against a checkpoint without a fingerprint, by its settings alone."""
        if settings.keys() & set(SPLIT_SETTINGS) or (_incomplete(saved) and saved["pictures"] > self.count):
            raise DataError(
                "The checkpoint is from an earlier version, which did not store its training data, so validation "
                f"images might be training images{_because(settings)}. {ADVICE}"
            )
        log.info(
            "The checkpoint is from an earlier version, which did not store its training data. Its data and split "
            "settings equal the current ones, so the images are assumed to be the same."
        )


def _incomplete(saved: Mapping[str, Any]) -> bool:
    return not saved.get("finished") and bool(saved.get("pictures"))


def _digest(items: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr(item).encode() + b"\n")
    return digest.hexdigest()


def _hashed_keys(image: CaptionedImage) -> Iterator[int]:
    """The identity keys of an image, hashed to 64 bits."""
    for key in identity_keys(image):
        yield int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), signed=True)


def _changed(before: Mapping[str, Any], config: Config) -> dict[str, tuple[Any, Any]]:
    """The changed settings, with their previous and current values."""
    now = config.as_dict()
    return {name: (before[name], value) for name, value in now.items() if name in before and before[name] != value}


def _because(settings: Mapping[str, tuple[Any, Any]]) -> str:
    """The changed settings that determine the split, as the end of a sentence."""
    changes = _describe({name: settings[name] for name in SPLIT_SETTINGS if name in settings})
    return f" (changed since: {changes})" if changes else ""


def _log_changes(settings: Mapping[str, tuple[Any, Any]]) -> None:
    changes = _describe({name: values for name, values in settings.items() if name not in IRRELEVANT_SETTINGS})
    if changes:
        log.info("Resuming with changed settings: %s.", changes)


def _describe(settings: Mapping[str, tuple[Any, Any]]) -> str:
    return ", ".join(
        f"--{name.replace('_', '-')} {_as_flag(before)} → {_as_flag(now)}" for name, (before, now) in settings.items()
    )


def _as_flag(value: Any) -> str:
    """A setting's value in command-line form."""
    return (" ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)) or "none"
