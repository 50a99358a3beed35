"""Work goes on without its watcher: a browser that closes, a server that is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.numpy import load as tensors_of

from benchmarks.studio.client import Client, toy_pictures
from benchmarks.studio.server import Studio

from .conftest import watched_page
from .steps import wait_until_done

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SETTINGS = {
    "method": "textual_inversion",
    "settings": {"steps": 40},
    "seed": 3,
    "sample_every": 0,
    "score": False,
    "check": False,
}
LEASE = 100.0
"""Seconds within which a server that starts again takes up the work of the one that was killed."""


@pytest.fixture(scope="module")
def studio_to_kill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    server = Studio(tmp_path_factory.mktemp("killed") / "data")
    server.start()
    yield server
    if server.alive():
        server.kill()


def wait_for_updates(client: Client, job: str, updates: int) -> dict[str, object]:
    """The job when it has made this many updates and is not over."""
    deadline = time.monotonic() + LEASE
    while time.monotonic() < deadline:
        record = client.call("GET", f"/api/jobs/{job}")
        assert record["state"] in ("queued", "running"), record
        if record["state"] == "running" and record["progress"].get("done", 0) >= updates:
            return dict(record)
        time.sleep(0.05)
    raise AssertionError(f"the job made no {updates} updates within {LEASE:.0f} s")


def concept_of(client: Client, job: str) -> dict[str, Any]:
    """The tensors of the concept that a job learned, by name."""
    client.wait(job)
    row = next(each for each in client.call("GET", "/api/concepts")["concepts"] if each["job"] == job)
    return dict(tensors_of(client.http.get(row["file"]).content))


def test_the_browser_may_close_and_the_server_be_killed(browser: Browser, studio_to_kill: Studio) -> None:
    """A browser leaves one training and comes back to it; another is cut by `kill -9`, and ends at the first's bits."""
    with Client(studio_to_kill.url) as client:
        wanted, killed = one_left_and_one_killed(browser, studio_to_kill, client)
    studio_to_kill.start()
    with Client(studio_to_kill.url) as client:
        with watched_page(browser, studio_to_kill) as watched:
            watched.page.goto(f"/jobs/{killed}")
            wait_until_done(watched.page)
        record = client.call("GET", f"/api/jobs/{killed}")
        assert record["attempts"] == 2
        resumed = concept_of(client, killed)
    assert resumed.keys() == wanted.keys()
    assert all((resumed[name] == wanted[name]).all() for name in wanted)


def one_left_and_one_killed(browser: Browser, server: Studio, client: Client) -> tuple[dict[str, Any], str]:
    """The tensors that an undisturbed training learns, and the job of the same one at whose 25th update the server is
    killed."""
    subject = client.subject("zippy", toy_pictures(16), noun="car")
    undisturbed = client.submit("learn", subject=subject, **SETTINGS)
    with watched_page(browser, server) as watched:
        watched.page.goto(f"/jobs/{undisturbed}")
        watched.page.locator("#job .tag", has_text="running").wait_for(timeout=60_000)
    wait_for_updates(client, undisturbed, 5)
    with watched_page(browser, server) as watched:
        watched.page.goto("/jobs")
        watched.page.get_by_role("link", name="zippy").first.click()
        wait_until_done(watched.page)
    wanted = concept_of(client, undisturbed)

    killed = client.submit("learn", subject=subject, **SETTINGS)
    wait_for_updates(client, killed, 25)
    server.kill()
    return wanted, killed
