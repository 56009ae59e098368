"""Bootstrap resamples are scored like data sets of the same images, and are shared between models."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.captions import Words, random_captions
from training.metrics import measures
from training.metrics.bleu import bleu
from training.metrics.bootstrap import resample
from training.metrics.cider import cider_each
from training.metrics.measure import mean

PICTURES = 60


@pytest.fixture
def captions() -> tuple[list[Words], list[list[Words]]]:
    return random_captions(PICTURES)


class TestResample:
    def test_a_resample_scores_like_a_corpus_of_its_images(
        self, captions: tuple[list[Words], list[list[Words]]]
    ) -> None:
        hypotheses, references = captions
        times = np.random.default_rng(1).multinomial(PICTURES, [1 / PICTURES] * PICTURES)
        drawn = [image for image, count in enumerate(times) for _ in range(count)]

        found = {
            name: scores[0]
            for measure in measures(hypotheses, references)
            for name, scores in measure.resampled(times[None].astype(float)).items()
        }

        expected = bleu([hypotheses[image] for image in drawn], [references[image] for image in drawn])
        assert [found[f"bleu_{n}"] for n in range(1, 5)] == pytest.approx(expected)
        whole = cider_each(hypotheses, references)
        assert found["cider"] == pytest.approx(np.mean([whole[image] for image in drawn]))

    def test_the_interval_of_a_mean_matches_the_normal_distribution(self) -> None:
        scores = np.random.default_rng(0).normal(5.0, 2.0, size=400)

        found = resample([mean("x", scores)], resamples=2000, seed=0).estimate("x")

        error = 1.96 * scores.std() / len(scores) ** 0.5
        assert found.value == pytest.approx(scores.mean())
        assert (found.low, found.high) == pytest.approx((scores.mean() - error, scores.mean() + error), abs=error / 10)

    def test_the_same_seed_gives_the_same_interval(self, captions: tuple[list[Words], list[list[Words]]]) -> None:
        scored = measures(*captions)

        one, again, other = (resample(scored, 150, seed).estimate("bleu_4") for seed in (3, 3, 4))

        assert one == again != other

    def test_equal_models_have_a_difference_of_zero(self, captions: tuple[list[Words], list[list[Words]]]) -> None:
        scored = measures(*captions)

        difference = resample(scored, 50, seed=0).minus(resample(scored, 50, seed=0), "cider")

        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)

    def test_a_uniformly_better_model_is_better_in_every_resample(self) -> None:
        scores = np.random.default_rng(0).normal(size=100)
        worse, better = (resample([mean("x", scores + more)], 200, seed=0) for more in (0.0, 0.1))

        difference = better.minus(worse, "x")

        assert (difference.low, difference.high) == pytest.approx((0.1, 0.1))
        assert better.estimate("x").low < worse.estimate("x").high
