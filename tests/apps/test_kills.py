"""A few kills of real commands at random moments; `make kills` has hundreds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.sweep  # one kill, of training, is in tests/workflows/test_learn.py
def test_nothing_is_lost_and_nothing_left_behind_by_a_few_kills(tmp_path: Path) -> None:
    out = tmp_path / "kills.json"
    seed = int.from_bytes(os.urandom(2))
    words = ["--count", "6", "--seed", str(seed), "--only", "learn a word", "paint", "--out", str(out)]
    ran = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "kills.py"), *words], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"seed {seed}: {ran.stdout[-3000:]}{ran.stderr[-2000:]}"
    found = json.loads(out.read_text())
    assert found["all"] == {
        "trials": 6,
        "ended before": found["all"]["ended before"],
        "equal bits": 6,
        "lost": 0,
        "left behind": 0,
    }
