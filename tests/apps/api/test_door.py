"""The door of the server: login, origins, names, limits, errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from limner.apps.api.config import Config, Limits
from limner.apps.api.errors import without_paths
from limner.apps.jobs.tables import Token, User, now
from limner.errors import InputError

from .conftest import ADDRESS, Server

START = """
import sys
from pathlib import Path
from limner.apps.api.app import create_app
from limner.apps.api.config import Config
from starlette.testclient import TestClient
with TestClient(create_app(Config(data=Path(sys.argv[1]), quiet=True)), base_url="http://127.0.0.1") as client:
    assert client.get("/healthz").status_code == 200
heavy = {"torch", "diffusers", "transformers", "numpy"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""


def test_a_server_is_up_without_torch(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", START, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_one_user_needs_no_login_and_is_an_administrator(client: TestClient) -> None:
    client.get("/nothing")
    text = client.get("/metrics").text
    assert 'limner_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert 'limner_painter{count="painted"} 0.0' in text
    assert client.get("/readyz").json() == {"ok": True}


def test_a_server_for_all_addresses_needs_a_login() -> None:
    assert Config(data=Path("x"), host="0.0.0.0").needs_login
    assert not Config(data=Path("x")).needs_login
    assert Config(data=Path("x"), behind_proxy=True).needs_login  # its clients are other machines
    assert Config(data=Path("x"), hosts=("studio.example.org",)).needs_login
    with pytest.raises(InputError, match="loopback"):
        Config(data=Path("x"), host="192.168.1.2", login="none")


def test_nobody_gets_in_without_a_valid_token(server: Server) -> None:
    answer = server.anybody.get("/v1/models")
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["www-authenticate"] == "Bearer"
    wrong = server.anybody.get("/v1/models", headers={"Authorization": "Bearer limner_wrong"})
    assert wrong.status_code == 401
    assert server.anybody.get("/healthz").status_code == 200
    page = server.anybody.get("/", follow_redirects=False)
    assert (page.status_code, page.headers["location"]) == (303, "/login")


def test_revoked_tokens_and_disabled_users_are_refused_at_once(server: Server) -> None:
    assert server.ann.get("/nothing").status_code == 404
    with server.services.database.session() as session:
        session.execute(update(User).where(User.name == "ann").values(disabled=True))
        bob = session.scalar(select(User.id).where(User.name == "bob"))
        session.execute(update(Token).where(Token.user_id == bob).values(revoked=now()))
    assert server.ann.get("/api/nothing").status_code == 401
    assert server.bob.get("/api/nothing").status_code == 401


def test_wrong_tokens_are_refused_for_a_while(start: Callable[..., TestClient], tight: Limits) -> None:
    client = start(login="tokens", limits=tight)
    wrong = {"Authorization": "Bearer limner_guess"}
    codes = [client.get("/api/nothing", headers=wrong).status_code for _ in range(5)]
    assert codes == [401, 401, 401, 429, 429]


def log_in(server: Server, name: str) -> TestClient:
    browser = TestClient(server.app, base_url=ADDRESS)
    answer = browser.post(
        "/login", data={"token": server.tokens[name]}, headers={"Origin": ADDRESS}, follow_redirects=False
    )
    assert answer.status_code == 303, answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert server.tokens[name].lower() not in cookie
    return browser


def test_a_browser_logs_in_and_out(server: Server) -> None:
    browser = log_in(server, "root")
    assert browser.get("/metrics").status_code == 200
    kept = dict(browser.cookies)
    token = browser.get("/settings").text.partition('name="form_token" value="')[2].partition('"')[0]
    assert browser.post("/logout", data={"form_token": token}, follow_redirects=False).status_code == 303
    assert TestClient(server.app, base_url=ADDRESS, cookies=kept).get("/api/me").status_code == 401
    assert server.anybody.post("/login", data={"token": "limner_wrong"}).status_code == 401
    with server.services.database.reading() as session:
        assert all(len(token.sha256) == 64 for token in session.scalars(select(Token)))


def test_a_login_page_leads_to_this_server_only(server: Server) -> None:
    for target, led in (("/paint", "/paint"), ("//evil.example", "/"), ("https://evil.example", "/"), ("/\\e", "/")):
        data = {"token": server.tokens["ann"], "next": target}
        assert server.anybody.post("/login", data=data, follow_redirects=False).headers["location"] == led


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": ADDRESS},
    ],
)
def test_pages_of_other_sites_change_nothing(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/logout", headers=headers)
    assert (answer.status_code, "another site" in answer.text) == (403, True)


def test_a_browsers_form_needs_its_token(client: TestClient) -> None:
    same = {"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/logout", headers=same).status_code == 403
    token = form_token_of(client)
    assert client.post("/logout", headers=same | {"X-Form-Token": token}, follow_redirects=False).status_code == 303
    sent = client.post("/logout", headers=same, data={"form_token": token}, follow_redirects=False)
    assert sent.status_code == 303
    wrong = client.post("/logout", headers=same, data={"form_token": "é" + token[1:]})
    assert wrong.status_code == 403


def form_token_of(client: TestClient) -> str:
    from types import SimpleNamespace as Some

    from limner.apps.api.guard import form_token

    app = client.app
    return form_token(Some(app=app, state=Some(user=app.state.services.me, login="")))  # type: ignore[arg-type, attr-defined]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "[::2]", "", "127.0.0.1.evil.example"])
def test_other_names_of_the_server_are_refused(client: TestClient, host: str) -> None:
    answer = client.get("/healthz", headers={"Host": host})
    assert answer.status_code == 421
    assert client.get("/healthz", headers={"Host": "localhost:1"}).status_code == 200


def test_a_user_who_sends_too_much_waits(start: Callable[..., TestClient], tight: Limits) -> None:
    client = start(limits=tight)
    answers = [client.get("/nothing") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [404] * 5 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_large_bodies_are_refused_with_and_without_a_length(start: Callable[..., TestClient], tight: Limits) -> None:
    client = start(limits=tight)

    def parts() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 1000

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/login", content=b"x" * 3000).status_code == 413
    assert client.post("/login", content=parts(), headers=form).status_code == 413
    upload = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/login", content=parts(), headers=upload).status_code in (400, 413)
    assert client.post("/login", headers={"Content-Length": "-5"}).status_code == 400


def test_every_answer_has_the_headers_that_limit_a_browser(client: TestClient) -> None:
    for path in ("/healthz", "/nothing", "/api/nothing"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_errors_have_one_shape_and_name_no_path(client: TestClient) -> None:
    answer = client.get("/api/<script>alert(1)</script>")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert client.get("/<script>alert(1)</script>").text.count("<script>") == 0
    assert client.delete("/healthz").json()["error"]["code"] == "method_not_allowed"
    assert without_paths("/srv/data/files/ab/cdef is damaged") == "cdef is damaged"


def test_a_fault_is_answered_with_an_id_and_no_traceback(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("secret detail")

    client.app.add_api_route("/api/fail", fail)  # type: ignore[attr-defined]
    answer = client.get("/api/fail")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "id" in answer.json()["error"]["message"]
