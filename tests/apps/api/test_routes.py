"""The routes under /api: what is created can be read, changed and deleted, by its owner alone."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from limner.apps.api.hardware import read_gpu
from limner.apps.jobs import queue
from limner.apps.jobs.tables import Conversation, Job, Turn
from limner.apps.jobs.users import user_named

from .conftest import Server, add_concept, png


def create_subject(client: TestClient, name: str = "rex", **more: Any) -> dict[str, Any]:
    files = [
        ("pictures", ("a.png", png("red"))),
        ("pictures", ("b.jpg", png("blue"))),
        ("masks", ("a.png", png("white"))),
    ]
    data = {"name": name, "noun": "dog", "kind": "pet", "captions": ["<rex> sits", ""], **more}
    answer = client.post("/api/subjects", data=data, files=files)
    assert answer.status_code == 201, answer.text
    subject: dict[str, Any] = answer.json()
    return subject


def test_a_subject_has_pictures_captions_and_masks(client: TestClient) -> None:
    subject = create_subject(client)
    first, second = subject["pictures"]
    assert (subject["handle"], first["caption"], first["filename"], second["mask"]) == (
        "<rex>",
        "<rex> sits",
        "a.png",
        None,
    )
    assert client.get(first["content"]).content == png("red")
    assert client.get(first["mask"]).content == png("white")
    assert client.get(first["thumbnail"], params={"size": 64}).headers["content-type"] == "image/webp"
    place = f"/api/subjects/{subject['id']}"
    assert (
        client.patch(f"{place}/pictures/{second['id']}", json={"caption": "new", "in_training": False}).json()[
            "in_training"
        ]
        is False
    )
    assert client.put(f"{place}/pictures/{second['id']}/mask", files={"mask": ("m.png", png("white"))}).json()["mask"]
    assert client.delete(f"{place}/pictures/{second['id']}/mask").json()["mask"] is None
    assert len(client.post(f"{place}/pictures", files={"pictures": ("c.png", png("green"))}).json()["pictures"]) == 3
    client.delete(f"{place}/pictures/{first['id']}").raise_for_status()
    assert client.patch(place, json={"noun": "puppy"}).json()["noun"] == "puppy"
    assert [each["id"] for each in client.get("/api/subjects").json()["subjects"]] == [subject["id"]]
    job = client.post(f"{place}/report").json()["job"]
    assert client.get(f"/api/jobs/{job}").json()["payload"] == {"subject": subject["id"]}
    client.delete(place).raise_for_status()
    assert client.get(place).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"name": "dog"},
        {"name": "../../x y"},
        {"name": ""},
        {"noun": ""},
        {"kind": "ghost"},
        {"captions": ["one"]},
        {"name": "a\0b"},
    ],
)
def test_a_subject_that_cannot_be_taught_is_refused(client: TestClient, change: dict[str, Any]) -> None:
    files = [("pictures", ("a.png", png("red"))), ("pictures", ("b.jpg", png("blue")))]
    answer = client.post("/api/subjects", data={"name": "rex", "noun": "dog", **change}, files=files)
    assert answer.status_code == 400, answer.text
    assert client.get("/api/subjects").json()["subjects"] == []


def test_files_that_are_no_pictures_are_refused(client: TestClient) -> None:
    for data in (b"", b"<svg onload=alert(1)>", b"%!PS", png()[:40]):
        answer = client.post("/api/subjects", data={"name": "rex", "noun": "dog"}, files={"pictures": ("x.png", data)})
        assert answer.status_code == 400, data
    nothing = client.post("/api/subjects", data={"name": "rex", "noun": "dog"}, files={"pictures": ("", b"")})
    assert nothing.status_code == 400


def test_other_users_things_do_not_exist(server: Server) -> None:
    subject = create_subject(server.ann)
    concept = add_concept(server.services, "ann")
    picture = server.ann.post("/api/pictures", files={"picture": ("a.png", png())}).json()["id"]
    board = server.ann.post("/api/boards", json={"name": "best"}).json()["id"]
    talk = server.ann.post("/api/conversations", json={}).json()["id"]
    job = server.ann.post(f"/api/subjects/{subject['id']}/report").json()["job"]
    token = server.ann.get("/api/me/tokens").json()["tokens"][0]["id"]
    places = [f"/api/subjects/{subject['id']}", subject["pictures"][0]["content"], f"/api/concepts/{concept}"]
    places += [f"/api/concepts/{concept}/file", f"/api/pictures/{picture}", f"/api/pictures/{picture}/content"]
    places += [
        f"/api/conversations/{talk}",
        f"/api/jobs/{job}",
        f"/api/jobs/{job}/events",
        f"/v1/images/{picture}/content",
    ]
    for place in places:
        assert server.bob.get(place).status_code == 404, place
        if not place.endswith("events"):
            assert server.ann.get(place).status_code == 200, place
    changes: list[tuple[str, str, Any]] = [
        ("PATCH", f"/api/subjects/{subject['id']}", {"noun": "cat"}),
        ("DELETE", f"/api/subjects/{subject['id']}", None),
        ("PATCH", f"/api/concepts/{concept}", {"name": "mine"}),
        ("DELETE", f"/api/concepts/{concept}", None),
        ("POST", f"/api/concepts/{concept}/shares", {"user": "bob"}),
        ("POST", f"/api/concepts/{concept}/export", {"to": "kohya"}),
        ("PATCH", f"/api/pictures/{picture}", {"favourite": True}),
        ("DELETE", f"/api/pictures/{picture}", None),
        ("PATCH", f"/api/boards/{board}", {"name": "mine"}),
        ("PUT", f"/api/boards/{board}/pictures/{picture}", None),
        ("DELETE", f"/api/boards/{board}", None),
        ("POST", f"/api/jobs/{job}/cancel", None),
        ("POST", f"/api/jobs/{job}/move", {}),
        ("POST", f"/api/jobs/{job}/again", None),
        ("POST", f"/api/conversations/{talk}/turns", {"words": "hello"}),
        ("DELETE", f"/api/conversations/{talk}", None),
        ("DELETE", f"/api/me/tokens/{token}", None),
        ("POST", "/api/scores", {"concept": concept}),
    ]
    for method, place, body in changes:
        answer = server.bob.request(method, place, json=body)
        assert answer.status_code == 404, (place, answer.text)
    mine = server.bob.post("/api/boards", json={"name": "b"}).json()["id"]
    assert server.bob.put(f"/api/boards/{mine}/pictures/{picture}").status_code == 404
    for listing in ("subjects", "concepts", "pictures", "jobs", "conversations"):
        assert server.bob.get(f"/api/{listing}").json()[listing] == []


@pytest.mark.parametrize("number", ["0" * 32, "x", "..%2f..%2fetc", "' or 1=1", "%00", "a" * 5000])
def test_ids_that_are_none_are_not_found(client: TestClient, number: str) -> None:
    for noun in ("subjects", "concepts", "pictures", "jobs", "conversations"):
        assert client.get(f"/api/{noun}/{number}").status_code == 404, noun


def test_a_share_lets_another_user_see_a_concept_but_not_take_or_change_it(server: Server) -> None:
    number = add_concept(server.services, "ann")
    server.ann.post(f"/api/concepts/{number}/shares", json={"user": "bob"}).raise_for_status()
    seen = server.bob.get(f"/api/concepts/{number}").json()
    assert (seen["shared"], seen["job"]) == (True, None)
    assert server.bob.get(f"/api/concepts/{number}/file").status_code == 404
    assert "header" not in seen
    assert server.ann.get(f"/api/concepts/{number}/file").content == b"concept rex of ann"
    assert server.bob.delete(f"/api/concepts/{number}").status_code == 404
    assert server.bob.post(f"/api/concepts/{number}/shares", json={"user": "root"}).status_code == 404
    assert server.bob.patch(f"/api/concepts/{number}", json={"name": "x"}).status_code == 404
    assert server.ann.get(f"/api/concepts/{number}/shares").json() == {"users": ["bob"]}
    assert server.ann.post(f"/api/concepts/{number}/shares", json={"user": "nobody"}).status_code == 404
    for _ in range(2):
        server.ann.post(f"/api/concepts/{number}/shares", json={"user": "bob"}).raise_for_status()
    assert server.ann.delete(f"/api/concepts/{number}/shares/bob").json() == {"users": []}
    assert server.ann.delete(f"/api/concepts/{number}/shares/bob").status_code == 404
    audit = [row for row in server.root.get("/api/audit").json()["audit"] if row["about"] == number]
    assert [row["action"] for row in audit[:3]] == ["concept.unshare", "concept.download", "concept.share"]
    assert audit[0]["address"]


def test_a_concept_is_renamed_downloaded_and_deleted(client: TestClient) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    number = add_concept(
        services, "me", states=[{"done": 5, "sha256": services.files.put(b"early"), "scores": {"H": 1}}]
    )
    add_concept(services, "me", "bo")
    assert client.patch(f"/api/concepts/{number}", json={"name": "bo"}).status_code == 409
    assert client.patch(f"/api/concepts/{number}", json={"name": "max"}).json()["name"] == "max"
    file = client.get(f"/api/concepts/{number}/file")
    assert file.headers["content-disposition"] == 'attachment; filename="max.safetensors"'
    assert client.post(f"/api/concepts/{number}/state", json={"done": 6}).status_code == 400
    assert client.post(f"/api/concepts/{number}/state", json={"done": 5}).json()["scores"] == {"H": 1}
    assert client.get(f"/api/concepts/{number}/file").content == b"early"
    for kind, body in (("export", {"to": "kohya"}), ("publish", {"to": "me/rex"}), ("check", None)):
        assert client.post(f"/api/concepts/{number}/{kind}", json=body).status_code == 202
    client.delete(f"/api/concepts/{number}").raise_for_status()
    assert client.get(f"/api/concepts/{number}").status_code == 404
    assert client.get("/v1/models/max").status_code == 404


def test_only_safetensors_are_taken_in(client: TestClient) -> None:
    header = json.dumps({"__metadata__": {}}).encode()
    good = len(header).to_bytes(8, "little") + header
    for data in (b"", b"\x80\x04pickle" * 9, (10**9).to_bytes(8, "little") + b"{}", good[:-1]):
        answer = client.post("/api/concepts/import", files={"file": ("x.pt", data)})
        assert answer.json()["error"]["code"] == "invalid_file", data[:10]
    assert client.post("/api/concepts/import", files={"file": ("x.safetensors", good)}).status_code == 202


# ----------------------------------------------------------------------------------------------------------------- jobs


def test_pictures_are_protected(client: TestClient) -> None:
    methods = client.get("/api/protections").json()["protections"]
    assert {row["name"] for row in methods} >= {"photoguard", "mist"}
    place = f"/api/subjects/{create_subject(client)['id']}/protect"
    number = client.post(place, json={"method": "mist", "settings": {"steps": 2}}).json()["job"]
    job = client.get(f"/api/jobs/{number}").json()
    assert (job["kind"], job["payload"]["method"], job["payload"]["settings"]) == ("protect", "mist", {"steps": 2})
    assert client.post(place, json={}).status_code == 202
    assert client.post(place, json={"method": "dreambooth"}).status_code in (400, 404)
    assert client.post(f"/api/subjects/{'0' * 32}/protect", json={}).status_code == 404


def test_jobs_wait_move_pause_and_end(client: TestClient) -> None:
    subject = create_subject(client)
    place = f"/api/subjects/{subject['id']}/report"
    first, second = (client.post(place).json()["job"] for _ in range(2))
    client.post(f"/api/jobs/{second}/move", json={"before": first}).raise_for_status()
    claimed = queue.claim(client.app.state.services.database, worker="w")  # type: ignore[attr-defined]
    assert claimed is not None
    assert claimed.id == second
    assert client.post(f"/api/jobs/{second}/sample").json()["wishes"] == {"sample": 1}
    assert client.post(f"/api/jobs/{first}/pause").json()["state"] == "paused"
    assert client.post(f"/api/jobs/{first}/resume").json()["state"] == "queued"
    assert client.post(f"/api/jobs/{first}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/api/jobs/{first}/cancel").status_code == 400
    assert client.post(f"/api/jobs/{first}/dance").status_code == 400
    assert client.post(f"/api/jobs/{first}/again").status_code == 202
    assert len(client.get("/api/jobs", params={"state": "queued,running"}).json()["jobs"]) == 2


def test_a_job_that_asks_is_answered_by_its_owner(server: Server) -> None:
    client, database = server.clients["ann"], server.services.database
    subject = create_subject(client)
    number = client.post(f"/api/subjects/{subject['id']}/report").json()["job"]
    assert client.post(f"/api/jobs/{number}/choose", json={"numbers": [0]}).status_code == 400
    question = {"folder": "page", "keep": 1, "pictures": ["0" * 32, "1" * 32]}
    with database.session() as session:
        row = session.get_one(Job, number)
        row.state, row.progress = "paused", {"choice": question}
    assert client.get(f"/api/jobs/{number}").json()["progress"]["choice"] == question
    wrong: list[dict[str, Any]] = [{"numbers": [2]}, {"numbers": []}, {"numbers": "0"}, {}]
    for body in wrong:
        assert client.post(f"/api/jobs/{number}/choose", json=body).status_code == 400
    assert server.clients["bob"].post(f"/api/jobs/{number}/choose", json={"numbers": [1]}).status_code == 404
    answer = client.post(f"/api/jobs/{number}/choose", json={"numbers": [1]}).json()
    assert (answer["state"], answer["progress"]) == ("queued", {"chosen": {"page": [1]}})


def read_events(text: str) -> list[dict[str, Any]]:
    blocks = [block for block in text.replace("\r\n", "\n").split("\n\n") if "data: " in block]
    found = []
    for block in blocks:
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        found.append({"id": int(lines["id"]), **json.loads(lines["data"])} | {"id": int(lines["id"])})
    return found


def test_events_of_a_job_stream_to_its_end_and_go_on_after_the_last_one_seen(client: TestClient) -> None:
    database = client.app.state.services.database  # type: ignore[attr-defined]
    number = client.post(f"/api/subjects/{create_subject(client)['id']}/report").json()["job"]
    queue.claim(database, worker="w")
    queue.record(database, number, "w", [{"event": "message", "text": "one"}], {"done": 1, "total": 2})

    def end() -> None:
        time.sleep(0.2)
        queue.record(database, number, "w", [{"event": "message", "text": "two"}])
        queue.finish(database, number, "w", "done", result={"n": 1})

    thread = threading.Thread(target=end)
    thread.start()
    answer = client.get(f"/api/jobs/{number}/events")
    thread.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = read_events(answer.text)
    assert [event["text"] for event in events if event["event"] == "message"] == ["one", "two"]
    assert (events[-1]["event"], events[-1]["state"], events[-1]["job"]) == ("job_over", "done", number)
    one = next(event for event in events if event.get("text") == "one")
    later = read_events(client.get(f"/api/jobs/{number}/events", headers={"Last-Event-ID": str(one["id"])}).text)
    assert [event["text"] for event in later if event["event"] == "message"] == ["two"]
    assert client.get(f"/api/jobs/{number}/events", headers={"Last-Event-ID": "x" * 50}).status_code == 200
    assert client.get(f"/api/jobs/{number}/events", headers={"Last-Event-ID": "9" * 5000}).status_code == 200


# ------------------------------------------------------------------------------------------------------------- pictures


def test_the_gallery_is_searched_and_sorted_into_boards(client: TestClient) -> None:
    for k, prompt in enumerate(("a red ball", "a blue 100% ball", "a tree")):
        client.post("/v1/images/generations", json={"prompt": prompt, "seed": k}).raise_for_status()

    def found(**asked: Any) -> list[str]:
        return [row["prompt"] for row in client.get("/api/pictures", params=asked).json()["pictures"]]

    assert found() == ["a tree", "a blue 100% ball", "a red ball"]
    assert found(search="BALL red") == ["a red ball"]
    assert found(search="100%") == ["a blue 100% ball"]
    assert found(search="%") == ["a blue 100% ball"]
    pictures = client.get("/api/pictures").json()["pictures"]
    assert found(before=pictures[1]["id"]) == ["a red ball"]
    client.patch(f"/api/pictures/{pictures[0]['id']}", json={"favourite": True}).raise_for_status()
    assert found(favourite=True) == ["a tree"]
    board = client.post("/api/boards", json={"name": "best"}).json()["id"]
    assert client.post("/api/boards", json={"name": "best"}).status_code == 409
    client.put(f"/api/boards/{board}/pictures/{pictures[2]['id']}").raise_for_status()
    assert found(board=board) == ["a red ball"]
    assert client.get("/api/boards").json()["boards"][0]["pictures"] == 1
    client.delete(f"/api/boards/{board}/pictures/{pictures[2]['id']}").raise_for_status()
    assert found(board=board) == []
    content = client.get(f"/api/pictures/{pictures[0]['id']}/content")
    assert content.headers["content-security-policy"] == "default-src 'none'; sandbox"
    client.delete(f"/api/pictures/{pictures[0]['id']}").raise_for_status()
    assert found() == ["a blue 100% ball", "a red ball"]
    assert client.get("/api/pictures", params={"search": "a\0"}).status_code == 400


# ---------------------------------------------------------------------------------------------------------------- users


def test_an_administrator_adds_users_and_members_do_not(server: Server) -> None:
    for path in ("/api/users", "/api/audit"):
        assert server.ann.get(path).status_code == 403
    assert server.ann.post("/api/users", json={"name": "eve", "role": "admin"}).status_code == 403
    eve = server.root.post("/api/users", json={"name": "eve", "most_jobs": 2}).json()
    assert server.root.post("/api/users", json={"name": "eve"}).status_code == 409
    assert server.root.post("/api/users", json={"name": "Eve!"}).status_code == 400
    made = server.root.post(f"/api/users/{eve['id']}/tokens", json={"label": "laptop"}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    me = server.anybody.get("/api/me", headers=headers).json()
    assert (me["name"], me["most_jobs"], me["used"]["bytes"]) == ("eve", 2, 0)
    tokens = server.anybody.get("/api/me/tokens", headers=headers).json()["tokens"]
    assert "token" not in tokens[0]
    assert "sha256" not in tokens[0]
    assert server.ann.patch(f"/api/users/{eve['id']}", json={"role": "admin"}).status_code == 403
    server.root.patch(f"/api/users/{eve['id']}", json={"disabled": True}).raise_for_status()
    assert server.anybody.get("/api/me", headers=headers).status_code == 401
    mine = server.root.get("/api/me").json()["id"]
    assert server.root.patch(f"/api/users/{mine}", json={"disabled": True}).status_code == 400


def test_a_revoked_token_takes_its_browser_logins_along(server: Server) -> None:
    made = server.ann.post("/api/me/tokens", json={"label": "x"}).json()
    browser = TestClient(server.app, base_url="http://127.0.0.1:7860")
    browser.post("/login", data={"token": made["token"]}, follow_redirects=False)
    assert browser.get("/api/me").status_code == 200
    server.ann.delete(f"/api/me/tokens/{made['id']}").raise_for_status()
    assert browser.get("/api/me").status_code == 401


def test_quotas_of_jobs_are_kept(server: Server) -> None:
    subject = create_subject(server.ann)
    with server.services.database.session() as session:
        user_named(session, "ann").most_jobs = 1
    place = f"/api/subjects/{subject['id']}/report"
    assert server.ann.post(place).status_code == 202
    answer = server.ann.post(place)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")


# ----------------------------------------------------------------------------------------------------- other nouns


def test_a_conversation_branches(client: TestClient) -> None:
    number = client.post("/api/conversations", json={"title": "a walk"}).json()["id"]
    database = client.app.state.services.database  # type: ignore[attr-defined]
    with database.session() as session:
        turn = Turn(conversation_id=number, words="a dog")
        session.add(turn)
        session.flush()
        session.get_one(Conversation, number).current_id = turn.id
        first = turn.id
    job = client.post(f"/api/conversations/{number}/turns", json={"words": "make it red"}).json()["job"]
    assert client.get(f"/api/jobs/{job}").json()["payload"]["parent"] == first
    assert client.put(f"/api/conversations/{number}/current", json={"turn": "0" * 32}).status_code == 404
    assert client.put(f"/api/conversations/{number}/current", json={"turn": first}).json()["current"] == first
    assert [turn["words"] for turn in client.get(f"/api/conversations/{number}").json()["turns"]] == ["a dog"]
    client.delete(f"/api/conversations/{number}").raise_for_status()


def test_methods_have_forms_and_no_file_is_run_as_a_method(client: TestClient) -> None:
    rows = client.get("/api/methods").json()["methods"]
    assert "lora_dreambooth" in [row["name"] for row in rows]
    form = client.get("/api/methods/lora_dreambooth").json()["form"]
    assert {"name", "type", "default", "help"} <= set(form[0])
    for name in ("/tmp/x.py:evil", "x.py", "nothing"):
        assert client.get(f"/api/methods/{name}").status_code == 404
        assert client.post("/api/estimate", json={"method": name}).status_code == 400
    assert client.post("/api/estimate", json={"goal": "fast"}).json()["method"]
    assert client.get("/api/bench").json()["results"]


def test_hardware_is_told_without_a_gpu(client: TestClient) -> None:
    told = client.get("/api/hardware").json()
    assert told["memory"]["total"] > told["memory"]["process"] > 0
    gpu = read_gpu("NVIDIA H200, 40, 1024, 143771, 35, [N/A]")
    assert (gpu["name"], gpu["used"], gpu["watts"]) == ("NVIDIA H200", 2**30, None)


def test_the_documentation_lists_every_route_and_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/api/docs").text
    description = client.get("/openapi.json").json()
    for path in description["paths"]:
        assert f"<code>{path}</code>" in page.replace("&lt;", "<")
    assert "<script" not in page
    assert "http" not in page.replace("localhost", "")


def test_the_files_of_a_job_are_downloaded_by_their_owner_alone(server: Server) -> None:
    services = server.services
    with services.database.session() as session:
        sha256 = services.files.put(b"weights")
        ann = user_named(session, "ann")
        files = [{"name": "kohya/rex.safetensors", "sha256": sha256, "bytes": 7}]
        job = Job(owner_id=ann.id, kind="export", state="done", result={"files": files})
        session.add(job)
        session.flush()
        number = job.id
    (file,) = server.ann.get(f"/api/jobs/{number}").json()["files"]
    assert file == {**files[0], "content": f"/api/jobs/{number}/files/0"}
    for place in (file["content"], f"/jobs/{number}/files/0"):
        answer = server.ann.get(place)
        assert (answer.content, answer.status_code) == (b"weights", 200)
        assert 'filename="rex.safetensors"' in answer.headers["content-disposition"]
        assert server.bob.get(place).status_code == 404
        assert server.ann.get(place[:-1] + "1").status_code == 404
    assert server.ann.get(f"/api/jobs/{number}/files/-1").status_code == 400
