"""How soon the studio is there: the server without torch, then its first page in a browser.

    python -m benchmarks.studio.page_speed      # results/studio_page_speed.json

Aims: the server answers within 3 s of the command, without torch in its memory; a page is interactive within 1 s of
that. A page counts as interactive when its scripts have run, its pictures stand and a key moves the focus.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.browser.conftest import chromium
from tests.browser.watching import launch

from .server import Studio, studio, write_results

PAGES = {"teach": "/teach", "paint": "/paint", "gallery": "/gallery", "jobs": "/jobs"}
AIMS = {"seconds until the server answers": 3.0, "seconds until the first page is interactive": 1.0}
MEASURE = """
() => {
  const [page] = performance.getEntriesByType("navigation");
  const sent = performance.getEntriesByType("resource").reduce((sum, each) => sum + each.transferSize, page.transferSize);
  return {loaded: page.loadEventEnd, ready: page.domContentLoadedEventEnd, bytes: sent,
          requests: performance.getEntriesByType("resource").length + 1};
}
"""


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.studio.page_speed", description=str(__doc__).splitlines()[0])
    parser.add_argument("--starts", type=int, default=5, help="cold starts, of which the median counts (default: 5)")
    given = parser.parse_args()
    program = chromium()
    if program is None:
        raise SystemExit("this needs Chromium: `make browser` installs it")
    starts = []
    with launch(program) as browser:
        for _ in range(given.starts):
            with tempfile.TemporaryDirectory() as folder:
                starts.append(one_start(Studio(Path(folder) / "data"), browser))
        with tempfile.TemporaryDirectory() as folder, studio(Path(folder) / "data") as server:
            pages = {name: loaded(browser, f"{server.url}{path}") for name, path in PAGES.items()}
    record: dict[str, Any] = {
        **{name: median([start[name] for start in starts]) for name in AIMS},
        "torch loaded": any(start["torch loaded"] for start in starts),
        "megabytes of memory": median([start["megabytes"] for start in starts]),
        "starts": len(starts),
        "longest start": max(start["seconds until the server answers"] for start in starts),
        "aims": AIMS,
        "pages": pages,
    }
    print(json.dumps(record, indent=1))
    write_results("page_speed", **record)
    return int(any(record[name] > aim for name, aim in AIMS.items()) or record["torch loaded"])


def one_start(server: Studio, browser: Any) -> dict[str, Any]:
    """Start a server in an empty folder, open its first page, and end it."""
    seconds = server.start()
    try:
        torch, memory = server.maps("libtorch"), server.memory()
        page = browser.new_context().new_page()
        began = time.monotonic()
        page.goto(server.url, wait_until="load")
        page.keyboard.press("Tab")
        page.locator("body :focus").wait_for(state="attached")
        interactive = time.monotonic() - began
        page.context.close()
    finally:
        server.kill()
    return {
        "seconds until the server answers": seconds,
        "seconds until the first page is interactive": interactive,
        "torch loaded": torch,
        "megabytes": memory / 1e6,
    }


def loaded(browser: Any, url: str) -> dict[str, float]:
    """Seconds until a page has its document, and until all stands; bytes and requests."""
    page = browser.new_context().new_page()
    page.goto(url, wait_until="load")
    page.wait_for_timeout(100)  # the page notes the end of its loading after that end
    timing = page.evaluate(MEASURE)
    page.context.close()
    return {
        "seconds until ready": round(timing["ready"] / 1000, 3),
        "seconds until loaded": round(timing["loaded"] / 1000, 3),
        "kilobytes": round(timing["bytes"] / 1000, 1),
        "requests": timing["requests"],
    }


def median(values: list[float]) -> float:
    return round(statistics.median(values), 3)


if __name__ == "__main__":
    raise SystemExit(main())
