"""Problems in the shape of another protocol's errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify

from common.problems import Problem
from web.errors import register_handlers
from web.language import current_language


def error_sentence(problem: Problem, sentence: str) -> dict[str, Any]:
    """The form of Hugging Face, Ollama and others: `{"error": …}`."""
    return {"error": sentence}


def show_errors(blueprint: Blueprint, body: Callable[[Problem, str], dict[str, Any]] = error_sentence) -> None:
    """Answer errors of `blueprint`, and problems of access and rates on its paths, with the JSON that `body` makes.

    `body` gets the problem and its sentence in the language of the request. The status and the headers, such as
    `Retry-After`, are those of the problem.
    """

    def render(problem: Problem) -> Response:
        return jsonify(body(problem, problem.message.translated(current_language())))

    register_handlers(blueprint, render)
