"""Requests that mean harm, and requests that are sent twice."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from limner.apps.api.config import Limits
from limner.apps.jobs.tables import Answer

from .conftest import FlatPainter, Server, add_concept, png

GENERATE = "/v1/images/generations"
SCRIPT = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


def painter_of(client: TestClient) -> FlatPainter:
    painter: FlatPainter = client.app.state.services.painter  # type: ignore[attr-defined]
    return painter


# ---------------------------------------------------------------------------------------------------- idempotency keys


def test_a_request_that_is_sent_again_is_done_once(client: TestClient) -> None:
    body = {"prompt": "a ball"}
    first = client.post(GENERATE, json=body, headers=key("one"))
    second = client.post(GENERATE, json=body, headers=key("one"))
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert len(painter_of(client).orders) == 1
    other = client.post(GENERATE, json={"prompt": "a tree"}, headers=key("one"))
    assert (other.status_code, other.json()["error"]["code"]) == (409, "key_in_use")
    assert client.post(GENERATE, json=body, headers=key("two")).json()["data"] != first.json()["data"]
    assert len(painter_of(client).orders) == 2


def test_a_form_that_is_sent_again_is_the_same_request(client: TestClient) -> None:
    def send() -> Any:
        data, files = {"name": "rex", "noun": "dog"}, {"pictures": ("a.png", png())}
        return client.post("/api/subjects", data=data, files=files, headers=key("form"))

    assert send().json() == send().json()
    assert len(client.get("/api/subjects").json()["subjects"]) == 1


def test_large_answers_and_streams_are_given_again(client: TestClient) -> None:
    body = {"prompt": "x", "size": "512x512", "n": 2}
    for more in ({}, {"stream": True}, {"response_format": "file"}):
        first, second = (client.post(GENERATE, json={**body, **more}, headers=key(str(more))) for _ in range(2))
        assert len(first.content) > 500
        assert (first.content, first.headers["content-type"]) == (second.content, second.headers["content-type"])
    assert len(painter_of(client).orders) == 6


def test_a_key_belongs_to_its_user(server: Server) -> None:
    answers = [
        c.post("/api/boards", json={"name": "b"}, headers=key("k")).json()["id"] for c in (server.ann, server.bob)
    ]
    assert answers[0] != answers[1]


def test_a_failure_of_the_server_is_tried_again(client: TestClient) -> None:
    painter_of(client).fails = RuntimeError("no memory")
    assert client.post(GENERATE, json={"prompt": "x"}, headers=key("k")).status_code == 500
    painter_of(client).fails = None
    assert client.post(GENERATE, json={"prompt": "x"}, headers=key("k")).status_code == 200


def test_a_request_that_is_being_answered_is_not_begun_again(client: TestClient) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    submit = services.painter.submit

    def wait(order: Any, **about: Any) -> Any:
        second.append(client.post(GENERATE, json={"prompt": "x"}, headers=key("k")))
        return submit(order, **about)

    second: list[Any] = []
    services.painter.submit = wait
    assert client.post(GENERATE, json={"prompt": "x"}, headers=key("k")).status_code == 200
    assert (second[0].status_code, second[0].json()["error"]["code"]) == (409, "in_progress")
    with services.database.reading() as session:
        assert session.query(Answer).count() == 1


@pytest.mark.parametrize("bad", ["", "x" * 129, "tab\there"])
def test_keys_of_another_form_are_refused(client: TestClient, bad: str) -> None:
    assert client.post("/api/boards", json={"name": "b"}, headers=key(bad)).status_code == 400


# ------------------------------------------------------------------------------------------------------ names and texts


def test_scripts_in_texts_come_back_as_texts(client: TestClient) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    add_concept(services, "me", "evil", handle="<evil>", noun=SCRIPT)
    for answer in (
        client.post(GENERATE, json={"prompt": SCRIPT}),
        client.post("/api/boards", json={"name": SCRIPT[:60]}),
        client.get("/v1/models"),
        client.post(GENERATE, json={"prompt": "x", "model": SCRIPT}),
        client.get(f"/api/{SCRIPT}"),
        client.get("/api/pictures", params={"search": SCRIPT}),
    ):
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.headers["x-content-type-options"] == "nosniff"
    filename = '../../etc/passwd"\r\nX-Evil: 1<script>.png'
    answer = client.post("/api/subjects", data={"name": "rex", "noun": "dog"}, files={"pictures": (filename, png())})
    name = answer.json()["pictures"][0]["filename"]
    assert "/" not in name
    assert "\n" not in name


def test_a_picture_with_a_page_inside_is_shown_as_a_picture(client: TestClient) -> None:
    data = png() + b"<html><script>alert(1)</script>"
    row = client.post("/api/pictures", files={"picture": ("x.html", data, "text/html")}).json()
    answer = client.get(row["content"])
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    bmp = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (8, 8)).save(bmp, "BMP")
    row = client.post("/api/pictures", files={"picture": ("x.bmp", bmp.getvalue())}).json()
    answer = client.get(row["content"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "attachment" in answer.headers["content-disposition"]


# --------------------------------------------------------------------------------------------------- size and traversal


def test_a_picture_that_unpacks_to_too_much_is_refused_undecoded(client: TestClient) -> None:
    import struct

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )
    answer = client.post("/api/pictures", files={"picture": ("x.png", bomb)})
    assert answer.status_code in (400, 413)
    assert "pixels" in answer.json()["error"]["message"]


def test_uploads_are_limited_by_bytes_number_and_pixels(start: Callable[..., TestClient]) -> None:
    client = start(limits=Limits(picture_bytes=500, pictures=2, pixels=5000))
    about = {"name": "rex", "noun": "dog"}
    many = [("pictures", (f"{k}.png", png())) for k in range(3)]
    assert client.post("/api/subjects", data=about, files=many).status_code == 413
    large = {"pictures": ("a.png", png() + b"x" * 500)}
    assert client.post("/api/subjects", data=about, files=large).status_code == 413
    wide = {"pictures": ("a.png", png(size=(100, 100)))}
    assert client.post("/api/subjects", data=about, files=wide).json()["error"]["code"] == "too_many_pixels"
    more = [("pictures", (f"{k}.png", b"x")) for k in range(9)]
    assert client.post("/api/subjects", data=about, files=more).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/api/pictures/..%2f..%2fetc%2fpasswd/content",
        "/v1/images/%2e%2e%2f%2e%2e%2fsecret/content",
        "/v1/models/../../secret",
        "/v1/models/..%2f..%2fsecret",
        "//etc/passwd",
        "/%00",
    ],
)
def test_no_path_leads_to_a_file_of_the_server(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert 400 <= answer.status_code < 500
    assert "root:" not in answer.text


WRONG: list[tuple[str, str, Any]] = [
    ("POST", "/api/boards", {"name": 1}),
    ("POST", "/api/boards", {"name": ["x"]}),
    ("POST", "/api/boards", {"name": "x" * 65}),
    ("POST", "/api/boards", {"name": "x", "owner_id": "0" * 32}),
    ("POST", "/api/boards", None),
    ("POST", "/api/users", {"name": "eve", "most_jobs": -1}),
    ("POST", "/api/users", {"name": "eve", "most_bytes": 10**30}),
    ("POST", "/api/users", {"name": "eve", "role": "god"}),
    ("POST", "/api/conversations", {"title": "x" * 1000}),
    ("POST", "/api/jobs", {"kind": "shell", "payload": {}}),
    ("POST", "/api/jobs", {"kind": "learn", "payload": []}),
    ("POST", "/api/scores", {"concept": "x"}),
    ("POST", "/api/estimate", {"settings": {"steps": {"a": 1}}}),
    ("POST", "/api/estimate", {"budget": -1}),
    ("GET", "/api/pictures?limit=0", None),
    ("GET", "/api/pictures?limit=99999999999999999999", None),
    ("GET", "/api/jobs?before=x", None),
    ("GET", "/api/events?after=-1", None),
    ("GET", "/api/audit?before=99999999999999999999999", None),
    ("POST", "/login", {"token": "x"}),
    ("PUT", "/api/boards", {}),
    ("TRACE", "/api/boards", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRONG, ids=[f"{k}" for k in range(len(WRONG))])
def test_wrong_types_and_numbers_are_refused_in_words(client: TestClient, method: str, path: str, body: Any) -> None:
    answer = client.request(method, path, json=body, follow_redirects=False)
    assert 400 <= answer.status_code < 500, answer.text
    if path.startswith("/api"):
        assert answer.json()["error"]["message"]


def test_a_form_of_thousands_of_fields_is_refused(client: TestClient) -> None:
    data = {f"f{k}": "x" for k in range(3000)}
    files = {"picture": ("a.png", png())}
    assert client.post("/api/pictures", data=data, files=files).status_code == 400
    long = {"prompt": "x" * 300_000}
    assert client.post("/v1/images/edits", data=long, files={"image": ("a.png", png())}).status_code == 400
    for content in (b"", b"--b", b"--b\r\n\r\n", b"\xff" * 100):
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        assert client.post("/v1/images/edits", content=content, headers=headers).status_code == 400
    assert (
        client.post("/v1/images/edits", content=b"x", headers={"Content-Type": "multipart/form-data"}).status_code
        == 400
    )


def test_logs_hold_no_secrets(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    from limner.apps.api.logs import hide_secrets, set_up_logs

    assert hide_secrets(None, "", {"token": "limner_x", "path": "/"}) == {"token": "hidden", "path": "/"}
    set_up_logs()
    server.ann.get("/api/me")
    server.anybody.get("/api/me", headers={"Authorization": "Bearer limner_secretsecret"})
    text = "".join(capsys.readouterr())
    assert text.count('"path": "/api/me"') == 2
    assert "limner_" not in text


def test_the_servers_secret_is_its_own(client: TestClient, tmp_path: Path) -> None:
    secret = tmp_path / "data" / "secret"
    assert secret.stat().st_mode & 0o077 == 0
    assert client.get("/secret").status_code == 404
