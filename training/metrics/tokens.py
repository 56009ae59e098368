"""Words as coco-caption's Penn Treebank tokenizer cuts them, for ordinary captions."""

from __future__ import annotations

import re

#: coco-caption drops these after tokenizing (pycocoevalcap, tokenizer/ptbtokenizer.py). Its tokenizer makes of a
#: double quote one of the first three.
PUNCTUATION = frozenset(
    ['"', "''", "'", "``", "`", "-lrb-", "-rrb-", "-lcb-", "-rcb-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
_CLITIC = re.compile(r"(?<=\w)(n't|'s|'m|'re|'ve|'ll|'d)\b")
_CANNOT = re.compile(r"\bcannot\b")
# A word with inner hyphens, points, slashes or apostrophes, commas and colons between digits; or one mark.
_TOKEN = re.compile(r"n't|'(?:s|m|re|ve|ll|d)\b|\w+(?:[-./']\w+|(?<=\d)[,:]\d+)*|[^\w\s]")
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}


def tokenize(caption: str) -> list[str]:
    """Lower case, clitics split off, punctuation dropped, hyphenated words whole."""
    spaced = _CLITIC.sub(r" \1", _CANNOT.sub("can not", caption.lower().replace("\u2019", "'")))
    tokens = (_BRACKETS.get(token, token) for token in _TOKEN.findall(spaced))
    return [token for token in tokens if token not in PUNCTUATION]
