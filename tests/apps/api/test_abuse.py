"""Requests of users who are logged in and mean harm, and faults that one user's data must not cause for others."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from limner.apps.api import uploads
from limner.apps.api.config import Limits
from limner.apps.api.events import _messages
from limner.apps.api.idempotency import request_hash
from limner.apps.api.routes import concepts
from limner.apps.api.routes.common import store
from limner.apps.api.services import read_secret
from limner.apps.jobs import users
from limner.apps.jobs.tables import Job, Subject, Token
from limner.errors import FileError

from .conftest import ADDRESS, Server, add_concept, png

DEEP: Any = "x"
for _ in range(200):
    DEEP = [DEEP]


def post(client: TestClient, kind: str, payload: dict[str, Any]) -> Any:
    body = json.dumps({"kind": kind, "payload": payload})
    return client.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    "field",
    [
        {"title": "half of a character \ud800"},
        {"title": "null \0"},
        {"title": ["x"]},
        {"title": float("nan")},
        {"regions": {"\ud800": "left"}},
        {"concepts": 5},
        {"guidance": float("inf")},
    ],
    ids=str,
)
def test_a_payload_that_no_page_could_show_is_refused(client: TestClient, field: dict[str, Any]) -> None:
    answer = post(client, "paint", {"prompts": ["a ball"], **field})
    assert answer.status_code == 400, answer.text
    assert client.get("/api/jobs").json()["jobs"] == []


def test_a_setting_that_runs_code_is_refused_also_where_the_method_is_chosen_later(client: TestClient) -> None:
    files = {"pictures": ("a.png", png())}
    subject = client.post("/api/subjects", data={"name": "rex", "noun": "dog"}, files=files).json()["id"]
    answer = post(client, "learn", {"subject": subject, "settings": {"judge": "/tmp/evil.py:run"}})
    assert answer.status_code == 400
    assert "only its operator" in answer.text


@pytest.mark.parametrize("field", ["concept", "parent"])
def test_fields_that_no_workflow_reads_are_checked_too(client: TestClient, field: str) -> None:
    concept = add_concept(client.app.state.services, "me")  # type: ignore[attr-defined]
    more = {"concept": {"id": concept, "x": DEEP}, "parent": "../../etc/passwd"}
    answer = post(client, "check", {"concept": {"id": concept}, field: more[field]})
    assert answer.status_code == 400, answer.text


# --------------------------------------------------------------------------------------------------------------- logins


def log_in(server: Server, secret: str) -> tuple[int, str]:
    """Status of the login, and the cookie's secret."""
    browser = TestClient(server.app, base_url=ADDRESS)
    answer = browser.post("/login", data={"token": secret}, headers={"Origin": ADDRESS}, follow_redirects=False)
    return answer.status_code, browser.cookies.get("limner_login") or ""


def test_a_stolen_cookie_opens_no_login_that_outlives_its_token(server: Server) -> None:
    _, cookie = log_in(server, server.tokens["ann"])
    status, further = log_in(server, cookie)
    assert (status, further) == (401, "")


def test_the_command_that_revokes_a_token_ends_its_logins(server: Server) -> None:
    _, cookie = log_in(server, server.tokens["ann"])
    browser = TestClient(server.app, base_url=ADDRESS, cookies={"limner_login": cookie})
    assert browser.get("/api/me").status_code == 200
    with server.services.database.reading() as session:
        ann = browser.get("/api/me").json()["id"]
        token = session.scalars(select(Token.id).where(Token.user_id == ann, Token.label == "")).one()
    users.revoke_token(server.services.database, token)
    assert browser.get("/api/me").status_code == 401


def test_wrong_tokens_lock_out_nobody_else_at_the_address(start: Callable[..., TestClient]) -> None:
    client = start(login="tokens", limits=Limits(failed_logins=3))
    services = client.app.state.services  # type: ignore[attr-defined]
    right = users.create_token(services.database, users.create_user(services.database, "ann").id)
    wrong = {"Authorization": "Bearer limner_guess"}
    assert [client.get("/api/me", headers=wrong).status_code for _ in range(5)] == [401, 401, 401, 429, 429]
    assert client.get("/api/me", headers={"Authorization": f"Bearer {right}"}).status_code == 200
    assert client.post("/login", data={"token": right}, follow_redirects=False).status_code == 303


@pytest.mark.parametrize("content", [b"", b"short"], ids=["empty", "cut"])
def test_a_secret_that_was_not_written_whole_is_made_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    secret = read_secret(path)
    assert len(secret) == 32
    assert read_secret(path) == secret
    assert path.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [path]


# --------------------------------------------------------------------------------------------------------------- memory


def peak(work: Callable[[], object]) -> int:
    """Bytes that work takes at most, beside those before it."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_photos_of_one_form_are_not_kept_decoded() -> None:
    data = png(size=(1000, 1000))
    kept = [uploads.check_picture(data, "a.png", Limits()) for _ in range(3)]
    assert not any(isinstance(value, Image.Image) for each in kept for value in vars(each).values())


def test_a_short_boundary_does_not_multiply_a_body() -> None:
    body = b"a" * 2_000_000
    headers = Headers({"content-type": "multipart/form-data; boundary=a"})
    assert peak(lambda: request_hash(headers, {"query_string": b""}, body)) < len(body)


def test_a_file_whose_header_is_a_bomb_is_not_parsed() -> None:
    header = b'{"a":[' + b"[]," * 3_000_000 + b"[]]}"
    data = len(header).to_bytes(8, "little") + header
    with pytest.raises(FileError, match="at most"):
        concepts.check_safetensors(data)
    deep = b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"
    with pytest.raises(FileError, match="deep"):
        concepts.check_safetensors(len(deep).to_bytes(8, "little") + deep)


def test_made_up_methods_do_not_fill_the_metrics(client: TestClient) -> None:
    for number in range(30):
        client.request(f"X{number}", "/api/me")
    text = client.get("/metrics").text
    assert 'method="other"' in text
    assert 'method="X' not in text


# --------------------------------------------------------------------------------------------------- the same content


def test_two_users_may_send_the_same_picture(server: Server) -> None:
    """Masks are often equal: white in the same rectangle."""
    for name, client in server.clients.items():
        with server.services.database.reading() as session:
            user = users.user_named(session, name)
        sha256 = store(server.services, user, png("white"), "image/png")
        assert post(client, "paint", {"prompts": ["x"], "onto": sha256, "where": sha256}).status_code == 202


def test_two_users_may_import_the_same_file(server: Server) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    data = len(header).to_bytes(8, "little") + header + b"\0\0\0\0"
    for client in (server.ann, server.bob):
        answer = client.post("/api/concepts/import", files={"file": ("a.safetensors", data)})
        assert answer.status_code == 202, answer.text


# ---------------------------------------------------------------------------------------------------- faults of others


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OperationalError("x", {}, Exception("database is locked")), 503, "database_busy"),
        (OSError(28, "No space left on device", "/srv/files/ab"), 507, "disk_full"),
    ],
    ids=["busy", "full"],
)
def test_a_busy_database_and_a_full_disk_have_answers_of_their_own(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(client.app.state.services.files, "put", fail)  # type: ignore[attr-defined]
    answer = client.post("/api/pictures", files={"picture": ("m.png", png())})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "/srv" not in answer.text


@pytest.mark.parametrize(
    "path", ["/pictures/%00/small", "/photos/%00/small", "/api/jobs/%00/events", "/gallery?board=%00", "/gallery?q=%00"]
)
def test_a_null_never_reaches_the_database(client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """PostgreSQL fails at a text with a null."""
    from sqlalchemy import event

    engine = client.app.state.services.database.engine  # type: ignore[attr-defined]
    sent: list[str] = []

    def note(*about: Any) -> None:
        sent.append(str(about[3]))

    event.listen(engine, "before_cursor_execute", note)
    assert client.get(path).status_code in (200, 404)
    assert not [each for each in sent if "\\x00" in each]


def test_a_job_that_is_over_is_deleted_with_its_events(server: Server) -> None:
    number = post(server.ann, "paint", {"prompts": ["a ball"]}).json()["id"]
    assert server.ann.delete(f"/api/jobs/{number}").status_code == 400
    assert server.ann.post(f"/api/jobs/{number}/cancel").status_code == 200
    assert server.bob.delete(f"/api/jobs/{number}").status_code == 404
    assert server.ann.delete(f"/api/jobs/{number}").json() == {"deleted": number}
    assert server.ann.get("/api/jobs").json()["jobs"] == []


def test_failed_jobs_that_are_tried_again_count_for_the_quota(server: Server) -> None:
    database = server.services.database
    first = post(server.ann, "paint", {"prompts": ["a ball"]}).json()["id"]
    with database.session() as session:
        session.get_one(Job, first).state = "failed"
        users.user_named(session, "ann").most_jobs = 1
    assert post(server.ann, "paint", {"prompts": ["a ball"]}).status_code == 202
    assert server.ann.post(f"/api/jobs/{first}/resume").status_code == 429


def test_what_was_not_done_is_not_in_the_audit(server: Server) -> None:
    number = post(server.ann, "paint", {"prompts": ["a ball"]}).json()["id"]
    assert server.ann.post(f"/api/jobs/{number}/sample").status_code == 400
    actions = [row["action"] for row in server.root.get("/api/audit").json()["audit"]]
    assert "job.sample" not in actions


def test_a_deleted_subject_leaves_no_caption_and_no_name_of_a_person(server: Server) -> None:
    data = {"name": "ada", "noun": "woman", "kind": "face", "person": "Ada L.", "captions": "Ada at home"}
    files = {"pictures": ("a.png", png())}
    number = server.ann.post("/api/subjects", data=data, files=files).json()["id"]
    assert server.ann.delete(f"/api/subjects/{number}").status_code == 200
    with server.services.database.reading() as session:
        row = session.get_one(Subject, number)
        assert (row.person, row.report, list(row.pictures)) == ("", {}, [])


def test_logins_that_are_over_do_not_pile_up(server: Server) -> None:
    for _ in range(3):
        _, cookie = log_in(server, server.tokens["ann"])
        browser = TestClient(server.app, base_url=ADDRESS, cookies={"limner_login": cookie})
        page = browser.get("/settings").text
        token = page.partition('name="form_token" value="')[2].partition('"')[0]
        assert browser.post("/logout", data={"form_token": token}, follow_redirects=False).status_code == 303
    with server.services.database.reading() as session:
        labels = session.scalars(select(Token.label).where(Token.label.startswith("browser login"))).all()
    assert len(labels) == 1


def test_streams_that_are_asked_for_at_the_same_moment_keep_to_the_limit(client: TestClient) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    services.streams[services.me.id] = services.config.limits.event_streams

    async def read() -> list[Any]:
        request: Any = None
        return [each async for each in _messages(request, services, services.me, "", 0)]

    assert anyio.run(read) == []
    assert services.streams[services.me.id] == services.config.limits.event_streams
