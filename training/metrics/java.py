"""coco-caption's own Java programs, from the `pycocoevalcap` package (extra `coco`): tokenizer, METEOR 1.5, SPICE.

Each is one run over all captions. They are told their locale and encoding, as both decide what Java reads and writes.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from common import strict_json
from training.metrics.measure import Array, Measure, mean
from training.metrics.tokens import PUNCTUATION

#: METEOR 1.5's parameters for English (Denkowski and Lavie 2014), and the weights of its matchers: exact, stem,
#: synonym, paraphrase.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.20, 0.60, 0.75
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
#: What the SPICE program needs and the package leaves out.
SPICE_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")

log = logging.getLogger(__name__)

Words = Sequence[str]


@cache
def programs() -> Path | None:
    """The package's folder; None, said once, where it or Java is not installed."""
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        log.warning("METEOR 1.5 and SPICE are left out: pycocoevalcap is not installed. pip install -e '.[coco]'.")
        return None
    if shutil.which("java") is None:
        log.warning("METEOR 1.5 and SPICE are left out: there is no Java. Debian: apt install default-jre-headless.")
        return None
    return Path(found.submodule_search_locations[0])


def measures(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[Measure]:
    """`meteor` and `spice`, as far as they can be had."""
    folder = programs()
    if folder is None or not hypotheses:
        return []
    wanted = [meteor, spice]
    if not all((folder / "spice" / "lib" / name).is_file() for name in SPICE_MODELS):
        _say_once(f"SPICE is left out: {' and '.join(SPICE_MODELS)} are not in {folder / 'spice' / 'lib'}.")
        wanted.remove(spice)
    found = []
    for program in wanted:
        try:
            found.append(program(folder, hypotheses, references))
        except (OSError, subprocess.CalledProcessError) as error:
            _say_once(f"{program.__name__} is left out: its Java program failed ({error}).")
    return found


def tokenize(folder: Path, captions: Sequence[str]) -> list[list[str]]:
    """Words as Java's Penn Treebank tokenizer cuts them, lower case, without punctuation."""
    lines = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    command = ["-cp", "stanford-corenlp-3.4.1.jar", "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines"]
    printed = _java([*command, "-lowerCase", "-encoding", "UTF-8"], folder / "tokenizer", lines)
    return [[word for word in line.split() if word not in PUNCTUATION] for line in printed.split("\n")[: len(captions)]]


def meteor(folder: Path, hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> Measure:
    """METEOR 1.5. The program counts matches for each caption, against the reference that suits it best; the score
    of any set of captions follows from the sums, as it does in the program.
    """
    lines = "".join(
        "SCORE ||| " + " ||| ".join(" ".join(words).replace("|||", "") for words in (*group, hypothesis)) + "\n"
        for hypothesis, group in zip(hypotheses, references, strict=True)
    )
    command = ["-Xmx2G", "-jar", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm"]
    printed = _java(command, folder / "meteor", lines)
    counts = np.array([line.split() for line in printed.splitlines()], dtype=np.float64)
    # A caption that equals its reference has no break in its order, so its one chunk does not count.
    same = (counts[:, 20] == 1) & (counts[:, 21] == counts[:, 0]) & (counts[:, 22] == counts[:, 1])
    counts[same, 20] = 0.0
    return Measure(("meteor",), counts, _meteor_of_sums)


def spice(folder: Path, hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> Measure:
    """SPICE: the F-score of each caption's scene graph, and their mean."""
    entries = [
        {"image_id": number, "test": " ".join(hypothesis), "refs": [" ".join(words) for words in group]}
        for number, (hypothesis, group) in enumerate(zip(hypotheses, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch, "asked.json"), Path(scratch, "answered.json")
        asked.write_text(strict_json.dumps(entries), encoding="utf-8")
        command = ["-Xmx8G", "-jar", "spice-1.0.jar", str(asked), "-out", str(answered), "-subset", "-silent"]
        _java(command, folder / "spice", "")
        found = {each["image_id"]: each["scores"]["All"]["f"] for each in json.loads(answered.read_text("utf-8"))}
    return mean("spice", [found[number] for number in range(len(entries))])


def _java(arguments: Sequence[str], folder: Path, lines: str) -> str:
    """What the program prints when it is given `lines`."""
    return subprocess.run(
        ["java", "-Dfile.encoding=UTF-8", *arguments],
        cwd=folder,
        input=lines,
        encoding="utf-8",
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    ).stdout


def _meteor_of_sums(sums: Array) -> Array:
    """METEOR [rows, 1] of summed counts [rows, 23]: lengths of caption and reference, their function words; for each
    matcher the content and the function words matched in both; chunks; words matched in both.
    """
    lengths, function_words = sums[:, 0:2], sums[:, 2:4]
    matched = sums[:, 4:20].reshape(
        -1, len(WEIGHTS), 2, 2
    )  # [rows, matcher, content or function, caption or reference]
    weighted = (WEIGHTS @ matched[:, :, 0]) * DELTA + (WEIGHTS @ matched[:, :, 1]) * (1 - DELTA)
    of = (lengths - function_words) * DELTA + function_words * (1 - DELTA)
    precision, recall = (weighted / np.maximum(of, np.finfo(float).tiny)).T
    mixed = ALPHA * precision + (1 - ALPHA) * recall
    f = np.divide(precision * recall, mixed, out=np.zeros_like(mixed), where=mixed > 0)
    fragments = sums[:, 20] / np.maximum(sums[:, 21:23].mean(1), 1.0)
    scores: Array = ((1 - GAMMA * fragments**BETA) * f)[:, None]
    return scores


@cache
def _say_once(sentence: str) -> None:
    log.warning("%s", sentence)
