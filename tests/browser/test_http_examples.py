"""The examples of docs/http_api.md, run as a reader would: in their order, against a server that knows nothing yet."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.studio.client import toy_pictures
from benchmarks.studio.server import Studio

pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="examples of curl and jq")
PAGE = Path(__file__).parent.parent.parent / "docs" / "http_api.md"
ADDRESS = "http://127.0.0.1:7860"


def blocks(language: str) -> list[str]:
    """The page's blocks of code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's folder, with photographs."""
    home = tmp_path_factory.mktemp("reader")
    (home / "photos").mkdir()
    for number, data in enumerate(toy_pictures(16)):
        (home / "photos" / f"{number + 1}.png").write_bytes(data)
    return home


def test_the_lines_of_curl_run_from_photographs_to_a_picture(server: Studio, folder: Path) -> None:
    script = "set -eu\n" + "\n".join(blocks("sh")).replace(ADDRESS, server.url)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + server.tail(10)
    assert (folder / "zippy.safetensors").read_bytes()[8:9] == b"{"  # the header, after its length
    for name in ("beach.png", "hat.png"):
        assert (folder / name).read_bytes()[:4] == b"\x89PNG", name
    assert '"state": "done"' in done.stdout


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_scripts_of_python_run(server: Studio, folder: Path, number: int) -> None:
    code = blocks("python")[number].replace(ADDRESS, server.url)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + server.tail(10)
