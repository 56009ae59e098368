"""The language of a response: that of the cookie `language`, else the best one of the header `Accept-Language`.

Templates write their sentences as `_("Up to {limit} MB", limit=20)` and `ngettext("{count} picture", "{count}
pictures", count)`. Responses that depend on the language say so in `Content-Language` and `Vary`.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, g, redirect, request, url_for
from markupsafe import Markup, escape
from werkzeug.datastructures import LanguageAccept
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_accept_header, parse_cookie
from werkzeug.wrappers import Response as WerkzeugResponse

from common import problems
from common.records import Failure
from common.translation import LANGUAGES, SOURCE, Message, fill, script_sentences, show

COOKIE = "language"
#: Seconds after which a browser deletes the cookie.
COOKIE_MAX_AGE = 365 * 86400

blueprint = Blueprint("language", __name__)


def preferred_language(cookie: str | None, accept_language: str | None) -> str:
    """The language for a request with these headers."""
    chosen = parse_cookie(cookie).get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    return parse_accept_header(accept_language, LanguageAccept).best_match(LANGUAGES, SOURCE)


def current_language() -> str:
    """The language of the response to this request."""
    if "language" not in g:
        g.language = preferred_language(request.headers.get("Cookie"), request.headers.get("Accept-Language"))
    language: str = g.language
    return language


@blueprint.post("/language")
def choose() -> WerkzeugResponse:
    """Store the form's `language` in a cookie, and return to the form's `page`, a path of this service.

    Raises `bad-request` for an unknown language.
    """
    language = request.form.get("language", "")
    if language not in LANGUAGES:
        raise problems.BAD_REQUEST("`language` must be one of {languages}.", languages=", ".join(LANGUAGES))
    response = redirect(_existing_page(request.form.get("page", "")), 303)
    response.set_cookie(
        COOKIE,
        language,
        max_age=COOKIE_MAX_AGE,
        path=request.script_root or "/",
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )
    return response


def _existing_page(path: str) -> str:
    """The URL of a page of this service, else that of the start page. So a request cannot choose another site."""
    try:
        endpoint, arguments = current_app.url_map.bind("").match(path, "GET")
    except HTTPException:
        endpoint, arguments = "pages.index", {}
    return url_for(endpoint, **arguments)


@blueprint.app_template_global("_")
def template_gettext(template: str, **values: Any) -> Markup:
    """A sentence of a template in the language of the response. Text and values are escaped, except `Markup` values."""
    return _safe(Message(template), values)


@blueprint.app_template_global("ngettext")
def template_ngettext(singular: str, plural: str, count: int, **values: Any) -> Markup:
    """A sentence of a template whose form depends on `count`, which is also the value of `{count}`."""
    return _safe(Message(singular, plural, {"count": count}), values)


@blueprint.app_template_filter("translated")
def template_translated(value: Message | Failure) -> str | Failure:
    """A message or a failure in the language of the response."""
    return value.translated(current_language())


@blueprint.app_context_processor
def provide_language() -> dict[str, Any]:
    """Provide the language, all languages, the sentences of the scripts, and the page to return to from `choose`."""
    language = current_language()
    return {
        "language": language,
        "languages": LANGUAGES,
        "script_sentences": script_sentences(language),
        "language_page": request.path if request.method == "GET" else "/",
    }


@blueprint.after_app_request
def add_headers(response: Response) -> Response:
    """Name the language of a response that depends on it, and what a cache must compare."""
    if "language" in g:
        response.content_language.add(g.language)
        response.vary.update(("Accept-Language", "Cookie"))
    return response


def _safe(message: Message, values: dict[str, Any]) -> Markup:
    """The translated message with its values, all of it escaped, except values that are `Markup`."""
    language = current_language()
    text = str(escape(message.translated(language)))
    shown = {name: value if isinstance(value, Markup) else show(value, language) for name, value in values.items()}
    return Markup(fill(text, {name: str(escape(value)) for name, value in shown.items()}))
