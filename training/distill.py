"""Distils a student from a BLIP teacher, or trains one by cross-entropy alone.

    python -m training.distill --data coco:captions_train2017.json:train2017
    python -m training.distill --teacher none --alpha 1 --student demo --data coco:J:D

Read `run` top to bottom: configuration, data, models, loop. After each epoch: a checkpoint, the metrics on the
validation pictures, and sample captions. A run that is started again goes on after its last checkpoint.
"""

from __future__ import annotations

import json
import logging
import math
import time
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from common.student.errors import StudentError
from training import checkpoints, formats
from training.captioning import caption_pictures
from training.config import Config, parse
from training.data import Batch, Collate, ImageCaptionDataset, Sample
from training.losses import Loss, distillation_loss
from training.metrics import conditions, score
from training.models import load_teacher, logits, make_student, make_tokenizer
from training.pictures import DataError, Picture, limited, split, warn_of_overlap

#: Validation captions printed after each epoch.
SAMPLES = 10

log = logging.getLogger("training")


def main(arguments: list[str] | None = None) -> None:
    """Run what the command line says; exits with a sentence when a file or a model cannot be had."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = parse(arguments)
    try:
        run(config)
    except (StudentError, DataError) as error:
        raise SystemExit(f"{error}") from error


def run(config: Config) -> None:
    """Train for the epochs of `config`, from the newest checkpoint on."""
    device = torch.device(config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    log.info("%s", json.dumps(config.as_dict() | {"device": str(device)}, indent=2))

    train_pictures, val_pictures = pictures_of(config)
    teacher_and_tokenizer = load_teacher(config)
    teacher = teacher_and_tokenizer[0].to(device) if teacher_and_tokenizer else None
    saved = checkpoints.newest(config.checkpoints) if config.resume == "auto" else None
    if saved:
        tokenizer = checkpoints.tokenizer_of(saved)
    elif teacher_and_tokenizer:
        tokenizer = teacher_and_tokenizer[1]
    else:
        tokenizer = make_tokenizer(config, lambda: (text for picture in train_pictures for text in picture.captions))
    student = make_student(config, tokenizer).to(device)
    image_size = student.config.vision_config.image_size
    if teacher is not None:
        check_teacher(teacher, student)

    dataset = ImageCaptionDataset(
        train_pictures,
        tokenizer,
        image_size,
        captions_per_image=config.captions_per_image,
        random_captions=config.random_captions,
        augment=config.augment,
        keep_in_memory=config.num_workers == 0,
        seed=config.seed,
    )
    optimizer = torch.optim.AdamW(student.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    steps = math.ceil(len(dataset) / config.batch_size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate(step, config.warmup_steps, steps * config.epochs, config.schedule)
    )
    first_epoch = 1
    if saved:
        checkpoints.restore(saved, student, optimizer, scheduler)
        first_epoch = saved["epoch"] + 1
        log.info("Resuming after epoch %d of %s.", saved["epoch"], config.checkpoints)
    if first_epoch > config.epochs:
        log.info("All %d epochs are done already; give a larger --epochs to go on.", config.epochs)
    log.info(
        "%d training and %d validation pictures, %d steps an epoch, student of %.1f M parameters.",
        len(train_pictures),
        len(val_pictures),
        steps,
        sum(parameter.numel() for parameter in student.parameters()) / 1e6,
    )

    for epoch in range(first_epoch, config.epochs + 1):
        started = time.monotonic()
        losses = train_epoch(config, epoch, dataset, student, teacher, optimizer, scheduler, tokenizer.pad_token_id)
        seconds = time.monotonic() - started
        path = checkpoints.save(
            config.checkpoints,
            epoch,
            checkpoints.content(epoch, config, student, optimizer, scheduler, tokenizer),
        )
        entry: dict[str, float | str | None] = {"epoch": epoch, **losses, "seconds": round(seconds, 1)}
        entry |= evaluate(config, student, tokenizer, val_pictures)
        with (config.checkpoints / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        log.info("Epoch %d: %s. Saved %s.", epoch, readable(entry), path)


def pictures_of(config: Config) -> tuple[list[Picture], list[Picture]]:
    """Training and validation pictures: a seeded split, or the files named for each."""
    pictures = limited(formats.read(config.train_sources), config.limit, config.seed)
    if not config.val_sources:
        return split(pictures, config.train_fraction, config.seed)
    val_pictures = formats.read(config.val_sources)
    warn_of_overlap(pictures, val_pictures)
    return pictures, val_pictures


def check_teacher(teacher: BlipForConditionalGeneration, student: BlipForConditionalGeneration) -> None:
    """Raise `StudentError` unless both see the same pictures and speak the same tokens."""
    for tower, name in (("vision_config", "image_size"), ("text_config", "vocab_size")):
        of_teacher, of_student = (getattr(getattr(model.config, tower), name) for model in (teacher, student))
        if of_teacher != of_student:
            raise StudentError(
                f"The teacher's {name} is {of_teacher}, the student's {of_student}: its logits cannot be compared. "
                "Use --image-size and a --student with the teacher's vocabulary."
            )


def rate(step: int, warmup_steps: int, all_steps: int, schedule: str) -> float:
    """The learning rate at `step`, as a part of the highest: linear warm-up, then constant or half a cosine."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, all_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def batches(config: Config, epoch: int, dataset: ImageCaptionDataset, pad_id: int) -> tqdm[Batch]:
    """The epoch's batches in an order that depends on (seed, epoch) only."""
    dataset.set_epoch(epoch)
    loader: DataLoader[Sample] = DataLoader(
        dataset,
        batch_size=config.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(config.seed * 1_000_003 + epoch),
        num_workers=config.num_workers,
        collate_fn=Collate(pad_id),
    )
    return tqdm(loader, desc=f"epoch {epoch}/{config.epochs}", unit="batch", mininterval=5)


def autocast(config: Config, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 for the forward passes if asked for; the losses are computed in float32 either way."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


def train_epoch(
    config: Config,
    epoch: int,
    dataset: ImageCaptionDataset,
    student: BlipForConditionalGeneration,
    teacher: BlipForConditionalGeneration | None,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    pad_id: int,
) -> dict[str, float]:
    """One pass over the training pictures; the mean of each part of the loss."""
    student.train()
    sums = {"loss": 0.0, "cross_entropy": 0.0, "kl": 0.0}
    progress = batches(config, epoch, dataset, pad_id)
    started, pictures, steps = time.monotonic(), 0, 0
    for batch in progress:
        batch = batch.to(student.device)
        loss = forward(config, batch, student, teacher, pad_id)
        optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        if config.clip:
            torch.nn.utils.clip_grad_norm_(student.parameters(), config.clip)
        optimizer.step()
        scheduler.step()
        steps += 1
        pictures += len(batch.pixels)
        for name, part in (("loss", loss.total), ("cross_entropy", loss.cross_entropy), ("kl", loss.kl)):
            sums[name] += part.item()
        progress.set_postfix(
            ce=f"{sums['cross_entropy'] / steps:.3f}",
            kl=f"{sums['kl'] / steps:.3f}",
            pictures_per_second=f"{pictures / (time.monotonic() - started):.1f}",
            refresh=False,
        )
    return {name: round(total / steps, 5) for name, total in sums.items()}


def forward(
    config: Config,
    batch: Batch,
    student: BlipForConditionalGeneration,
    teacher: BlipForConditionalGeneration | None,
    pad_id: int,
) -> Loss:
    """The loss of one batch; teacher and student see the same pixels."""
    with autocast(config, student.device):
        student_logits = logits(student, batch)
        with torch.no_grad():
            teacher_logits = logits(teacher, batch) if teacher is not None else None
    return distillation_loss(
        student_logits,
        teacher_logits,
        batch.tokens[:, 1:],
        pad_id=pad_id,
        alpha=config.alpha,
        temperature=config.temperature,
        label_smoothing=config.label_smoothing,
    )


def evaluate(
    config: Config,
    student: BlipForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pictures: list[Picture],
) -> dict[str, float | str | None]:
    """The metrics on the validation pictures and how they were measured, with sample captions printed."""
    student.eval()
    chosen = limited(pictures, config.eval_limit, config.seed)
    captions = caption_pictures(
        student,
        tokenizer,
        chosen,
        beams=config.beams,
        max_length=config.max_length,
        batch_size=config.eval_batch_size,
    )
    for number, caption in enumerate(list(captions.values())[:SAMPLES], start=1):
        log.info("%d: %s", number, caption)
    data = config.val_sources or (f"{1 - config.train_fraction:.0%} of", *config.train_sources)
    measured = conditions(len(captions), data, config.beams, config.max_length)
    return {**score(captions, {picture.id: picture.captions for picture in chosen}), "measured": measured}


def readable(entry: dict[str, float | str | None]) -> str:
    """The numbers of an epoch on one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in entry.items() if isinstance(value, float))


if __name__ == "__main__":
    main()
