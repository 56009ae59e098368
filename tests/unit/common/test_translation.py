"""Sentences, and the completeness of their translations."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from babel.messages import Catalog
from babel.messages.catalog import Message as Entry

from common import problems
from common.settings import PROJECT_ROOT
from common.translation import (
    LANGUAGES,
    SOURCE,
    Message,
    _,
    fill,
    ngettext,
    placeholders,
    read_catalogue,
    script_sentences,
    translated,
)
from tests.support.catalogue import PACKAGES, PYTHON_KEYWORDS, extracted

TRANSLATIONS = sorted(LANGUAGES.keys() - {SOURCE})


@pytest.fixture(scope="module")
def sentences() -> Catalog:
    return extracted()


def texts(message: Entry) -> tuple[str, ...]:
    """The sentence, or its singular and plural."""
    return tuple(message.id) if isinstance(message.id, list | tuple) else (str(message.id),)


def translations_of(message: Entry) -> tuple[str, ...]:
    return tuple(message.string) if isinstance(message.string, list | tuple) else (message.string or "",)


class TestCatalogues:
    @pytest.mark.parametrize("language", TRANSLATIONS)
    def test_every_sentence_has_a_translation(self, language: str, sentences: Catalog) -> None:
        catalogue = read_catalogue(language)

        missing = [message.id for message in sentences if message.id and message.id not in catalogue]
        assert not missing, "Run script/translate, and translate these sentences."

    @pytest.mark.parametrize("language", TRANSLATIONS)
    def test_no_translation_is_empty_fuzzy_or_without_its_sentence(self, language: str, sentences: Catalog) -> None:
        for message in read_catalogue(language):
            if message.id:
                assert all(translations_of(message)), message.id
                assert not message.fuzzy, message.id
                assert message.id in sentences, message.id

    @pytest.mark.parametrize("language", TRANSLATIONS)
    def test_every_translation_has_the_placeholders_of_its_sentence(self, language: str) -> None:
        for message in read_catalogue(language):
            if message.id:
                expected = set[str]().union(*map(placeholders, texts(message)))
                for text in translations_of(message):
                    assert placeholders(text) == expected, text

    @pytest.mark.parametrize("language", TRANSLATIONS)
    def test_every_plural_has_all_forms_of_its_language(self, language: str) -> None:
        catalogue = read_catalogue(language)
        for message in catalogue:
            if message.pluralizable:
                assert len(translations_of(message)) == catalogue.num_plurals, message.id

    @pytest.mark.parametrize("language", TRANSLATIONS)
    def test_the_sentences_of_scripts_are_those_that_the_scripts_use(self, language: str, sentences: Catalog) -> None:
        used = {texts(message)[0] for message in sentences if message.id and _in_scripts(message)}

        assert script_sentences(language).keys() == used


def _in_scripts(message: Entry) -> bool:
    return any(path.startswith("web/static/") for path, _line in message.locations)


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Each call in the code whose first argument is a sentence, with its place."""
    for package in PACKAGES:
        for path in sorted((PROJECT_ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    if name in PYTHON_KEYWORDS and name != "Kind":
                        yield f"{path.relative_to(PROJECT_ROOT)}:{node.lineno}", node


class TestCode:
    def test_every_sentence_is_a_literal_or_a_message(self) -> None:
        """A sentence that is put together, as by an f-string, cannot be translated."""
        for place, call in calls():
            assert not isinstance(call.args[0], ast.JoinedStr | ast.BinOp), place

    def test_every_placeholder_has_a_value_and_every_value_a_placeholder(self) -> None:
        for place, call in calls():
            sentences = [each.value for each in call.args if isinstance(each, ast.Constant)]
            if not sentences or any(keyword.arg is None for keyword in call.keywords):
                continue  # a message made elsewhere, or values from a dictionary
            if place.startswith("common/validation.py"):
                continue  # pydantic's errors bring the values of REASONS
            values = {str(keyword.arg) for keyword in call.keywords} - {"extensions"}
            expected = set[str]().union(*(placeholders(str(each)) for each in sentences)) - {"count"}
            assert values - {"count"} == expected, place


class TestMessage:
    def test_a_message_is_english_as_text_and_translated_where_it_is_shown(self) -> None:
        message = _("The file {path} does not exist.", path="a.pt")

        assert str(message) == "The file a.pt does not exist."
        assert message.translated("ru") == "Файла a.pt нет."

    @pytest.mark.parametrize(
        ("count", "russian"),
        [(1, "1 подпись"), (2, "2 подписи"), (5, "5 подписей"), (11, "11 подписей"), (21, "21 подпись")],
    )
    def test_a_plural_has_the_form_of_its_number(self, count: int, russian: str) -> None:
        message = ngettext(
            "Continuing a stopped run, with {count} caption.",
            "Continuing a stopped run, with {count} captions.",
            count,
        )

        assert message.translated("ru").endswith(f"{russian}.")
        assert str(message).endswith("1 caption." if count == 1 else f"{count} captions.")

    def test_a_value_that_is_a_message_is_translated_with_it(self) -> None:
        message = _("{folder} can be written.", folder=_("every address"))

        assert message.translated("ru") == "каталог все адреса доступен для записи."

    def test_numbers_have_the_decimal_separator_of_the_language(self) -> None:
        message = _("{used} MB used, no limit.", used=1234.5)

        assert str(message) == "1234.5 MB used, no limit."
        assert message.translated("ru") == "занято 1234,5 МБ, ограничения нет."

    def test_a_value_with_braces_is_not_filled_again(self) -> None:
        assert str(_("{one} and {two}", one="{two}", two="2")) == "{two} and 2"

    def test_braces_without_a_value_stay(self) -> None:
        assert fill('{"url": "https://..."} {name}', {}) == '{"url": "https://..."} {name}'

    def test_a_message_survives_its_record(self) -> None:
        message = _("{folder} can be written.", folder=_("every address"))

        assert Message.model_validate_json(message.model_dump_json()) == message

    def test_an_error_is_translated_by_its_message(self) -> None:
        assert translated(ValueError(_("It must be a number.")), "ru") == "Значение должно быть числом."
        assert translated(problems.EMPTY_UPLOAD("No text."), "ru") == "No text."
        assert translated(OSError(2, "gone"), "ru") == "[Errno 2] gone"
