"""Sentences for the errors that pydantic finds in settings."""

from __future__ import annotations

from pydantic_core import ErrorDetails

from common.translation import Message, _

#: Sentences for pydantic's errors by their type. Placeholders are members of the error's context.
REASONS = {
    "int_parsing": _("It must be a whole number."),
    "int_from_float": _("It must be a whole number."),
    "float_parsing": _("It must be a number."),
    "finite_number": _("It must be a finite number."),
    "bool_parsing": _("It must be true or false."),
    "literal_error": _("It must be one of {expected}."),
    "greater_than": _("It must be greater than {gt}."),
    "greater_than_equal": _("It must be greater than or equal to {ge}."),
    "less_than_equal": _("It must be less than or equal to {le}."),
}


def sentence_of(error: ErrorDetails) -> Message:
    """Why a value is wrong, without the value. A validator's `ValueError` brings its own sentence."""
    context = error.get("ctx", {})
    if isinstance(cause := context.get("error"), ValueError):
        sentence: Message = cause.args[0]
        return sentence
    reason = REASONS.get(error["type"])
    if reason is None:
        return Message(error["msg"].removesuffix(".") + ".")
    values = {name: value for name, value in context.items() if isinstance(value, str | int | float)}
    if "expected" in values:
        values["expected"] = str(values["expected"]).replace(" or ", ", ")
    return Message(reason.template, None, values)
