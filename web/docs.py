"""`/openapi.json` for programs and `/docs` for people: the same description of the API."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, render_template

from web.openapi import document

blueprint = Blueprint("docs", __name__)


@blueprint.get("/openapi.json")
def description() -> Response:
    return jsonify(document())


@blueprint.get("/docs")
def page() -> str:
    return render_template("docs.html", document=document())
