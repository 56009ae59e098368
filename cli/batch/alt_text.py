"""Captions as alternative text, which screen readers speak in place of an image."""

from __future__ import annotations

import re
import textwrap

#: Characters of an alternative text. Some screen readers pause or stop after about so many.
MAX_LENGTH = 125
#: What a screen reader says itself before the text.
_ANNOUNCEMENT = re.compile(r"^(?:an?|the) (?:image|photo|photograph|picture) of (?=\S)", re.IGNORECASE)
#: Characters that end a sentence.
_ENDS = (".", "!", "?", "…")


def alt_text(caption: str) -> str:
    """The caption as one sentence, with a capital letter, a full stop and at most `MAX_LENGTH` characters.

    "a photo of" is left out at the beginning. A longer caption is cut after a word and ends with "…".
    """
    text = _ANNOUNCEMENT.sub("", " ".join(caption.split()))
    if text and not text.endswith(_ENDS):
        text += "."
    if len(text) > MAX_LENGTH:
        # A single word may be longer than all that is allowed.
        text = textwrap.shorten(text, MAX_LENGTH, placeholder="…").strip("…") or text[: MAX_LENGTH - 1]
        text = text.rstrip(" ,;:") + "…"
    return text[:1].upper() + text[1:]
