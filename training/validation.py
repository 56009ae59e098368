"""What is said after an epoch: the metrics of the validation pictures, sample captions, a line in metrics.jsonl."""

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

#: Validation captions printed after each epoch.
SAMPLES = 10
METRICS = "metrics.jsonl"

log = logging.getLogger("training")


def report(
    config: Config,
    ranks: Ranks,
    state: State,
    tokenizer: PreTrainedTokenizerFast,
    pictures: list[CaptionedImage],
    stop: Stop,
    *,
    seconds: float | None = None,
) -> bool:
    """Score what the epoch has made on the pictures, each captioned by one rank, beside the means of its losses.

    False, and nothing is written, when a rank was asked to end meanwhile. Raises `DataError` when none can be read.
    """
    chosen = limited(pictures, config.eval_limit, config.seed)
    mine = caption_images(
        state.best.eval(),
        tokenizer,
        chosen[ranks.rank :: ranks.world],
        beams=config.beams,
        max_length=config.max_length,
        batch_size=config.eval_batch_size,
        stopped=lambda: stop.asked,
    )
    shares = ranks.gather((mine, stop.asked))
    if any(asked for _, asked in shares):
        return False
    found = {number: caption for share, _ in shares for number, caption in share.items()}
    if not found:
        raise DataError(f"None of the {len(chosen)} validation pictures can be read.")
    if not ranks.first:
        return True
    captions = {picture.id: found[picture.id] for picture in chosen if picture.id in found}  # the readable ones
    for number, caption in enumerate(list(captions.values())[:SAMPLES], start=1):
        log.info("%d: %s", number, caption)
    data = config.val_sources or (f"{1 - config.train_fraction:.0%} of", *config.train_sources)
    entry: dict[str, float | str | None] = {"epoch": state.epoch, **state.loss_meter.means(config.image_mse)}
    entry |= {"seconds": seconds, **score(captions, {picture.id: picture.captions for picture in chosen})}
    entry["measured"] = conditions(len(captions), data, config.beams, config.max_length)
    with (config.checkpoints / METRICS).open("a", encoding="utf-8") as file:
        file.write(strict_json.dumps(entry) + "\n")
    numbers = (f"{name} {value:.4g}" for name, value in entry.items() if isinstance(value, float))
    log.info("Epoch %d: %s.", state.epoch, ", ".join(numbers))
    return True


def reported(folder: Path, epoch: int) -> bool:
    """Whether the epoch has its line."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return any(line.startswith(f'{{"epoch": {epoch},') and line.endswith("}") for line in lines)
