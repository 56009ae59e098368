"""coco-caption's Java programs from the package `pycocoevalcap` (extra `coco`): tokenizer, METEOR 1.5, SPICE.

Each program runs once over all captions, with a fixed locale and encoding.
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
#: Files that SPICE needs and the package does not contain.
SPICE_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")

log = logging.getLogger(__name__)

Words = Sequence[str]


@cache
def programs() -> Path | None:
    """Folder of the package; None, with one warning, if the package or Java is not installed."""
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        log.warning("METEOR 1.5 and SPICE are left out: pycocoevalcap is not installed. pip install -e '.[coco]'.")
        return None
    if shutil.which("java") is None:
        log.warning(
            "METEOR 1.5 and SPICE are left out: Java is not installed. Debian: apt install default-jre-headless."
        )
        return None
    return Path(spec.submodule_search_locations[0])


def measures(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[Measure]:
    """`meteor` and `spice`, without those whose program is missing or fails."""
    folder = programs()
    if folder is None or not hypotheses:
        return []
    metrics = [meteor, spice]
    if not all((folder / "spice" / "lib" / name).is_file() for name in SPICE_MODELS):
        _warn_once(f"SPICE is left out: {' and '.join(SPICE_MODELS)} are not in {folder / 'spice' / 'lib'}.")
        metrics.remove(spice)
    results = []
    for program in metrics:
        try:
            results.append(program(folder, hypotheses, references))
        except (OSError, subprocess.CalledProcessError) as error:
            _warn_once(f"{program.__name__} is left out: its Java program failed ({error}).")
    return results


def tokenize(folder: Path, captions: Sequence[str]) -> list[list[str]]:
    """Words of the Penn Treebank tokenizer in Java, in lower case, without punctuation."""
    lines = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    command = ["-cp", "stanford-corenlp-3.4.1.jar", "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines"]
    output = _java([*command, "-lowerCase", "-encoding", "UTF-8"], folder / "tokenizer", lines)
    return [[word for word in line.split() if word not in PUNCTUATION] for line in output.split("\n")[: len(captions)]]


def meteor(folder: Path, hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> Measure:
    """METEOR 1.5. The program counts the matches of each caption with its best reference.

    The score of any set of captions is computed from the sums of these counts, as in the program.
    """
    lines = "".join(
        "SCORE ||| " + " ||| ".join(" ".join(words).replace("|||", "") for words in (*group, hypothesis)) + "\n"
        for hypothesis, group in zip(hypotheses, references, strict=True)
    )
    command = ["-Xmx2G", "-jar", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm"]
    output = _java(command, folder / "meteor", lines)
    counts = np.array([line.split() for line in output.splitlines()], dtype=np.float64)
    # METEOR applies no fragmentation penalty to a caption that equals its reference.
    equal = (counts[:, 20] == 1) & (counts[:, 21] == counts[:, 0]) & (counts[:, 22] == counts[:, 1])
    counts[equal, 20] = 0.0
    return Measure(("meteor",), counts, _meteor_of_sums)


def spice(folder: Path, hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> Measure:
    """SPICE: mean F-score of the captions' scene graphs."""
    entries = [
        {"image_id": number, "test": " ".join(hypothesis), "refs": [" ".join(words) for words in group]}
        for number, (hypothesis, group) in enumerate(zip(hypotheses, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as scratch:
        request, response = Path(scratch, "request.json"), Path(scratch, "response.json")
        request.write_text(strict_json.dumps(entries), encoding="utf-8")
        command = ["-Xmx8G", "-jar", "spice-1.0.jar", str(request), "-out", str(response), "-subset", "-silent"]
        _java(command, folder / "spice", "")
        results = json.loads(response.read_text("utf-8"))
        scores = {result["image_id"]: result["scores"]["All"]["f"] for result in results}
    return mean("spice", [scores[number] for number in range(len(entries))])


def _java(arguments: Sequence[str], folder: Path, lines: str) -> str:
    """Run the program with `lines` as its standard input and return its standard output."""
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
    """METEOR [rows, 1] from summed counts [rows, 23].

    The counts are: lengths of caption and reference; function words of both; for each matcher the matched content and
    function words of both; chunks; matched words of both.
    """
    lengths, function_words = sums[:, 0:2], sums[:, 2:4]
    matched = sums[:, 4:20].reshape(
        -1, len(WEIGHTS), 2, 2
    )  # [rows, matcher, content or function, caption or reference]
    weighted = (WEIGHTS @ matched[:, :, 0]) * DELTA + (WEIGHTS @ matched[:, :, 1]) * (1 - DELTA)
    totals = (lengths - function_words) * DELTA + function_words * (1 - DELTA)
    precision, recall = (weighted / np.maximum(totals, np.finfo(float).tiny)).T
    mixed = ALPHA * precision + (1 - ALPHA) * recall
    f = np.divide(precision * recall, mixed, out=np.zeros_like(mixed), where=mixed > 0)
    fragments = sums[:, 20] / np.maximum(sums[:, 21:23].mean(1), 1.0)
    scores: Array = ((1 - GAMMA * fragments**BETA) * f)[:, None]
    return scores


@cache
def _warn_once(sentence: str) -> None:
    log.warning("%s", sentence)
