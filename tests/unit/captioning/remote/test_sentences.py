"""A model's answer becomes one sentence, and the settings and options become an instruction."""

from __future__ import annotations

import pytest

from captioning.remote.sentences import MAX_CAPTION_LENGTH, caption_in, instruction_of
from common.options import CaptionOptions, SearchOptions
from common.settings import Settings

REST = "Give the answer alone, without introduction, quotation marks or formatting."


class TestCaption:
    @pytest.mark.parametrize(
        ("answer", "caption"),
        [
            ("A dog runs.", "A dog runs."),
            ("  a dog\truns  ", "A dog runs"),
            ("A dog runs. It is happy!", "A dog runs."),
            (
                "Mr. Smith and Dr. Who eat pie, e.g. cherry pie. They smile.",
                "Mr. Smith and Dr. Who eat pie, e.g. cherry pie.",
            ),
            ("Is it 3.5 m long? Yes.", "Is it 3.5 m long?"),
            ("一只狗在跑。它很开心。", "一只狗在跑。"),
            ("Собака бежит по траве. Ей весело.", "Собака бежит по траве."),
        ],
    )
    def test_it_is_the_first_sentence(self, answer: str, caption: str) -> None:
        assert caption_in(answer) == caption

    @pytest.mark.parametrize(
        ("answer", "caption"),
        [
            ("The image shows a dog running.", "A dog running."),
            ("This photo depicts a dog.", "A dog."),
            ("In this picture, we can see two cats.", "Two cats."),
            ("In the image there is a dog.", "A dog."),
            ("Here is a one-sentence description: A man walks.", "A man walks."),
            ("Here's a caption:\n\nA man walks.", "A man walks."),
            ("Sure! Here is the description of the picture:\nA man walks.", "A man walks."),
            ("Certainly. A man walks.", "A man walks."),
            ("Caption: A man walks.", "A man walks."),
            ('The image shows "a dog."', "A dog."),
            ("The image of a saint shows wear.", "The image of a saint shows wear."),
        ],
    )
    def test_it_has_no_introduction(self, answer: str, caption: str) -> None:
        assert caption_in(answer) == caption

    @pytest.mark.parametrize(
        ("answer", "caption"),
        [
            ('"A dog runs."', "A dog runs."),
            ("“A dog runs.” It is happy.", "A dog runs."),
            ("«Собака бежит»", "Собака бежит"),
            ('A sign reads "STOP".', 'A sign reads "STOP".'),
            ('"Stop" and "Go" are on signs.', '"Stop" and "Go" are on signs.'),
        ],
    )
    def test_it_has_no_quotation_marks_around_it(self, answer: str, caption: str) -> None:
        assert caption_in(answer) == caption

    @pytest.mark.parametrize(
        ("answer", "caption"),
        [
            ("**Caption:** A *brown* dog, `Rex`, runs.", "A brown dog, Rex, runs."),
            ("# A title\n\nA dog runs.", "A dog runs."),
            ("- A dog runs\n- A cat sits", "A dog runs"),
            ("1. A dog runs", "A dog runs"),
            ("```text\nA dog runs.\n```", "A dog runs."),
            ("> A [dog](https://example.com) runs.", "A dog runs."),
            ("A snake_case_name and 2 * 3 * 4", "A snake_case_name and 2 * 3 * 4"),
            ("<|begin_of_box|>A dog runs.<|end_of_box|>", "A dog runs."),
            ("A dog\x00 runs.", "A dog runs."),
        ],
    )
    def test_it_has_no_markup(self, answer: str, caption: str) -> None:
        assert caption_in(answer) == caption

    @pytest.mark.parametrize(
        "answer",
        [
            "<think>A cat? No.</think>\n\nA dog runs.",
            "<thinking>\nA cat?\n</thinking>A dog runs.",
            "A cat? No.\n</think>\nA dog runs.",
        ],
    )
    def test_it_has_no_thoughts(self, answer: str) -> None:
        assert caption_in(answer) == "A dog runs."

    @pytest.mark.parametrize("answer", ["", " \n", "...", "**", "<think>A dog runs.", "x" * (MAX_CAPTION_LENGTH + 1)])
    def test_an_answer_without_a_sentence_has_none(self, answer: str) -> None:
        assert caption_in(answer) is None

    def test_an_answer_that_was_cut_off_needs_the_end_of_a_sentence(self) -> None:
        assert caption_in("A dog runs over the gr", cut=True) is None
        assert caption_in("A dog runs over the grass. It is ha", cut=True) == "A dog runs over the grass."


class TestInstruction:
    def test_it_is_that_of_the_settings(self) -> None:
        settings = Settings(instruction="Name the breed.", caption_language="de", max_length=22, min_length=10)

        assert instruction_of(SearchOptions.of(settings), settings) == (
            f"Name the breed. Answer in German. Use at least 6 words. Use at most 15 words. {REST}"
        )

    def test_the_options_of_a_job_come_first(self) -> None:
        settings = Settings(caption_language="de")
        options = CaptionOptions(instruction="Count the dogs.", language="ru", max_length=12)

        assert instruction_of(SearchOptions.of(settings, options), settings) == (
            f"Count the dogs. Answer in Russian. Use at most 7 words. {REST}"
        )

    def test_by_default_no_language_is_named(self) -> None:
        settings = Settings()

        assert instruction_of(SearchOptions.of(settings), settings) == (
            f"Describe the picture in one sentence. Use at most 22 words. {REST}"
        )
