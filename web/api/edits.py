"""`PATCH /v1/jobs`: captions that people write in place of the model's."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from flask import Blueprint, Response, jsonify, request

from common import problems
from common.jobs import is_id
from common.translation import Message, _
from web.bodies import job_body
from web.services import get_services

#: Characters of an edited caption. Alternative texts have a few hundred, descriptions of photographs rarely more.
MAX_CAPTION_LENGTH = 2000
#: Jobs whose captions one request changes.
MAX_EDITS = 500

#: White space that ends up in a caption by pasting: a caption is one line.
_WHITE_SPACE = re.compile("[ \t\r\n\u2028\u2029]+")
#: Characters that no text has and XML cannot contain.
_NONCHARACTERS = frozenset("\ufffe\uffff")

blueprint = Blueprint("edits", __name__, url_prefix="/v1/jobs")


@blueprint.patch("/<job_id>")
def one(job_id: str) -> Response:
    """Set the caption of a job, or remove the edited one."""
    services = get_services()
    services.ledger.get(job_id)
    body = _body(
        "caption",
        _(
            "{example}, or {reset} for the model's caption again",
            example='{"caption": "a dog"}',
            reset='{"caption": null}',
        ),
    )
    services.ledger.edit({job_id: _caption(body)})
    return jsonify(job_body(services.ledger.get(job_id)))


@blueprint.patch("")
def many() -> Response:
    """Set or remove the captions of several jobs: of all of them, or of none if one cannot be changed."""
    captions = _body(
        "captions",
        _("{example}, with up to {limit} jobs", example='{"captions": {"<job id>": "a dog"}}', limit=MAX_EDITS),
    )
    if not isinstance(captions, dict) or not 1 <= len(captions) <= MAX_EDITS or not all(map(is_id, captions)):
        raise problems.BAD_REQUEST(
            "`captions` is an object with the ids of 1 to {limit} jobs as names.", limit=MAX_EDITS
        )
    jobs = get_services().ledger.edit({job_id: _caption(caption) for job_id, caption in captions.items()})
    return jsonify({"jobs": [job_body(job) for job in jobs]})


def _body(member: str, example: Message) -> Any:
    """The only member of the JSON body; raises `bad-request`."""
    body: Any = request.get_json(silent=True)
    if not isinstance(body, dict) or body.keys() != {member}:
        raise problems.BAD_REQUEST(
            "Send the header Content-Type: application/json and a body such as {example}.", example=example
        )
    return body[member]


def _caption(caption: Any) -> str | None:
    """A caption on one line, None to remove the edited one; raises `bad-request`."""
    if caption is None:
        return None
    if not isinstance(caption, str):
        raise problems.BAD_REQUEST("A caption is a text, or null to remove the edited caption.")
    text = _WHITE_SPACE.sub(" ", caption).strip()
    if not 0 < len(text) <= MAX_CAPTION_LENGTH:
        raise problems.BAD_REQUEST(
            "A caption has 1 to {limit} characters. Send null to remove the edited caption.", limit=MAX_CAPTION_LENGTH
        )
    if any(unicodedata.category(character) in ("Cc", "Cs") or character in _NONCHARACTERS for character in text):
        raise problems.BAD_REQUEST("A caption has no control characters and no other characters that are not text.")
    return text
