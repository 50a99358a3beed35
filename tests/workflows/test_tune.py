"""`limner tune`: settings chosen on dev subjects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limner.apps.cli.main import main
from limner.core.files import write_text
from limner.errors import InputError, TeachingError, UnknownName
from limner.workflows.bench import tune as tuning
from limner.workflows.bench.plan import Plan
from limner.workflows.bench.tune import Search, Trial, defaults_of, tune, write_defaults

METHOD = '''
"""A word alone, in few updates."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import words
from limner.parts.sources import photos


@method(title="A word", scope=("object",))
def few(subject: Subject, *, steps: int = 2, lr: float = 5e-3, batch: int = 1) -> Recipe:
    """A new word.

    Settings:
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    word = new_word(subject.handle, like=subject.noun)
    stage = Stage(train=(words(word),), loss=(denoising(photos(subject, batch=batch)),), steps=steps, lr=lr)
    return Recipe(says=f"{subject.handle} {subject.noun}", modifiers=(word,), stages=(stage,))
'''


@pytest.fixture
def few(tmp_path: Path) -> str:
    write_text(tmp_path / "few.py", METHOD.lstrip())
    return f"{tmp_path / 'few.py'}:few"


def searched(names: tuple[str, ...], score: Any, **defaults: Any) -> Search:
    """A search to its end, with H as a function of the settings."""
    search = Search("some", defaults, names)
    for _ in range(100):
        wanted = search.wanted()
        if not wanted:
            return search
        for chosen in wanted:
            search.trials[chosen] = Trial(chosen, score(**{**defaults, **dict(chosen)}), 0.0, 0.0, 1.0)
    raise AssertionError("it does not end")


def test_a_setting_moves_as_long_as_it_is_better() -> None:
    search = searched(
        ("lr", "steps"), lambda lr, steps: -abs(lr - 4e-3) * 100 - abs(steps - 50) / 100, lr=1e-3, steps=100
    )
    assert dict(search.best) == {"lr": 4e-3, "steps": 50}


def test_a_gain_within_the_noise_moves_nothing() -> None:
    search = searched(("lr",), lambda lr: 0.5 + 0.01 * (lr > 1e-3), lr=1e-3)
    assert search.best == ()
    assert len(search.trials) == 3


def test_a_setting_moves_only_so_far_and_within_its_limits() -> None:
    assert dict(searched(("lr",), lambda lr: lr, lr=1.0).best) == {"lr": 8.0}
    assert dict(searched(("lr",), lambda lr: lr, lr=6.0).best) == {"lr": 10.0}
    assert searched(("steps",), lambda steps: -steps, steps=1).best == ()


def test_a_method_from_a_file_is_tuned_and_its_defaults_are_written(
    few: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "WORTH", -1.0)  # two updates differ by noise: whatever is best is taken
    monkeypatch.setattr(tuning, "MOVES", 1)
    results, folder = tmp_path / "tuned.json", tmp_path / "runs"
    command = ["tune", few, "--settings", "steps", "--cases", "1", "--prompts", "1", "--write"]
    assert main([*command, "--results", str(results), "--folder", str(folder)]) == 0
    record = json.loads(results.read_text())["methods"][few]
    assert record["defaults"] == {"steps": 2}
    assert [tried["settings"] for tried in record["trials"]] == [{}, {"steps": 1}, {"steps": 4}][
        : len(record["trials"])
    ]
    best = max(record["trials"], key=lambda tried: tried["H"])
    assert record["chosen"] == best["settings"]
    steps = record["chosen"].get("steps", 2)
    assert f"steps: int = {steps}, lr: float = 5e-3, batch" in (tmp_path / "few.py").read_text()
    assert "| method | H | chosen | H | choices tried |" in capsys.readouterr().out


def test_a_training_that_fails_counts_nothing_and_ends_nothing(
    few: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Any] = []

    def run_crew(plan: Plan, units: Any, folder: Path, threads: int = 0) -> None:
        runs.append(list(units))
        for key, unit in units.items():
            if dict(unit.settings).get("lr", 0) > 5e-3:
                raise TeachingError("the loss is not finite")
            write_text(folder / f"{key}.json", json.dumps(unit_record(key, unit)), overwrite=True)

    def unit_record(key: str, unit: Any) -> dict[str, Any]:
        shared = {"method": unit.method, "label": unit.label, "lesson": unit.label, "case": unit.case, "key": key}
        balance = {"F": 0.5, "T": 0.5, "H": 0.5, "J": 0.5, "balance": 0.0}
        more = {"diagnosis": {"label": "balanced"}, "truth": {}, "cost": {"seconds": 1.0}, "metrics": {}}
        return {**shared, **more, "scale": 1.0, "settings": dict(unit.settings), "seed": 0, "tradeoff": balance}

    monkeypatch.setattr(tuning, "run_crew", run_crew)
    plan = Plan(((few, ()),), where=(("split", "dev"),), cases=1, prompts=1, seeds=(0,))
    (search,) = tune([few], plan, results=tmp_path / "r.json", folder=tmp_path / "runs", names=["lr"]).values()
    assert search.best == ()
    failed = search.trials[("lr", 1e-2),]
    assert (failed.H, failed.failed) == (0.0, "the loss is not finite")
    count = len(runs)
    tune([few], plan, results=tmp_path / "r.json", folder=tmp_path / "runs", names=["lr"])
    assert not any(runs[count:])  # nothing is run again, not what failed either


def test_what_cannot_be_tuned_is_refused(few: str, tmp_path: Path) -> None:
    about: dict[str, Any] = {"results": tmp_path / "r.json", "folder": tmp_path / "runs"}
    with pytest.raises(InputError, match="held-out"):
        tune([few], Plan(((few, ()),), where=(("split", "held-out"),)), **about)
    plan = Plan(((few, ()),), where=(("split", "dev"),))
    with pytest.raises(UnknownName, match="rank"):
        tune([few], plan, names=["rank"], **about)
    with pytest.raises(InputError, match="learns nothing"):
        tune(["base alone"], plan, **about)
    assert main(["tune", few, "--write", "--base", "some/other"]) == 1


def test_defaults_are_written_where_they_stand(few: str, tmp_path: Path) -> None:
    assert defaults_of(few) == {"steps": 2, "lr": 5e-3, "batch": 1}
    write_defaults(few, {"steps": 40, "lr": 2.5e-4, "batch": 8})
    text = (tmp_path / "few.py").read_text()
    assert "steps: int = 40, lr: float = 2.5e-4, batch: int = 8" in text
    write_text(tmp_path / "few.py", text.replace("steps: int = 40", "steps: int = 2 * 20"), overwrite=True)
    with pytest.raises(InputError, match="by hand"):
        write_defaults(few, {"steps": 50})
