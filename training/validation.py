"""Validation after an epoch: metrics on the validation images, sample captions, a line in metrics.jsonl."""

from __future__ import annotations

import logging
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from common import strict_json
from training.captioning import caption_images
from training.config import Config
from training.data.images import CaptionedImage, DataError, limited
from training.distributed import Ranks
from training.metrics import conditions, score
from training.preemption import Stop
from training.state import State

#: Number of validation captions logged after each epoch.
SAMPLES = 10
METRICS = "metrics.jsonl"

log = logging.getLogger("training")


def report(
    config: Config,
    ranks: Ranks,
    state: State,
    tokenizer: PreTrainedTokenizerFast,
    images: list[CaptionedImage],
    stop: Stop,
    *,
    seconds: float | None = None,
) -> bool:
    """Score the model on the validation images, divided among the ranks; log and write metrics and mean losses.

    Return False, without writing, when a rank was asked to stop meanwhile. Raises `DataError` when no image can be
    read. `seconds` is the duration of the epoch, None if unknown.
    """
    selected = limited(images, config.eval_limit, config.seed)
    own = caption_images(
        state.best.eval(),
        tokenizer,
        selected[ranks.rank :: ranks.world],
        beams=config.beams,
        max_length=config.max_length,
        batch_size=config.eval_batch_size,
        stopped=lambda: stop.asked,
    )
    gathered = ranks.gather((own, stop.asked))
    if any(asked for _, asked in gathered):
        return False
    captioned = {image_id: caption for part, _ in gathered for image_id, caption in part.items()}
    if not captioned:
        raise DataError(f"None of the {len(selected)} validation images can be read.")
    if not ranks.first:
        return True
    captions = {image.id: captioned[image.id] for image in selected if image.id in captioned}  # readable images only
    for number, caption in enumerate(list(captions.values())[:SAMPLES], start=1):
        log.info("%d: %s", number, caption)
    data = config.val_sources or (f"{1 - config.train_fraction:.0%} of", *config.train_sources)
    entry: dict[str, float | str | None] = {"epoch": state.epoch, **state.loss_meter.means(config.image_mse)}
    entry |= {"seconds": seconds, **score(captions, {image.id: image.captions for image in selected})}
    entry["measured"] = conditions(len(captions), data, config.beams, config.max_length)
    with (config.checkpoints / METRICS).open("a", encoding="utf-8") as file:
        file.write(strict_json.dumps(entry) + "\n")
    numbers = (f"{name} {value:.4g}" for name, value in entry.items() if isinstance(value, float))
    log.info("Epoch %d: %s.", state.epoch, ", ".join(numbers))
    return True


def reported(folder: Path, epoch: int) -> bool:
    """Whether metrics.jsonl has a line for the epoch."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return any(line.startswith(f'{{"epoch": {epoch},') and line.endswith("}") for line in lines)
