"""Work goes on without its watcher: a browser that closes, a server that is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.numpy import load as tensors_of

from benchmarks.studio.client import PATIENCE, Client, toy_pictures
from benchmarks.studio.server import Studio

from .conftest import watched_page
from .steps import LONG, wait_until_done

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SETTINGS = {
    "method": "textual_inversion",
    "settings": {"steps": 100},
    "seed": 3,
    "sample_every": 0,
    "score": False,
    "check": False,
}
"""Updates that last several seconds, so that pause and kill find the training in their midst."""


@pytest.fixture(scope="module")
def studio_to_kill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    server = Studio(tmp_path_factory.mktemp("killed") / "data")
    server.start()
    yield server
    if server.alive():
        server.kill()


def updates(client: Client, job: str) -> int:
    """Updates that a training has made, as its row says."""
    return int(client.call("GET", f"/api/jobs/{job}")["progress"].get("done", 0))


def wait_for_updates(client: Client, job: str, wanted: int) -> None:
    """Wait until a training has made this many updates; it must not be over by then."""
    deadline = time.monotonic() + PATIENCE
    while updates(client, job) < wanted:
        assert time.monotonic() < deadline, f"the training made no {wanted} updates within {PATIENCE:.0f} s"
        time.sleep(0.05)
    state = client.call("GET", f"/api/jobs/{job}")["state"]
    assert state == "running", f"the training is {state}: it needs more updates than {SETTINGS['settings']}"


def first_update_of_last_run(client: Client, job: str) -> int:
    """The number of the first update after a job was started for the last time."""
    lines = client.http.get(f"/api/jobs/{job}/events").text.splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    last = max(number for number, event in enumerate(events) if event["event"] == "job_started")
    return next(int(event["done"]) for event in events[last:] if event["event"] == "update_done")


def concept_of(client: Client, job: str) -> dict[str, Any]:
    """The tensors of the concept that a job learned, by name."""
    client.wait(job)
    row = next(each for each in client.call("GET", "/api/concepts")["concepts"] if each["job"] == job)
    return dict(tensors_of(client.http.get(row["file"]).content))


def test_the_browser_may_close_and_the_server_be_killed(browser: Browser, studio_to_kill: Studio) -> None:
    """A browser leaves one training and comes back to it. Another is paused, resumed, and cut by `kill -9`; it goes on
    from its checkpoint and ends at the first one's bits."""
    with Client(studio_to_kill.url) as client:
        subject = client.subject("zippy", toy_pictures(16), noun="car")
        wanted = left_and_found_again(browser, studio_to_kill, client, subject)
        killed = client.submit("learn", subject=subject, **SETTINGS)
        paused_at = pause_and_resume(browser, studio_to_kill, client, killed)
        wait_for_updates(client, killed, paused_at + 5)
        attempts = client.call("GET", f"/api/jobs/{killed}")["attempts"]
        studio_to_kill.kill()
    studio_to_kill.start()
    with Client(studio_to_kill.url) as client:
        with watched_page(browser, studio_to_kill) as watched:
            watched.page.goto(f"/jobs/{killed}")
            wait_until_done(watched.page)
        assert client.call("GET", f"/api/jobs/{killed}")["attempts"] == attempts + 1
        assert first_update_of_last_run(client, killed) > paused_at
        resumed = concept_of(client, killed)
    assert resumed.keys() == wanted.keys()
    assert all((resumed[name] == wanted[name]).all() for name in wanted)


def left_and_found_again(browser: Browser, server: Studio, client: Client, subject: str) -> dict[str, Any]:
    """The tensors that a training learns, whose page is closed while it runs, and found again in the list of jobs."""
    job = client.submit("learn", subject=subject, **SETTINGS)
    with watched_page(browser, server) as watched:
        watched.page.goto(f"/jobs/{job}")
        watched.page.locator("#job .tag", has_text="running").wait_for(timeout=LONG)
    wait_for_updates(client, job, 5)
    with watched_page(browser, server) as watched:
        watched.page.goto("/jobs")
        watched.page.get_by_role("link", name="zippy").first.click()
        wait_until_done(watched.page)
    return concept_of(client, job)


def pause_and_resume(browser: Browser, server: Studio, client: Client, job: str) -> int:
    """Press Pause and Resume on the page of a training; the number of updates that its checkpoint holds."""
    wait_for_updates(client, job, 1)
    with watched_page(browser, server) as watched:
        page = watched.page
        page.goto(f"/jobs/{job}")
        page.get_by_role("button", name="Pause", exact=True).click()
        page.get_by_role("button", name="Resume", exact=True).wait_for(timeout=LONG)
        paused_at = updates(client, job)
        page.get_by_role("button", name="Resume", exact=True).click()
        page.get_by_role("button", name="Pause", exact=True).wait_for(timeout=LONG)
    return paused_at
