"""The metrics equal pycocoevalcap's on random captions, and its Java programs run as in pycocoevalcap."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.captions import Words, random_captions
from training.metrics import java
from training.metrics.bleu import bleu
from training.metrics.cider import cider_each
from training.metrics.rouge import rouge_l_each
from training.metrics.tokens import tokenize

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None, reason="pycocoevalcap is not installed: extra `coco`"
)
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed on this machine")

CAPTIONS = [
    "A man's dog, riding a skate-board (red)!",
    "Two men aren't   running;\nthey'll walk.",
    "Le test est en français.",
    "A sign reads 1,000.50 -- wow...",
    'a "quoted" word & a 50% off sign',
    "",
    "a dog",
]


@pytest.fixture
def anew() -> Iterator[None]:
    """Warnings that are logged once are logged again."""
    java.programs.cache_clear()
    java._warn_once.cache_clear()
    yield
    java.programs.cache_clear()
    java._warn_once.cache_clear()


def joined(captions: list[list[Words]]) -> dict[int, list[str]]:
    return {number: [" ".join(words) for words in group] for number, group in enumerate(captions)}


@needs_package
class TestAgainstPycocoevalcap:
    @pytest.fixture
    def captions(self) -> tuple[list[Words], list[list[Words]]]:
        return random_captions(200, seed=4)

    def test_bleu_rouge_and_cider_equal_pycocoevalcap(self, captions: tuple[list[Words], list[list[Words]]]) -> None:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        hypotheses, references = captions
        truths, candidates = joined(references), joined([[words] for words in hypotheses])

        assert bleu(hypotheses, references) == pytest.approx(Bleu(4).compute_score(truths, candidates, verbose=0)[0])
        assert rouge_l_each(hypotheses, references) == pytest.approx(list(Rouge().compute_score(truths, candidates)[1]))
        assert cider_each(hypotheses, references) == pytest.approx(list(Cider().compute_score(truths, candidates)[1]))

    @needs_java
    def test_meteor_equals_pycocoevalcap(
        self, captions: tuple[list[Words], list[list[Words]]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pycocoevalcap.meteor.meteor import Meteor

        monkeypatch.setenv("LC_ALL", "C")
        hypotheses, references = captions
        program = Meteor()
        total, each = program.compute_score(joined(references), joined([[words] for words in hypotheses]))
        for pipe in (program.meteor_p.stdout, program.meteor_p.stderr):
            pipe.close()

        measure = java.meteor(folder(), hypotheses, references)

        assert measure.total()["meteor"] == pytest.approx(total)
        assert measure.of_sums(measure.parts)[:, 0] == pytest.approx(each)


def folder() -> Path:
    found = java.programs()
    assert found is not None
    return found


@needs_package
@needs_java
class TestPrograms:
    @pytest.mark.parametrize(
        ("hypothesis", "references", "value"),
        [
            ("this is a good test", ("this is a test", "this is also a test"), 0.44434387),
            ("Le test est en français.", ("Test en français.", "Le test en français."), 0.48372379),
        ],
    )
    def test_meteor_of_one_caption_equals_the_published_score(
        self, hypothesis: str, references: tuple[str, ...], value: float
    ) -> None:
        measure = java.meteor(folder(), [hypothesis.split()], [[reference.split() for reference in references]])

        assert measure.total()["meteor"] == pytest.approx(value, abs=1e-7)

    def test_meteor_of_two_captions_equals_the_published_score(self) -> None:
        from tests.unit.training.test_metrics import HYPOTHESES, REFERENCES

        hypotheses = [text.split() for text in HYPOTHESES.values()]
        references = [[text.split() for text in group] for group in REFERENCES.values()]

        assert java.meteor(folder(), hypotheses, references).total()["meteor"] == pytest.approx(0.295797, abs=1e-6)

    def test_the_java_tokenizer_agrees_on_ordinary_captions(self) -> None:
        found = java.tokenize(folder(), CAPTIONS)

        assert found[0] == ["a", "man", "'s", "dog", "riding", "a", "skate-board", "red"]
        assert found == [tokenize(caption) for caption in CAPTIONS]

    @pytest.mark.parametrize(
        ("first", "last"),
        [
            (0xA0, 0x36F),  # Latin, its signs and its accents
            (0x2000, 0x2BFF),  # punctuation, currencies, fractions, arrows, mathematics, dingbats
            (0x3000, 0x303F),  # Chinese and Japanese punctuation
            (0xFE00, 0xFE6F),  # variation selectors
            (0xFF00, 0xFFEF),  # full width
            (0x1F000, 0x1FAFF),  # emoji
        ],
    )
    def test_the_java_tokenizer_agrees_on_every_sign(self, first: int, last: int) -> None:
        signs = [sign for sign in map(chr, range(first, last + 1)) if unicodedata.category(sign)[0] not in "CZ"]
        captions = [caption for sign in signs for caption in (f"a {sign} b", f"{sign}fox", f"fox{sign}")]

        assert java.tokenize(folder(), captions) == [tokenize(caption) for caption in captions]

    def test_spice_without_its_models_is_skipped_with_a_warning(
        self, anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(java, "SPICE_MODELS", ("none.jar",))

        found = java.measures(*random_captions(3))

        assert [measure.names for measure in found] == [("meteor",)]
        assert "SPICE is left out: none.jar" in caplog.text


class TestSkipped:
    def test_a_missing_package_is_logged_with_the_install_command(
        self, anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

        assert [java.measures(*random_captions(3)) for _ in range(2)] == [[], []]
        assert caplog.text.count("pip install -e '.[coco]'") == 1

    @needs_package
    def test_missing_java_is_logged(
        self, anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("PATH", "")

        assert java.measures(*random_captions(3)) == []
        assert "Java is not installed" in caplog.text

    @needs_package
    @needs_java
    def test_a_failed_program_skips_only_its_metric(
        self, anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def failing(*arguments: object) -> object:
            raise subprocess.CalledProcessError(1, "java")

        monkeypatch.setattr(java, "_java", failing)

        assert java.measures(*random_captions(3)) == []
        assert "meteor is left out: its Java program failed" in caplog.text
