"""A language model on a server of the test's own: its answers are checked, never obeyed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from limner.errors import InputError
from limner.workflows.converse import LanguageModel, State, Thing
from limner.workflows.converse.edits import Edit
from limner.workflows.converse.tree import Conversation
from limner.workflows.converse_request import language_model
from limner.workflows.requests import BaseChoice, ConverseRequest

REX = Thing(name="rex", noun="dog", handle="<rex>", concept="c")
TALK = Conversation(cast=(REX,)).add(State(things=(REX,), scene="on the beach"), words="rex on the beach")


class Server(HTTPServer):
    answer: bytes = b""
    status = 200
    asked: list[dict[str, Any]]
    location = ""


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            served: Any = self.server
            body = self.rfile.read(int(self.headers["Content-Length"]))
            served.asked.append({"path": self.path, **json.loads(body)})
            self.send_response(served.status)
            if served.location:
                self.send_header("Location", served.location)
            self.end_headers()
            self.wfile.write(served.answer)

        def log_message(self, *given: Any) -> None:
            pass

    made = Server(("127.0.0.1", 0), Handler)
    made.asked = []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def model(server: Server) -> LanguageModel:
    return LanguageModel(f"http://127.0.0.1:{server.server_port}/v1", "small", seconds=5)


def content(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def test_a_model_answers_in_the_edit_language(server: Server) -> None:
    server.answer = content(
        '```json\n{"edits": [{"op": "dress", "target": "rex", "value": "hat", "colour": "red"}]}\n```'
    )
    edits = model(server).read("he would look good in a red hat", TALK)
    assert edits == (Edit(op="dress", target="rex", value="hat", colour="red"),)
    (asked,) = server.asked
    assert asked["path"] == "/v1/chat/completions"
    assert (asked["model"], asked["temperature"]) == ("small", 0)
    told = json.loads(asked["messages"][1]["content"])
    assert told["words"] == "he would look good in a red hat"
    assert told["picture"]["scene"] == "on the beach"


@pytest.mark.parametrize(
    "answer",
    [
        content("I would put a hat on him."),
        content('{"edits": [{"op": "run", "value": "rm -rf /"}]}'),
        content('{"edits": [{"op": "scene", "value": "<bo> on the beach"}]}'),
        content('{"edits": [{"op": "accept", "target": "rex"}]}'),
        content('{"edits": {"op": "seed"}}'),
        content("[" * 5000),
        b"no json",
        b"{}",
        b'{"choices": [{"message": {"content": 7}}]}',
        b"x" * 1_000_002,
    ],
)
def test_any_other_answer_is_refused(server: Server, answer: bytes) -> None:
    server.answer = answer
    with pytest.raises(InputError):
        model(server).read("a hat", TALK)


def test_a_redirect_is_not_followed(server: Server) -> None:
    server.status, server.location = 302, f"http://127.0.0.1:{server.server_port}/elsewhere"
    with pytest.raises(InputError, match="cannot be reached"):
        model(server).read("a hat", TALK)
    assert [asked["path"] for asked in server.asked] == ["/v1/chat/completions"]


def test_a_model_that_fails_leaves_the_grammar(server: Server, base: Any) -> None:
    from limner.workflows.converse import begin, say

    means, talk = begin(base, steps=2)
    means.model = model(server)
    server.answer = content('{"edits": [{"op": "add", "value": "cat"}, {"op": "scene", "value": "on the beach"}]}')
    first = say(means, talk, "I fancy a feline near the waves")
    assert first.conversation.state.prompt == "a cat on the beach"
    server.answer = content("sorry")
    second = say(means, first.conversation, "in the snow")
    assert second.conversation.state.scene == "in the snow"
    assert "the words are read by the grammar instead" in second.answer


def test_urls_are_checked() -> None:
    for url in ("file:///etc/passwd", "127.0.0.1:8000", "ftp://host/", ""):
        with pytest.raises(InputError, match="http://"):
            LanguageModel(url, "small")
    with pytest.raises(InputError, match="--llm-model"):
        LanguageModel("http://127.0.0.1/v1", "")
    request = ConverseRequest(
        words="a cat", base=BaseChoice(offline=True), llm="http://127.0.0.1/v1", llm_model="small"
    )
    with pytest.raises(InputError, match="--offline"):
        language_model(request)
