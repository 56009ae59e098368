"""`/openapi.json` for programs and `/docs` for people: the same description of the API."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, render_template, request

from web.api.openapi import document

blueprint = Blueprint("docs", __name__)


@blueprint.get("/openapi.json")
def description() -> Response:
    return jsonify(_document())


@blueprint.get("/docs")
def page() -> str:
    return render_template("docs.html", document=_document())


def _document() -> dict[str, Any]:
    """The description, whose paths are below that of this request."""
    return {**document(), "servers": [{"url": request.script_root or "/"}]}
