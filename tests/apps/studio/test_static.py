"""The static files: their sizes, htmx as it was published, and templates that a strict policy for content allows."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from limner.apps.studio.charts import chart
from limner.apps.studio.view import HERE

HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
"""SHA-256 of dist/htmx.min.js in htmx.org 2.0.11 on npm."""
FILES = sorted(each.name for each in (HERE / "static").iterdir())
TEMPLATES = sorted((HERE / "templates").glob("*.html"))


def test_static_files_are_small() -> None:
    assert sum(each.stat().st_size for each in (HERE / "static").iterdir()) <= 90_000


def test_htmx_is_the_published_file_with_its_licence() -> None:
    assert hashlib.sha256((HERE / "static" / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    assert "Zero-Clause BSD" in (HERE / "static" / "htmx.LICENSE.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FILES)
def test_a_static_file_is_served(empty: TestClient, name: str) -> None:
    answer = empty.get(f"/static/{name}")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_has_no_inline_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for pattern in (
        r"<style",
        r"\sstyle=",
        r"\son\w+=",
        r"hx-on",
        r"<script(?![^>]*\ssrc=)",
        r"\|\s*safe\b",
        r"autoescape",
    ):
        assert re.search(pattern, text) is None, pattern


def test_scripts_evaluate_nothing_and_load_nothing_from_elsewhere() -> None:
    for path in (HERE / "static").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        if path.name != "htmx.min.js":
            assert re.search(r"\beval\(|new Function|innerHTML\s*=|https?://", text) is None, path.name
    layout = (HERE / "templates" / "layout.html").read_text(encoding="utf-8")
    assert '"allowEval": false' in layout
    assert '"includeIndicatorStyles": false' in layout


def test_a_chart_spans_its_box_and_says_its_values() -> None:
    drawn = chart([(1, 2.0), (2, float("nan")), (3, 1.0)], name="Loss")
    assert drawn is not None
    assert drawn.path == f"M{drawn.left},12 L{drawn.width - 12},176"
    assert "Loss: 2 at update 1, 1 at update 3" in drawn.words
    assert chart([(1, 1.0)], name="Loss") is None
