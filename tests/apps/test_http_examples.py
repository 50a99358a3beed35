"""The examples of docs/http_api.md, run as a reader would: in their order, against a server that knows nothing yet."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.studio.client import PATIENCE, toy_pictures
from benchmarks.studio.server import studio

PAGE = Path(__file__).parent.parent.parent / "docs" / "http_api.md"
ADDRESS = "http://127.0.0.1:7860"
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)


def examples() -> str:
    """The page's programs as one program of bash, as a reader's shell keeps its variables from block to block."""
    program = ""
    for language, code in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        program += code if language == "sh" else f"{sys.executable} - <<'END-OF-PYTHON'\n{code}END-OF-PYTHON\n"
    return program


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="the examples call curl and jq")
def test_the_examples_run_from_photographs_to_pictures(tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    (reader / "photos").mkdir(parents=True)
    for number, data in enumerate(toy_pictures(16), 1):
        (reader / "photos" / f"{number}.png").write_bytes(data)
    with studio(tmp_path / "data") as server:
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", examples().replace(ADDRESS, server.url)],
            cwd=reader,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + server.tail(10)
    assert '"state": "done"' in done.stdout
    assert (reader / "zippy.safetensors").read_bytes()[8:9] == b"{"  # the header, after its length
    for name in ("beach.png", "hat.png", "city-0.png", "city-1.png"):
        assert (reader / name).read_bytes()[:4] == b"\x89PNG", name
    # two prompts of the script, and their seeds
    assert len(list(reader.glob("[0-9]*-*.png"))) == 2
