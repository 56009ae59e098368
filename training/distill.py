"""Distils a student from a BLIP teacher, or trains one by cross-entropy alone.

    python -m training.distill --data coco:captions_train2017.json:train2017
    python -m training.distill --teacher none --alpha 1 --student demo --data coco:J:D
    torchrun --nproc-per-node 8 -m training.distill --recipe beyond --batch-size 256 --data coco:J:D
    python -m training.distill --smoke

Read `run` top to bottom: configuration, data, models, loop. After each epoch: a checkpoint, the metrics on the
validation pictures, and sample captions. A run that is started again goes on after its last checkpoint.
"""

from __future__ import annotations

import logging
import time

import torch

from captioning.student import preprocessing_of
from captioning.student.errors import StudentError
from common import strict_json
from training import checkpoints, smoke
from training.config import Config, parse
from training.data import formats, pseudo
from training.data.dataset import ImageCaptionDataset
from training.data.fingerprint import Fingerprint
from training.data.images import CaptionedImage, DataError, limited, split, warn_of_overlap
from training.distributed import Ranks, joined
from training.ema import EMA
from training.forward import Forward
from training.loss_meter import LossMeter
from training.models import load_teacher, make_student, make_tokenizer
from training.preemption import Stop, on_signals
from training.self_critical import SelfCritical
from training.state import State
from training.stem import parameter_groups, patches_of, remembered
from training.teacher import make_teacher
from training.trainer import Diverged, Trainer
from training.validation import report, reported

log = logging.getLogger("training")


def main(arguments: list[str] | None = None) -> bool:
    """Run what the command line says; False when a signal ended it before its last epoch.

    Exits with a sentence when a file or a model cannot be had.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = parse(arguments)
    if config.smoke:
        return smoke.check(main)
    failure = None
    with on_signals() as stop, joined() as ranks:
        try:
            run(config, ranks, stop)
        except (StudentError, DataError, Diverged, OSError) as error:
            # Raised further only when the error, and with it what `run` had, is gone: a module that DDP has wrapped
            # must not outlive the process group, or the process may never end.
            failure = str(error)
    if failure is not None:
        raise SystemExit(failure)
    return not stop.asked


def run(config: Config, ranks: Ranks, stop: Stop) -> None:
    """Train for the epochs of `config`, from the furthest checkpoint on."""
    if not ranks.first:
        log.setLevel(logging.WARNING)
    device = ranks.device(config.device)
    log.info("%s", strict_json.dumps(config.as_dict() | {"device": str(device), "processes": ranks.world}, indent=2))

    train_pictures, val_pictures = pictures_of(config)
    pseudo_captions = pseudo.for_training(config.pseudo_captions, train_pictures, config.pseudo_min_cider)
    data = Fingerprint.of(train_pictures, val_pictures, pseudo_captions)
    saved = checkpoints.newest(config.checkpoints) if config.resume == "auto" else None
    if saved:
        data = data.after(saved, config, val_pictures)
    loaded = load_teacher(config)
    if saved:
        tokenizer = checkpoints.tokenizer_of(saved)
    elif loaded:
        tokenizer = loaded.tokenizer
    else:
        tokenizer = make_tokenizer(config, lambda: (text for picture in train_pictures for text in picture.captions))
    student = make_student(config, tokenizer, loaded.model if loaded else None).to(device)
    dataset = ImageCaptionDataset(
        train_pictures,
        tokenizer,
        preprocessing_of(student.config),
        captions_per_image=config.captions_per_image,
        random_captions=config.random_captions,
        augment=config.augment,
        views=config.views,
        pseudo=pseudo_captions,
        pseudo_fraction=config.pseudo_fraction,
        keep_in_memory=config.num_workers == 0,
        seed=config.seed,
    )
    teacher = None
    remembers = bool(config.views) or not config.augment
    if loaded and (config.alpha < 1 or config.image_mse):  # else it gave its layers or its words, and is not asked
        loaded.model.to(device)
        if remembers and patches_of(loaded.model) and config.teacher_logits == "online":
            dataset.use_teacher_features(remembered(loaded.model, dataset, config, ranks, stop))
        teacher = make_teacher(loaded, config, train_pictures, dataset.plain)
    elif remembers and patches_of(student):
        dataset.use_features(remembered(student, dataset, config, ranks, stop))

    state = State(
        student=student,
        optimizer=torch.optim.AdamW(
            parameter_groups(student), lr=config.lr, weight_decay=config.weight_decay, fused=True
        ),
        average=EMA(student, config.ema) if config.ema else None,
        epoch=1,
        images_seen=0,
        steps=0,
        loss_meter=LossMeter(),
    )
    if saved:
        checkpoints.restore(saved, state)
        log.info("Resuming after %d pictures of epoch %d in %s.", state.images_seen, state.epoch, config.checkpoints)
    if len(set(ranks.gather((state.epoch, state.images_seen)))) > 1:
        raise DataError("The processes found different checkpoints: --checkpoints must be a folder that all share.")
    forward = ranks.wrap(Forward(student, tokenizer.pad_token_id))
    critic = None
    if config.self_critical:
        critic = SelfCritical(train_pictures, tokenizer, config.self_critical, config.max_length)
    trainer = Trainer(config, ranks, dataset, forward, teacher, critic, tokenizer.pad_token_id, stop)
    log.info(
        "%d training and %d validation pictures, %d steps an epoch, student of %.1f M parameters.",
        len(train_pictures),
        len(val_pictures),
        trainer.steps_per_epoch,
        sum(parameter.numel() for parameter in student.parameters()) / 1e6,
    )

    if state.epoch > config.epochs or (saved and saved["finished"] and state.epoch == config.epochs):
        log.info("All %d epochs are done already; give a larger --epochs to go on.", config.epochs)
    if saved and saved["finished"]:
        if not any(ranks.gather(reported(config.checkpoints, state.epoch))):  # it was stopped while it was scored
            report(config, ranks, state, tokenizer, val_pictures, stop)
        state.next_epoch()

    stop.training = True
    while state.epoch <= config.epochs:
        started = time.monotonic()
        for _ in trainer.epoch(state):
            if ranks.first and state.steps:
                checkpoints.save_unfinished(config.checkpoints, checkpoints.content(state, config, tokenizer, data))
        if state.images_seen == len(dataset) and ranks.first:
            content = checkpoints.content(state, config, tokenizer, data, finished=True)
            checkpoints.save_epoch(config.checkpoints, content)
        if any(ranks.gather(stop.asked)):
            kept = "saved" if state.steps else "there is nothing to save"
            log.info("Asked to end after %d pictures of epoch %d; %s.", state.images_seen, state.epoch, kept)
            return
        seconds = round(time.monotonic() - started, 1)
        if not report(config, ranks, state, tokenizer, val_pictures, stop, seconds=seconds):
            log.info("Asked to end while epoch %d was scored; it is saved, and will be scored first.", state.epoch)
            return
        state.next_epoch()


def pictures_of(config: Config) -> tuple[list[CaptionedImage], list[CaptionedImage]]:
    """Training and validation pictures: a seeded split, or the files named for each.

    Raises `DataError` when there is nothing to train on, or nothing to validate on.
    """
    found = formats.read(config.train_sources)
    pictures = limited(found, config.limit, config.seed)
    if config.val_sources:
        train, val = pictures, formats.read(config.val_sources)
        warn_of_overlap(train, val)
        return train, val
    train, val = split(pictures, config.train_fraction, config.seed)
    if not train or not val:
        raise DataError(
            f"There are {len(found)} pictures with captions in {' '.join(map(str, config.train_sources))}, of which "
            f"--limit {config.limit} and --train-fraction {config.train_fraction:g} leave {len(train)} to train on and "
            f"{len(val)} to validate on. There must be 1 or more of each."
        )
    return train, val


if __name__ == "__main__":
    main()
