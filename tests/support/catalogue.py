"""`python -m tests.support.catalogue`: finds all sentences that people read, and updates the catalogues."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import write_po

from common import problems
from common.settings import PROJECT_ROOT
from common.translation import FOLDER, LANGUAGES, SCRIPTS, SOURCE, read_catalogue

#: Packages whose Python code has sentences.
PACKAGES = ("common", "captioning", "cli", "web", "worker")
TEMPLATES = "web/templates"
#: Functions by their name, with the positions of the arguments that are sentences, from 1.
PYTHON_KEYWORDS: dict[str, Any] = {"_": None, "ngettext": (1, 2), "Kind": (3,)}
#: Each kind of problem is called with its sentence.
PYTHON_KEYWORDS |= {name: None for name, value in vars(problems).items() if isinstance(value, problems.Kind)}
TEMPLATE_KEYWORDS: dict[str, Any] = {"_": None, "ngettext": (1, 2)}
SCRIPT_KEYWORDS: dict[str, Any] = {"t": None, "tn": (1, 2)}
WIDTH = 120


def extracted() -> Catalog:
    """The sentences of the project, without translations."""
    catalogue = Catalog(project="captiond", charset="utf-8", fuzzy=False)
    for path, message, comments in _found():
        catalogue.add(message, locations=[(path, 0)], auto_comments=comments)
    return catalogue


def update(language: str) -> None:
    """Add new sentences to the catalogue of `language`, and remove those that are gone. Its header stays as it is."""
    path = FOLDER / f"{language}.po"
    header = path.read_text(encoding="utf-8").partition("\n\n")[0]
    catalogue = read_catalogue(language)
    catalogue.update(extracted(), no_fuzzy_matching=True, update_header_comment=False)
    sentences = io.BytesIO()
    write_po(sentences, catalogue, width=WIDTH, include_lineno=False, ignore_obsolete=True, omit_header=True)
    path.write_text(f"{header.rstrip()}\n\n{sentences.getvalue().decode().strip()}\n", encoding="utf-8")


def _found() -> Iterator[tuple[str, str | tuple[str, ...], list[str]]]:
    """Each sentence with its file, relative to the project's root."""
    for package in PACKAGES:
        yield from _extract(package, "**.py", "python", PYTHON_KEYWORDS)
    yield from _extract(TEMPLATES, "**.html", "jinja2", TEMPLATE_KEYWORDS)
    yield from _extract(SCRIPTS, "**.js", "javascript", SCRIPT_KEYWORDS)


def _extract(
    folder: str, pattern: str, method: str, keywords: dict[str, Any]
) -> Iterator[tuple[str, str | tuple[str, ...], list[str]]]:
    options = {"**": {"silent": "false"}} if method == "jinja2" else {}
    found = extract_from_dir(
        PROJECT_ROOT / folder,
        method_map=[(pattern, method)],
        options_map=options,
        keywords=keywords,
        comment_tags=("Translators:",),
        strip_comment_tags=True,
    )
    for filename, _line, message, comments, _context in found:
        yield str(Path(folder) / filename), message, comments


if __name__ == "__main__":
    for each in LANGUAGES.keys() - {SOURCE}:
        update(each)
