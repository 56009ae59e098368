"""Caption options: what is accepted, what is refused and how, and what the model is then asked for."""

from __future__ import annotations

import pytest

from common import problems
from common.jobs import Alternative, Output
from common.options import (
    MAX_BEAMS,
    MAX_INSTRUCTION_LENGTH,
    MAX_TEMPLATE_LENGTH,
    MAX_TOKENS,
    CaptionOptions,
    SearchOptions,
    cache_key,
    check_template,
    fill_template,
    language_name,
    parse_options,
)
from common.problems import Problem
from common.settings import Settings

SETTINGS = Settings(beams=5, min_length=4, max_length=32)


class TestParse:
    def test_all_members_are_accepted_up_to_their_bounds(self) -> None:
        value = {
            "template": "a photo of {caption}",
            "min_length": MAX_TOKENS,
            "max_length": MAX_TOKENS,
            "captions": MAX_BEAMS,
            "beams": MAX_BEAMS,
            "instruction": "x" * MAX_INSTRUCTION_LENGTH,
            "language": "pt-BR",
        }

        options = parse_options(value, SETTINGS)

        assert options is not None and options.body() == value

    @pytest.mark.parametrize("value", [{}, {"beams": None}, {"template": None, "captions": None}])
    def test_options_without_a_value_are_none(self, value: object) -> None:
        assert parse_options(value, SETTINGS) is None

    @pytest.mark.parametrize(
        ("value", "sentence"),
        [
            ([], '`options` must be a JSON object, such as {"beams": 8}.'),
            ("beams", '`options` must be a JSON object, such as {"beams": 8}.'),
            (
                {"beam": 3},
                "`options` has no member 'beam'. Its members are template, min_length, max_length, captions, beams, "
                "instruction, language, model.",
            ),
            ({"model": 1}, "`options.model` must be text."),
            ({"beams": 0}, "`options.beams` must be a whole number from 1 to 10."),
            ({"beams": 11}, "`options.beams` must be a whole number from 1 to 10."),
            ({"beams": True}, "`options.beams` must be a whole number from 1 to 10."),
            ({"beams": "5"}, "`options.beams` must be a whole number from 1 to 10."),
            ({"beams": 5.0}, "`options.beams` must be a whole number from 1 to 10."),
            ({"captions": 11}, "`options.captions` must be a whole number from 1 to 10."),
            ({"max_length": 1}, "`options.max_length` must be a whole number from 2 to 64."),
            ({"max_length": 10**30}, "`options.max_length` must be a whole number from 2 to 64."),
            ({"min_length": -1}, "`options.min_length` must be a whole number from 0 to 64."),
            ({"template": 1}, "`options.template` must be text."),
            (
                {"template": "a photo"},
                "`options.template`: It must have {caption} exactly once, such as 'a photo of {caption}'.",
            ),
            (
                {"template": "{caption}\x00"},
                "`options.template`: It must not have control characters or invalid Unicode.",
            ),
            ({"instruction": " \n"}, "`options.instruction`: It must not be empty."),
            ({"instruction": "x" * 2001}, "`options.instruction`: It must not have more than 2000 characters."),
            (
                {"instruction": "Name it.\x1b"},
                "`options.instruction`: It must not have control characters or invalid Unicode.",
            ),
            ({"language": 1}, "`options.language` must be text."),
            ({"language": "German"}, "`options.language`: It must be the code of a language, such as de or pt-BR."),
            ({"language": ""}, "`options.language`: It must be the code of a language, such as de or pt-BR."),
            (
                {"template": "{caption}\ud800"},
                "`options.template`: It must not have control characters or invalid Unicode.",
            ),
        ],
    )
    def test_a_refusal_names_the_member_and_what_is_allowed(self, value: object, sentence: str) -> None:
        with pytest.raises(Problem) as refused:
            parse_options(value, SETTINGS)

        assert refused.value.kind is problems.BAD_REQUEST
        assert refused.value.detail == sentence

    @pytest.mark.parametrize("name", ["x" * 10_000, "x\ud800"])
    def test_a_refusal_does_not_repeat_a_long_or_invalid_name(self, name: str) -> None:
        with pytest.raises(Problem) as refused:
            parse_options({name: 1}, SETTINGS)

        assert len(refused.value.detail) < 200
        refused.value.detail.encode()

    @pytest.mark.parametrize(
        ("value", "beams"), [({"captions": 6}, 5), ({"captions": 3, "beams": 2}, 2), ({"captions": 10, "beams": 9}, 9)]
    )
    def test_more_captions_than_beams_are_refused(self, value: object, beams: int) -> None:
        with pytest.raises(Problem, match=f"`options.captions` is .*, but a search with {beams} beams finds at most"):
            parse_options(value, SETTINGS)

    @pytest.mark.parametrize("value", [{"min_length": 33}, {"max_length": 3}, {"min_length": 9, "max_length": 8}])
    def test_a_minimum_length_above_the_maximum_is_refused_also_where_one_is_the_service_s(self, value: object) -> None:
        with pytest.raises(Problem, match=r"Lower `options.min_length` or raise `options.max_length`.* 4 and 32\."):
            parse_options(value, SETTINGS)

    def test_lengths_of_the_service_are_not_refused(self) -> None:
        settings = Settings(min_length=50, max_length=40)

        assert parse_options({"beams": 3}, settings) == CaptionOptions(beams=3)


class TestTemplate:
    @pytest.mark.parametrize("template", ["", "{caption} and {caption}", "{ caption }", "{Caption}"])
    def test_a_template_has_the_placeholder_once(self, template: str) -> None:
        with pytest.raises(ValueError, match="exactly once"):
            check_template(template)

    def test_a_template_has_a_maximum_length(self) -> None:
        longest = "{caption}".ljust(MAX_TEMPLATE_LENGTH, "x")

        assert check_template(longest) == longest
        with pytest.raises(ValueError, match="more than 500 characters"):
            check_template(longest + "x")

    def test_the_caption_is_put_in_as_it_is(self) -> None:
        assert fill_template("{{caption}}, \\1 {0}\n", "a {caption} \\g<0>") == "{a {caption} \\g<0>}, \\1 {0}\n"
        assert fill_template(None, "a dog") == "a dog"

    def test_the_alternatives_get_the_template_too(self) -> None:
        output = Output(caption="a dog", score=-0.5, alternatives=(Alternative(caption="a cat", score=-0.9),))

        assert output.with_template("sks, {caption}!") == Output(
            caption="sks, a dog!", score=-0.5, alternatives=(Alternative(caption="sks, a cat!", score=-0.9),)
        )
        assert output.with_template(None) is output


class TestLanguage:
    @pytest.mark.parametrize(
        ("code", "name"), [("de", "German"), ("pt-BR", "Portuguese (Brazil)"), ("zh-Hant", "Chinese (Traditional)")]
    )
    def test_a_code_has_an_english_name(self, code: str, name: str) -> None:
        assert language_name(code) == name


class TestSearch:
    def test_what_is_not_set_is_as_in_the_settings(self) -> None:
        assert SearchOptions.of(SETTINGS) == SearchOptions(beams=5, min_length=4, max_length=32, captions=3)

    def test_options_replace_settings(self) -> None:
        options = CaptionOptions(beams=8, min_length=0, max_length=12, captions=7, template="a {caption}")

        assert SearchOptions.of(SETTINGS, options) == SearchOptions(beams=8, min_length=0, max_length=12, captions=7)

    @pytest.mark.parametrize(("beams", "captions"), [(1, 1), (2, 2), (9, 3)])
    def test_there_are_three_captions_if_there_are_enough_beams(self, beams: int, captions: int) -> None:
        assert SearchOptions.of(SETTINGS, CaptionOptions(beams=beams)).captions == captions


class TestCacheKey:
    def test_options_that_ask_for_the_service_s_settings_share_its_captions(self) -> None:
        same = CaptionOptions(beams=5, min_length=4, max_length=32, captions=3, template="a {caption}")

        assert cache_key(SETTINGS, same) == cache_key(SETTINGS, None)

    @pytest.mark.parametrize("member", ["beams", "min_length", "max_length", "captions"])
    def test_every_option_of_the_search_has_its_own_captions(self, member: str) -> None:
        assert cache_key(SETTINGS, CaptionOptions(**{member: 2})) != cache_key(SETTINGS, None)

    @pytest.mark.parametrize("options", [CaptionOptions(instruction="Name it."), CaptionOptions(language="de")])
    def test_every_instruction_and_language_has_its_own_captions(self, options: CaptionOptions) -> None:
        settings = SETTINGS.model_copy(update=options.body() | {"caption_language": options.language})

        assert cache_key(SETTINGS, options) != cache_key(SETTINGS, None)
        assert cache_key(SETTINGS, options) == cache_key(settings, None)

    @pytest.mark.parametrize("changes", [{"precision": "int8"}, {"prompt": "a"}, {"length_penalty": 2.0}])
    def test_every_setting_of_the_search_has_its_own_captions(self, changes: dict[str, str]) -> None:
        assert cache_key(SETTINGS.model_copy(update=changes), None) != cache_key(SETTINGS, None)
