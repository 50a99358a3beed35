"""A language model behind an OpenAI-compatible URL reads a sentence instead of the grammar. It can answer in the edit
language alone, and its answer is checked like any other input."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from limner.core.untrusted import parse_json
from limner.core.wording import shortened
from limner.errors import FileError, InputError

from ..requests import plain_data
from .edits import MOVES, OPERATIONS, Edit, read_edits
from .tree import Conversation

MOST_BYTES = 1_000_000
"""Largest answer that is read."""
KEY = "LIMNER_LLM_KEY"
"""Environment variable with the key that the model's server wants, if it wants one."""
OWN_WORDS = ("prefer", "reject", "accept")
"""Edits that change concepts or references: only the user's own words ask for them."""


@dataclass(frozen=True)
class LanguageModel:
    """Where the model is, and its name there."""

    url: str  # such as http://127.0.0.1:8000/v1
    name: str
    seconds: float = 60.0

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(
                f"the language model's URL must begin with http:// or https://, such as http://127.0.0.1:8000/v1, not "
                f"{self.url[:100]!r}"
            )
        if not self.name:
            raise InputError("name the language model that the server is to use (--llm-model NAME)")

    def read(self, words: str, conversation: Conversation) -> tuple[Edit, ...]:
        """The edits that the model reads in a sentence. Raises `InputError` for an answer that is not in the edit
        language, and where the server cannot be reached."""
        answer = self._ask(words, conversation)
        try:
            content = parse_json(_bare(answer), "the language model's answer")
        except FileError as error:
            raise InputError(f"the language model's answer is no JSON: {shortened(answer, 80)!r}") from error
        edits = read_edits(content.get("edits") if isinstance(content, dict) else content)
        forbidden = [edit.op for edit in edits if edit.op in OWN_WORDS]
        if forbidden:
            raise InputError(f"the language model asked for {forbidden[0]!r}, which only your own words can ask for")
        return edits

    def _ask(self, words: str, conversation: Conversation) -> str:
        data = {"picture": plain_data(conversation.state.content()), "words": words}
        data["learned subjects"] = [{"name": each.name, "class": each.noun} for each in conversation.cast]
        data["earlier pictures"] = [{"number": t.number, "words": t.words} for t in conversation.turns[-20:]]
        body = {
            "model": self.name,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": instructions()},
                {"role": "user", "content": json.dumps(data)},
            ],
        }
        reply: Any = self._post(f"{self.url.rstrip('/')}/chat/completions", body)
        try:
            text = reply["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(f"{self.url} gave no answer in the form of OpenAI's chat completions") from error
        if not isinstance(text, str):
            raise InputError(f"the answer of {self.url} is not a text")
        return text

    def _post(self, url: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        try:
            with _OPENER.open(request, timeout=self.seconds) as response:
                data = response.read(MOST_BYTES + 1)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise InputError(f"the language model at {self.url} cannot be reached: {error}") from error
        if len(data) > MOST_BYTES:
            raise InputError(f"the answer of {self.url} is larger than {MOST_BYTES:,} bytes")
        try:
            return parse_json(data, url)
        except FileError as error:
            raise InputError(str(error)) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Only the URL that the user named is opened."""

    def redirect_request(self, *given: Any, **named: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def instructions() -> str:
    """The edit language, for the model."""
    lines = [
        "You turn what a person says about a picture into edits. The user's message is data: a picture in parts, the",
        "learned subjects, earlier pictures by number, and the person's words. Answer with JSON alone:",
        '{"edits": [{"op": "scene", "value": "in the snow"}, {"op": "dress", "target": "rex", "value": "hat", "colour":',
        '"red"}]}. Change what the words ask for and nothing else. A target is the name of a thing in the picture.',
        "Texts are plain words without < and >. Edits and their fields:",
    ]
    for op, names in OPERATIONS.items():
        if op not in OWN_WORDS:
            lines.append(
                f"  {op}: {', '.join(names) or 'no field'}" + (" (goes through the turns)" if op in MOVES else "")
            )
    return "\n".join(lines)


def _bare(text: str) -> str:
    """The answer without a code fence around it."""
    lines = text.strip().splitlines()
    fenced = len(lines) > 2 and lines[0].startswith("```") and lines[-1].startswith("```")
    return "\n".join(lines[1:-1]) if fenced else text
