"""A fingerprint of a run's data, kept in its checkpoints, and what a resumed run may change of data and settings.

What would let a run be validated on pictures that it was trained on is refused, and so is what would change the order
of an epoch that is half done. All else that has changed is said, and the run goes on.
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
from training.data.images import CaptionedImage, DataError, ImageId, marks_of

#: Settings from which the split follows, together with the data.
OF_SPLIT = (
    *("data", "captions", "images", "val_data", "val_captions", "val_images"),
    *("limit", "train_fraction", "seed"),
)
#: Settings that have no influence on the weights, so that nobody needs to be told of a change.
WITHOUT_INFLUENCE = ("checkpoints", "feature_cache", "resume", "save_every_steps", "num_workers", "device")
#: What helps against every refusal.
ADVICE = "Give the data and settings of before, or another --checkpoints; or start over with --resume never."

log = logging.getLogger("training")


@dataclass(frozen=True)
class Fingerprint:
    """The data of a run. The three digests are SHA-256 in hexadecimal.

    `order` is of the training pictures' ids in their order, `captions` of their captions with the teacher's,
    `validation` of the validation pictures' ids in their order. `count` is the number of training pictures.
    `trained` are the marks (`pictures.marks_of`) of every picture that the run was ever trained on, as sorted int64.
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
        """The fingerprint of these training and validation pictures, with the teacher's captions by picture id."""
        return cls(
            order=_digest(picture.id for picture in train),
            captions=_digest((picture.captions, pseudo_captions.get(picture.id)) for picture in train),
            validation=_digest(picture.id for picture in val),
            count=len(train),
            trained=np.unique(np.fromiter((mark for picture in train for mark in _numbers(picture)), np.int64)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values and a tensor, as they are saved in every checkpoint."""
        return {**vars(self), "trained": torch.from_numpy(self.trained)}

    def after(self, saved: Mapping[str, Any], config: Config, val: Sequence[CaptionedImage]) -> Fingerprint:
        """This fingerprint, with the pictures added that the run of the checkpoint `saved` was trained on.

        Says what has changed since. Raises `DataError` for a change that would break the split, or the order of an
        epoch that is half done.
        """
        settings = _changed(saved["config"], config)
        before = saved.get("data")
        if before is None:
            self._check_without(saved, settings)
            trained = self.trained
        else:
            trained = before["trained"].numpy()
            self._check(saved, before, trained, settings, val)
        _say(settings)
        return replace(self, trained=np.union1d(trained, self.trained))

    def _check(
        self,
        saved: Mapping[str, Any],
        before: Mapping[str, Any],
        trained: NDArray[np.int64],
        settings: Mapping[str, tuple[Any, Any]],
        val: Sequence[CaptionedImage],
    ) -> None:
        # Pictures that are in both sets now were in both from the start, which is warned of elsewhere.
        no_more = set(np.setdiff1d(trained, self.trained).tolist())
        leaked = sum(not no_more.isdisjoint(_numbers(picture)) for picture in val)
        if leaked:
            raise DataError(
                f"{leaked} of the {len(val)} validation pictures have been trained on in this run before, so their "
                f"scores would say nothing{_because(settings)}. {ADVICE}"
            )
        other = before["order"] != self.order
        if _half_done(saved) and (other or "seed" in settings):
            raise DataError(
                f"The checkpoint was written after {saved['pictures']} pictures of epoch {saved['epoch']}, which has "
                f"other pictures now, or has them in another order: {before['count']} training pictures then, "
                f"{self.count} now{_because(settings)}. {ADVICE}"
            )
        if other:
            log.info(
                "The training pictures have changed: there were %d, now there are %d.", before["count"], self.count
            )
        elif before["captions"] != self.captions:
            log.info("Captions of the training pictures have changed.")
        if before["validation"] != self.validation:
            log.info("The validation pictures have changed: scores cannot be compared with those of earlier epochs.")

    def _check_without(self, saved: Mapping[str, Any], settings: Mapping[str, tuple[Any, Any]]) -> None:
        """The check against a checkpoint without a fingerprint: all that is known are its settings."""
        if settings.keys() & set(OF_SPLIT) or (_half_done(saved) and saved["pictures"] > self.count):
            raise DataError(
                "The checkpoint is of an earlier version, which did not keep what it was trained on: pictures that it "
                f"was trained on might be validated on{_because(settings)}. {ADVICE}"
            )
        log.info(
            "The checkpoint is of an earlier version, which did not keep what it was trained on. Its settings of data "
            "and split are those of now, so the pictures are taken to be the same."
        )


def _half_done(saved: Mapping[str, Any]) -> bool:
    return not saved.get("finished") and bool(saved.get("pictures"))


def _digest(items: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for item in items:
        found.update(repr(item).encode() + b"\n")
    return found.hexdigest()


def _numbers(picture: CaptionedImage) -> Iterator[int]:
    """The marks of a picture as numbers of 64 bits."""
    for mark in marks_of(picture):
        yield int.from_bytes(hashlib.blake2b(repr(mark).encode(), digest_size=8).digest(), signed=True)


def _changed(before: Mapping[str, Any], config: Config) -> dict[str, tuple[Any, Any]]:
    """The settings that are others now, with their values of before and of now."""
    now = config.as_dict()
    return {name: (before[name], value) for name, value in now.items() if name in before and before[name] != value}


def _because(settings: Mapping[str, tuple[Any, Any]]) -> str:
    """The changed settings that the split follows from, as the end of a sentence."""
    told = _told({name: settings[name] for name in OF_SPLIT if name in settings})
    return f" (changed since: {told})" if told else ""


def _say(settings: Mapping[str, tuple[Any, Any]]) -> None:
    told = _told({name: values for name, values in settings.items() if name not in WITHOUT_INFLUENCE})
    if told:
        log.info("Going on with other settings than before: %s.", told)


def _told(settings: Mapping[str, tuple[Any, Any]]) -> str:
    return ", ".join(
        f"--{name.replace('_', '-')} {_words(before)} → {_words(now)}" for name, (before, now) in settings.items()
    )


def _words(value: Any) -> str:
    """A setting's value as it is written on a command line."""
    return (" ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)) or "none"
