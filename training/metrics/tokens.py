"""Tokenizer that imitates coco-caption's Penn Treebank tokenizer for ordinary captions."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

#: coco-caption drops these tokens (pycocoevalcap, tokenizer/ptbtokenizer.py). Its tokenizer replaces a double quote
#: with one of the first three.
PUNCTUATION = frozenset(
    ['"', "''", "'", "``", "`", "-lrb-", "-rrb-", "-lcb-", "-rcb-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
#: Replacements by the Java tokenizer (Stanford CoreNLP 3.4.1): ASCII quotes, dashes, dollars and fractions. The
#: control characters are signs of Windows-1252 in text that was decoded as Latin-1.
_ASCII = {
    **dict.fromkeys("\u2018\u201b\u2039\x91", "`"),
    **dict.fromkeys("\u2019\u203a\x92", "'"),
    **dict.fromkeys("\u201c\u201d\u00ab\u00bb\x93\x94", '"'),
    **dict.fromkeys("\u2013\u2014\u2015\x96\x97", "--"),
    "\u2026": "...",
    **dict.fromkeys("\u20ac\u00a4\u20a0\x80", " $ "),
    "\u00a3": " # ",
    "\u00a2": " cents ",
    **{sign: f" {part} " for sign, part in zip("¼½¾⅓⅔", ("1/4", "1/2", "3/4", "1/3", "2/3"), strict=True)},
    "\u00ad": "",  # a soft hyphen
}
#: Hyphens that the Java tokenizer keeps inside a word and drops elsewhere.
_HYPHENS = "\u2010\u2011"
#: Signs that the Java tokenizer keeps as separate words. It drops all other signs, and everything from U+10000 on,
#: which includes most emoji. The ranges were determined by running it on every Unicode character.
_SIGN = re.compile(
    "[\u00a1-\u00f7\u037e\u0387\u0589\u05be-\u0603\u0606-\u060c\u061b\u061e-\u066a\u066d-\u06d4\u0700-\u070d"
    "\u07f6-\u07f8\u0964-\u0965\u0e3f-\u0e4f\u1fbd\u2016-\u2023\u2030-\u203b\u203e-\u2042\u2044\u2070-\u208e\u20a4"
    "\u2100-\u214f\u2155-\u215e\u2190-\u2bff\u3001-\u3002\u3012\u30fb\uff01-\uffe1\uffe5-\uffe6]"
)
#: The Java tokenizer drops combining marks above this one, including the variation selectors of emoji.
_LAST_MARK = "\u1aaf"
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_CLITIC = re.compile(r"(?<=\w)(n't|'s|'m|'re|'ve|'ll|'d)\b")
_CANNOT = re.compile(r"\bcannot\b")
_LETTERS = rf"[^\s!-/:-@\[-^`{{-~{_HYPHENS}]+"
_TOKEN = re.compile(
    "|".join(
        (
            r"n't|'(?:s|m|re|ve|ll|d)\b",
            r"[<>]?[:;=][-'o*]?[()dp\\{@|\[\]](?![a-z])",  # an emoticon such as :-)
            r"[#@][a-z]\w*",  # a hashtag or a user name
            # A word with inner hyphens, points, slashes, apostrophes or at signs, commas and colons between digits.
            rf"{_LETTERS}(?:[-./'@{_HYPHENS}]{_LETTERS}|(?<=\d)[,:]\d+)*",
            r"[?!]+|\*+|#+|@+",  # "!" is dropped, "!!" is a word
            r"[!-/:-@\[-^`{-~]",
        )
    )
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}


def tokenize(caption: str) -> list[str]:
    """Words in lower case: clitics are split off, punctuation is dropped, hyphenated words are kept."""
    ascii_signs = _BEYOND_ASCII.sub(lambda match: _replace(match[0]), caption.lower())
    spaced = _CLITIC.sub(r" \1", _CANNOT.sub("can not", ascii_signs))
    tokens = (_escape(token) for token in _TOKEN.findall(spaced))
    return [token for token in tokens if token not in PUNCTUATION]


@cache
def _replace(character: str) -> str:
    """Replacement of a non-ASCII character: itself as part of a word, a separate sign, or a space if dropped."""
    if character in _ASCII:
        return _ASCII[character]
    if character > "\uffff":
        return " "
    category = unicodedata.category(character)
    if character in _HYPHENS or category == "Nd" or category[0] == "L" or "\u02b0" <= character <= "\u036f":
        return character
    if category[0] == "M" and character <= _LAST_MARK:
        return character
    return f" {character} " if _SIGN.match(character) else " "


def _escape(token: str) -> str:
    """Replace brackets with their Penn Treebank names; inside an emoticon only round brackets."""
    if token in _BRACKETS:
        return _BRACKETS[token]
    return token.replace("(", "-lrb-").replace(")", "-rrb-")
