"""`/openapi.json` and `/docs`: the description of the API as JSON and as an HTML page."""

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
    """The OpenAPI document whose server URL is the path prefix of this request."""
    return {**document(), "servers": [{"url": request.script_root or "/"}]}
