"""Translates the sentences that people read. English is the source; the catalogues are gettext files, read by Babel.

Python code writes a sentence as a `Message`, `_("The file has more than {limit} MB.", limit=20)`, and translates it
where it is shown, in the language of its reader. `str(message)` is English, as in the logs and the stored records.
`script/translate` finds all sentences and updates `translations/*.po`.
"""

from __future__ import annotations

import gettext
import io
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

#: Languages by their code, each with its own name.
LANGUAGES = {"en": "English", "ru": "Русский"}
#: The language of the sentences in the code.
SOURCE = "en"
FOLDER = Path(__file__).parent / "translations"
#: The scripts of the page, whose sentences the page contains. Paths in the catalogues begin like this.
SCRIPTS = "web/static/"

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")


class Message(BaseModel):
    """A sentence with `{name}` placeholders, and the values that replace them.

    With `plural`, `template` is its form for one, and `values["count"]` decides. A value may be a message, too; what is
    neither text, a number nor a message becomes text.
    """

    model_config = ConfigDict(frozen=True)

    template: str
    plural: str | None = None
    values: dict[str, str | int | float | Message] = {}

    def __init__(self, template: str, plural: str | None = None, values: Mapping[str, Any] | None = None) -> None:
        kept = (str, int, float, dict, Message)  # a dictionary is a message that is read from a record
        plain = {name: value if isinstance(value, kept) else str(value) for name, value in (values or {}).items()}
        super().__init__(template=template, plural=plural, values=plain)

    def __str__(self) -> str:
        return self.translated(SOURCE)

    def translated(self, language: str) -> str:
        """Return the sentence in `language`, or in English where the catalogue lacks it."""
        if self.plural is None:
            text = _gettext(language, self.template)
        else:
            text = _ngettext(language, self.template, self.plural, int(str(self.values["count"])))
        return fill(text, {name: show(value, language) for name, value in self.values.items()})


def _(template: str, **values: Any) -> Message:
    """Return a sentence that is translated where it is shown."""
    return Message(template, None, values)


def ngettext(singular: str, plural: str, count: int, **values: Any) -> Message:
    """Return a sentence whose form depends on `count`, which is also the value of `{count}`."""
    return Message(singular, plural, {"count": count, **values})


def translated(value: object, language: str) -> str:
    """Return a message, or an exception whose only argument is one, in `language`; anything else as its `str`."""
    if isinstance(value, BaseException) and len(value.args) == 1:
        value = value.args[0]
    return value.translated(language) if isinstance(value, Message) else str(value)


def show(value: object, language: str) -> str:
    """Return a value as `language` writes it: a float with its decimal separator, a message translated."""
    if not isinstance(value, float):
        return translated(value, language)
    if language == SOURCE:
        return f"{value:g}"
    from babel.numbers import format_decimal

    return format_decimal(value, locale=language, group_separator=False)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders that have a value. Other braces stay, such as those of JSON examples."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def placeholders(template: str) -> set[str]:
    """Return the names in braces."""
    return set(_PLACEHOLDER.findall(template))


@cache
def script_sentences(language: str) -> dict[str, list[str]]:
    """Return the sentences of the page's scripts, each with its translation or, for a plural, with all its forms."""
    if language == SOURCE:
        return {}
    sentences: dict[str, list[str]] = {}
    for message in read_catalogue(language):
        if any(path.startswith(SCRIPTS) for path, _line in message.locations):
            forms = message.string if isinstance(message.string, (list, tuple)) else (message.string,)
            singular = message.id[0] if isinstance(message.id, (list, tuple)) else message.id
            if all(forms):
                sentences[singular] = list(forms)
    return sentences


def read_catalogue(language: str) -> Any:
    """Read the gettext file of a language as a `babel.messages.Catalog`."""
    # Imported only for translations: Babel takes 50 ms.
    from babel.messages.pofile import read_po

    with (FOLDER / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


@cache
def _translations(language: str) -> gettext.NullTranslations:
    if language == SOURCE:
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo

    compiled = io.BytesIO()
    write_mo(compiled, read_catalogue(language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _gettext(language: str, text: str) -> str:
    return _translations(language).gettext(text) if text else ""


def _ngettext(language: str, singular: str, plural: str, count: int) -> str:
    return _translations(language).ngettext(singular, plural, count)
