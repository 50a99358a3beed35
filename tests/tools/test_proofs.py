"""results/proofs.json: what tests showed, FAILED where one did not, and the hash of the code it was shown for."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest
from tools.fresh import proof_digest


def report(row: str, *, passed: bool = True) -> Any:
    shown = ("proves", ("bases", row, "paints", "as its own pipeline"))
    return SimpleNamespace(user_properties=[shown], when="call", passed=passed)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ends a session after these reports, and returns the file."""
    file = tmp_path / "proofs.json"
    monkeypatch.setattr(conftest, "PROOFS", file)
    monkeypatch.setenv("LIMNER_PROOFS", "1")

    def end(*reports: Any) -> dict[str, Any]:
        monkeypatch.setattr(conftest, "_proved", {})
        for one in reports:
            conftest.pytest_runtest_logreport(one)
        session: Any = SimpleNamespace(config=SimpleNamespace())
        conftest.pytest_sessionfinish(session)
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    return end


def test_a_table_carries_the_hash_of_its_code_and_a_failure_stays(written: Any) -> None:
    found = written(report("sd"), report("flux", passed=False), report("flux"))
    assert found["bases"] == {"sd": {"paints": "as its own pipeline"}, "flux": {"paints": "FAILED"}}
    assert found["made from"] == {"bases": proof_digest("bases")}


def test_a_table_is_written_whole(written: Any) -> None:
    written(report("sd"), report("flux"))
    assert written(report("sd"))["bases"] == {"sd": {"paints": "as its own pipeline"}}
