"""A real server on this machine, with the pocket base: the official client of OpenAI, slow clients, the end."""

from __future__ import annotations

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image, ImageChops, ImageStat
from starlette.testclient import TestClient

import limner
from limner.apps.api.app import create_app
from limner.apps.api.config import Config, Limits
from limner.apps.api.serve import StudioServer, listen
from limner.apps.cli.main import main
from limner.apps.jobs.database import open_database
from limner.apps.jobs.tables import Job, now
from limner.apps.jobs.users import count_tokens
from limner.core.subject import Subject
from limner.errors import InputError

from .conftest import add_learned, png, running


@pytest.fixture(scope="module")
def live(base: Any, rex: Subject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, StudioServer]]:
    """A server's address, and the server; its user has the concept rex."""
    folder = tmp_path_factory.mktemp("studio")
    limits = Limits(idle_seconds=0.5, head_seconds=0.5)
    with running(Config(data=folder, port=0, quiet=True, limits=limits)) as (address, server, services):
        add_learned(services, limner.learn(base, rex, method="textual_inversion", steps=2), folder)
        yield address, server


@pytest.fixture
def openai_client(live: tuple[str, StudioServer]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live[0]}/v1", api_key="none", max_retries=0) as client:
        yield client


def opened(data: str | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(base64.b64decode(data)))


def difference(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of two pictures, of 255."""
    extrema: Any = ImageChops.difference(one.convert("L"), other.convert("L")).getextrema()
    return int(extrema[1])


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    """The mean absolute difference of two pictures, of 255."""
    return float(ImageStat.Stat(ImageChops.difference(one.convert("L"), other.convert("L"))).mean[0])


FEW: dict[str, Any] = {"num_inference_steps": 2, "seed": 3}


def test_openais_client_lists_models_paints_and_edits(openai_client: openai.OpenAI) -> None:
    assert [model.id for model in openai_client.models.list()] == ["pocket", "rex"]
    assert openai_client.models.retrieve("rex").object == "model"
    answer = openai_client.images.generate(prompt="a dog on a beach", model="rex", n=2, extra_body=FEW)
    assert answer.data is not None
    assert [each.revised_prompt for each in answer.data] == ["a <rex> on a beach"] * 2
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0
    first, second = (opened(each.b64_json) for each in answer.data)
    assert first.size == (128, 128)
    assert first.tobytes() != second.tobytes()
    again = openai_client.images.generate(prompt="a <rex> on a beach", model="rex", extra_body=FEW)
    assert again.data is not None
    # alone or in a batch, sums are taken in another order
    assert difference(opened(again.data[0].b64_json), first) <= 2
    base = openai_client.images.generate(prompt="a dog on a beach", model="pocket", extra_body=FEW)
    assert base.data is not None
    assert opened(base.data[0].b64_json).tobytes() != first.tobytes()
    edit = openai_client.images.edit(
        image=("a.png", png("green")), prompt="a dog", model="rex", extra_body={"seed": "1"}
    )
    assert edit.data is not None
    assert opened(edit.data[0].b64_json).size == (128, 128)


def test_openais_client_reads_a_stream(openai_client: openai.OpenAI) -> None:
    events = list(openai_client.images.generate(prompt="a dog", stream=True, extra_body=FEW))
    assert [event.type for event in events] == ["image_generation.completed"]
    event: Any = events[0]
    assert opened(event.b64_json).size == (128, 128)
    edits = list(
        openai_client.images.edit(
            image=("a.png", png()), prompt="a dog", stream=True, extra_body={"num_inference_steps": 2}
        )
    )
    assert [event.type for event in edits] == ["image_edit.completed"]


def test_openais_client_reads_partial_pictures_that_come_nearer(openai_client: openai.OpenAI) -> None:
    how: dict[str, Any] = {"seed": 3, "num_inference_steps": 8}
    about: dict[str, Any] = {"prompt": "a dog on a beach", "model": "rex", "stream": True, "partial_images": 3}
    events: list[Any] = list(openai_client.images.generate(**about, extra_body=how))
    assert [event.type for event in events] == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:3]] == [0, 1, 2]
    *partial, whole = (opened(event.b64_json) for event in events)
    assert {image.size for image in partial} == {whole.size}
    far = [mean_difference(image, whole) for image in partial]
    assert far[0] > far[1] > far[2] > 0
    # partial pictures leave the picture as it is
    plain: Any = openai_client.images.generate(prompt=about["prompt"], model="rex", extra_body=how)
    assert difference(opened(plain.data[0].b64_json), whole) <= 2


def test_openais_client_reads_partial_pictures_of_an_edit(openai_client: openai.OpenAI) -> None:
    mask = Image.new("RGBA", (200, 160), "black")
    mask.paste((0, 0, 0, 0), (20, 20, 100, 100))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    files: dict[str, Any] = {"image": ("a.png", png("green", (200, 160))), "mask": ("m.png", buffer.getvalue())}
    how = {"num_inference_steps": 6, "seed": 1}
    events: list[Any] = list(
        openai_client.images.edit(**files, prompt="a dog", stream=True, partial_images=2, extra_body=how)
    )
    assert [event.type for event in events] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    for event in events:
        image = opened(event.b64_json)
        assert image.size == (200, 160)
        assert image.getpixel((190, 150)) == (0, 128, 0)  # outside of the mask
        assert image.getpixel((60, 60)) != (0, 128, 0)


def test_partial_pictures_of_a_batch_are_each_its_own(live: tuple[str, StudioServer]) -> None:
    """Requests that are painted together get partial pictures of their own picture alone."""

    def stream(k: int) -> list[dict[str, Any]]:
        fields = {"prompt": "a dog", "model": ("rex", "pocket")[k % 2], "stream": True, "partial_images": k % 3}
        body = {**fields, "num_inference_steps": 6, "seed": k}
        text = httpx.post(f"{live[0]}/v1/images/generations", json=body, timeout=60).raise_for_status().text
        return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]

    with ThreadPoolExecutor(6) as pool:
        streams = list(pool.map(stream, range(6)))
    assert max(events[-1]["metrics"]["pictures_in_batch"] for events in streams) > 1
    wholes = [opened(events[-1]["b64_json"]) for events in streams]
    for k, events in enumerate(streams):
        assert len(events) == k % 3 + 1
        if k % 3 == 2:
            last = opened(events[-2]["b64_json"])
            assert min(range(6), key=lambda other: mean_difference(last, wholes[other])) == k


def test_openais_client_raises_its_own_errors(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model"):
        openai_client.images.generate(prompt="x", model="nothing")
    with pytest.raises(openai.BadRequestError, match="no path or URL"):
        openai_client.images.generate(prompt="x", extra_body={"lora": {"name": "rex", "path": "/etc/passwd"}})
    with pytest.raises(openai.BadRequestError, match="<bo>"):
        openai_client.images.generate(prompt="a <bo>", model="rex", extra_body={"lora": {"name": "rex"}})
    with pytest.raises(openai.BadRequestError) as error:
        openai_client.images.generate(prompt="x", size="3x3")  # type: ignore[call-overload]
    assert error.value.param == "size"


def test_requests_that_come_together_are_painted_in_one_batch(
    openai_client: openai.OpenAI, live: tuple[str, StudioServer]
) -> None:
    def paint(k: int) -> int:
        model = ("rex", "pocket")[k % 2]
        answer: Any = openai_client.images.generate(prompt="a dog", model=model, extra_body={**FEW, "seed": k})
        return int(answer.metrics["pictures_in_batch"])

    with ThreadPoolExecutor(6) as pool:
        batches = list(pool.map(paint, range(6)))
    assert max(batches) > 1
    loaded = httpx.get(f"{live[0]}/v1/list_loras").json()["loaded_adapters"]
    assert [each["nickname"] for each in loaded] == ["rex"]


def test_a_subject_is_taught_through_the_api(live: tuple[str, StudioServer], rex: Subject) -> None:
    with httpx.Client(base_url=live[0], timeout=30) as client:
        files = []
        for k, picture in enumerate(rex.pictures):
            buffer = io.BytesIO()
            assert picture.image is not None
            picture.image.save(buffer, "PNG")
            files.append(("pictures", (f"{k}.png", buffer.getvalue())))
        about = {"name": "max", "noun": "dog"}
        subject = client.post("/api/subjects", data=about, files=files).raise_for_status().json()["id"]
        quick = {"method": "textual_inversion", "settings": {"steps": 2}, "preview": 0, "score": False, "check": False}
        job = client.post("/api/jobs", json={"kind": "learn", "payload": {"subject": subject, **quick}}).json()["id"]
        with client.stream("GET", f"/api/jobs/{job}/events") as events:
            lines = [line.removeprefix("data: ") for line in events.iter_lines() if line.startswith("data: ")]
        kinds = [json.loads(line)["event"] for line in lines]
        assert {"update_done", "concept_saved", "run_done"} <= set(kinds)
        over = json.loads(lines[-1])
        assert (over["event"], over["state"]) == ("job_over", "done"), client.get(f"/api/jobs/{job}").json()
        assert client.get("/v1/models/max").json()["handle"] == "<max>"
        body = {"prompt": "a dog", "model": "max", **FEW}
        assert client.post("/v1/images/generations", json=body).json()["data"][0]["revised_prompt"] == "a <max>"


def test_clients_that_send_slowly_are_sent_away(live: tuple[str, StudioServer]) -> None:
    host, port = live[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as head, socket.create_connection((host, int(port))) as body:
        head.settimeout(30)  # the server reads on for five seconds after its answer
        body.settimeout(30)
        head.sendall(b"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
        about = b"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        body.sendall(about + b"Content-Length: 50\r\n\r\n{")
        for line in (head, body):
            status, text = answer_of(line)
            assert (status, json.loads(text)["error"]["code"]) == (408, "too_slow")


def answer_of(line: socket.socket) -> tuple[int, bytes]:
    """Status and body of an answer, read until the server closes."""
    received = b""
    while more := line.recv(4096):
        received += more
    return int(received.split(None, 2)[1]), received.partition(b"\r\n\r\n")[2]


POST = b"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
UNREADABLE: list[tuple[bytes, int, str]] = [
    (b"\0" * 100 + b"\r\n\r\n", 400, "malformed"),
    (b"{}\r\n\r\n", 400, "malformed"),
    (POST + b"Content-Length: 4\r\nContent-Length: 40\r\n\r\n{}{}", 400, "malformed"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n", 400, "malformed"),
    (b"GET /?" + b"x" * 900_000 + b" HTTP/1.1\r\n\r\n", 414, "address_too_long"),
    (b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 900_000 + b"\r\n\r\n", 431, "head_too_large"),
    (POST + b"Content-Length: 9000000\r\n\r\n" + b" " * 9_000_000, 413, "too_large"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"8000\r\n" + b" " * 32_768 + b"\r\n") * 200, 413, "too_large"),
]


@pytest.mark.parametrize(("sent", "status", "code"), UNREADABLE, ids=[f"{k}" for k in range(len(UNREADABLE))])
def test_a_request_that_is_not_read_gets_a_clear_answer(
    live: tuple[str, StudioServer], sent: bytes, status: int, code: str
) -> None:
    host, port = live[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(10)
        connection.sendall(sent)  # all of it, as most clients do before they read an answer
        answered, text = answer_of(connection)
    assert (answered, json.loads(text)["error"]["code"]) == (status, code)
    assert httpx.get(f"{live[0]}/healthz").status_code == 200


# ------------------------------------------------------------------------------------------------------- limner studio


def test_a_server_for_other_machines_is_refused_without_a_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path)]
    assert main(["studio", "--host", "0.0.0.0", "--port", "0", *data]) == 1
    assert f"limner users add NAME --data {tmp_path}" in capsys.readouterr().err
    assert main(["users", "add", "ann", *data]) == 0
    database = open_database(f"sqlite:///{tmp_path}/studio.db")
    assert count_tokens(database) == 1
    database.close()


def test_a_job_of_a_killed_server_goes_on_at_once_and_two_servers_share_no_folder(tmp_path: Path) -> None:
    def start() -> TestClient:
        return TestClient(create_app(Config(data=tmp_path, quiet=True)), base_url="http://127.0.0.1")

    with start() as client:
        services = client.app.state.services  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="another limner studio"), start():
            pass
        slow = services.workers.workers[1].name
    database = open_database(f"sqlite:///{tmp_path}/studio.db")
    with database.session() as session:
        late = now() + timedelta(hours=1)
        job = Job(owner_id=services.me.id, kind="learn", state="running", worker=slow, lease=late, claimed=now())
        session.add(job)
        session.flush()
        number = job.id
    with start() as client:
        end = time.monotonic() + 10
        while (job_now := client.get(f"/api/jobs/{number}").json())["state"] in ("running", "queued"):
            assert time.monotonic() < end
            time.sleep(0.05)
    # the payload is empty, so that the worker that claimed the job could not run it
    assert (job_now["state"], job_now["attempts"]) == ("failed", 1)
    database.close()


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(InputError, match="--port"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_the_command_serves_and_ends_when_it_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "limner", "studio", "--port", "0", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.split()[2]
        stream = httpx.stream("GET", f"{address}/api/events", timeout=20)
        with stream as answer:
            assert answer.status_code == 200
            start = time.monotonic()
            process.send_signal(signal.SIGTERM)
            list(answer.iter_lines())
        assert process.wait(20) == 0
        assert time.monotonic() - start < 10
