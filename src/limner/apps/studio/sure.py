"""A page that asks before something is deleted, for browsers without scripts; a script asks in the page itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from starlette.responses import Response

from limner.apps.api.guard import FORMS
from limner.apps.api.uploads import read_form
from limner.errors import LimnerError

from .view import is_fragment, render, text

FIELD = "ask"
"""Field of a form with the question to ask first. A script that has asked empties it."""


class NotSure(LimnerError):
    """A form that must be confirmed before its route runs."""

    def __init__(self, question: str, fields: list[tuple[str, str]]) -> None:
        super().__init__(question)
        self.fields = fields


async def ask_first(request: Request) -> None:
    """Raise `NotSure` for a form that has a question."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method != "POST" or kind not in FORMS[:2] or is_fragment(request):
        return
    form = await read_form(request)
    if question := text(form, FIELD, most=500):
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str) and name != FIELD]
        raise NotSure(question, fields)


async def show_question(request: Request, error: Exception) -> Response:
    """The page with the question, whose button sends the same form again."""
    assert isinstance(error, NotSure)
    path = urlsplit(request.headers.get("referer", "")).path
    back = path if path.startswith("/") and not path.startswith("//") else "/"
    about: dict[str, Any] = {"question": str(error), "fields": error.fields, "action": request.url.path, "back": back}
    return render(request, "sure.html", title="Are you sure?", **about)
