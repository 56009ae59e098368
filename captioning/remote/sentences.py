"""What a model of a server is asked for, and the caption in what it answers."""

from __future__ import annotations

import re

from common.options import NOT_IN_XML, SearchOptions, language_name
from common.settings import Settings

#: Words of a caption for each token. English captions have about four tokens for three words.
WORDS_PER_TOKEN = 3 / 4
#: Characters of the longest sentence that is a caption. A longer one is a model that repeats itself.
MAX_CAPTION_LENGTH = 1000

#: Thoughts that a server has not removed from the answer. The first tag may be part of the prompt, and thus missing.
_THOUGHTS = re.compile(r"(?s)^.*</think(?:ing)?>|<think(?:ing)?>.*$")
#: Special tokens of a model's own, such as `<|begin_of_box|>`.
_TOKENS = re.compile(r"<\|[^|<>]{1,40}\|>")
#: Markdown: a heading, a fence of code, and the beginning of a line of a quotation or a list.
_LINE_MARKUP = re.compile(r"(?m)^[ \t]*(?:#{1,6} .*$|```.*$|> ?|[-*+] +|\d{1,2}[.)] +)")
#: A link or an image of markdown; what remains is its text.
_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)")
#: Emphasis and code in markdown; what remains is the text.
_EMPHASIS = re.compile(r"(\*{1,3}|`|~~|(?<!\w)_{1,2}(?=\w))(\S(?:[^\n]*?\S)?)\1")
#: What a model says before its answer: "Sure! Here is a caption:", "Caption:".
_ANNOUNCEMENT = re.compile(
    r"(?i)^(?:(?:sure|certainly|of course|okay|ok|absolutely)[!.,:]\s+)?"
    r"(?:here(?:'s|’s| is| are)\b[^:\n]{0,80}:\s*|(?:caption|description|answer|alt[ -]text)\s*:\s*)?"  # noqa: RUF001
)
#: What a caption is about, which says nothing: "The image shows", "In this photo, we can see", "This picture depicts".
_INTRODUCTION = re.compile(
    r"(?i)^(?:(?:the|this) (?:image|photo|photograph|picture) "
    r"(?:shows|depicts|features|displays|captures|presents|portrays|illustrates|contains)|"
    r"in (?:the|this) (?:image|photo|photograph|picture),? (?:(?:we|you|one) can see|there (?:is|are)|we see)),? "
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "‹": "›", "「": "」"}  # noqa: RUF001
#: The end of a sentence, unless the word before is an abbreviation. Chinese and Japanese have no space after it.
_END = re.compile(r"(?:[.!?…]+[\"'”’»)]*(?=\s|$)|[。！？][」』”]?)")  # noqa: RUF001
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:Mr|Mrs|Ms|Dr|St|Mt|Jr|Sr|vs|ca|approx|e\.g|i\.e|z\.B|[A-Z])$")


def instruction_of(search: SearchOptions, settings: Settings) -> str:
    """What the model is asked for: the instruction, the length and the language, from the options or the settings."""
    parts = [search.instruction or settings.instruction]
    if language := search.language or settings.caption_language:
        parts.append(f"Answer in {language_name(language)}.")
    if (least := _words(search.min_length)) > 1:
        parts.append(f"Use at least {least} words.")
    parts.append(f"Use at most {_words(search.max_length)} words.")
    parts.append("Give the answer alone, without introduction, quotation marks or formatting.")
    return " ".join(parts)


def caption_in(answer: str, *, cut: bool = False) -> str | None:
    """The first sentence of an answer, without thoughts, introduction, quotation marks and markdown.

    None if there is none, or if it has no end because the answer was `cut` off.
    """
    text = NOT_IN_XML.sub("", _TOKENS.sub("", _THOUGHTS.sub("", answer)))
    text = _EMPHASIS.sub(r"\2", _LINK.sub(r"\1", _LINE_MARKUP.sub("", text)))
    sentence = _first_sentence(_unquoted(_first_line(text)), cut)
    text = _unquoted(_INTRODUCTION.sub("", _unquoted(sentence)))
    if not any(character.isalnum() for character in text) or len(text) > MAX_CAPTION_LENGTH:
        return None
    return text[0].upper() + text[1:]


def _words(tokens: int) -> int:
    """Number of words of a caption of so many tokens, of which two are its start and end."""
    return max(1, int((tokens - 2) * WORDS_PER_TOKEN))


def _first_line(text: str) -> str:
    """The first line with words, without what announces it, which may be a line of its own that ends in a colon."""
    lines = [" ".join(line.split()) for line in text.splitlines() if any(map(str.isalnum, line))]
    if len(lines) > 1 and lines[0].endswith(":"):
        del lines[0]
    return _ANNOUNCEMENT.sub("", lines[0], count=1) if lines else ""


def _unquoted(text: str) -> str:
    """The text without quotation marks around all of it."""
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def _first_sentence(text: str, cut: bool) -> str:
    """The first sentence; all of the text if it has no end, or nothing if it was cut off."""
    for end in _END.finditer(text):
        if end[0] != "." or not _ABBREVIATION.search(text[: end.start()]):
            return text[: end.end()]
    return "" if cut else text
