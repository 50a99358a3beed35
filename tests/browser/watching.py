"""Chromium, and pages whose every error is noted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Response

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
"""The last: a page that asks for any other host gets an error, also on a machine with a network."""
AUDIT = Path(__file__).with_name("audit.js")
NOTE_VIOLATIONS = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.__violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile || ""}:${event.lineNumber}`));
"""


@contextmanager
def launch(program: str) -> Iterator[Browser]:
    """A fresh browser: Playwright gives every launch a new user-data folder."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and in `faults` a line for each error in its console, exception, violation of its content security
    policy, answer of 400 or more, and request to another origin."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page, self.origin, self.faults = page, origin, list[str]()
        self.allowed: tuple[str, ...] = ()
        """Parts of lines that a test provokes on purpose."""
        page.add_init_script(NOTE_VIOLATIONS)
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.note(f"exception: {error}"))
        page.on("request", lambda request: self._check_origin(request.url))
        page.on("response", self._note_answer)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.note(f"console: {message.text} ({message.location})")

    def _note_answer(self, answer: Response) -> None:
        if answer.status >= 400:
            self.note(f"{answer.status}: {answer.url}")

    def note(self, line: str) -> None:
        if not any(part in line for part in self.allowed):
            self.faults.append(line)

    def _check_origin(self, url: str) -> None:
        if not url.startswith((f"{self.origin}/", "blob:", "data:", "about:")):
            self.note(f"another origin: {url}")

    def audit(self) -> list[str]:
        """Faults of the page as it stands now for people without mouse, sight or a large screen."""
        faults: list[str] = self.page.evaluate(AUDIT.read_text(encoding="utf-8"))
        return [*faults, *self.page.evaluate("window.__violations || []")]
