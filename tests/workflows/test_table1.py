"""`bench --suite table1`: both tasks end to end, rows that cannot run, and flags that contradict it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from limner.apps.cli.main import main
from limner.engine.sample import PaintSettings
from limner.errors import InputError, UnknownName
from limner.evaluation.results import FORMAT
from limner.evaluation.summary import BASE, COPIER
from limner.evaluation.table1 import read_table1
from limner.methods import methods
from limner.workflows import score
from limner.workflows.bench import run, table1
from limner.workflows.bench.plan import TABLE1, Plan, Unit
from limner.workflows.bench.run import bench
from limner.workflows.bench.table1 import NO_METHOD, TablePlan, bench_table1
from limner.workflows.bench.unit import _opened, key_of
from tests.bases.families import stable_diffusion
from tests.evaluation.test_encoders import clip_folder
from tests.helpers import ship_weights_in
from tests.painted_faces import photograph

ROOT = Path(__file__).parent.parent.parent
FAST = ("dreambooth", (("steps", 1), ("prior_weight", 0.0)))


@pytest.mark.sweep
def test_two_methods_of_two_subjects_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    painted = score.painted

    def briefly(*words: Any, **named: Any) -> Any:
        return painted(*words, **{**named, "settings": PaintSettings(steps=2)})

    monkeypatch.setattr(score, "painted", briefly)
    results, folder = tmp_path / "table1.json", tmp_path / "run"
    words = ["bench", "--suite", "table1", "--methods", "dreambooth:steps=1,prior_weight=0", "ip_adapter"]
    small = ["--cases", 2, "--prompts", 1, "--seeds", 1, "--results", results, "--folder", folder]
    assert main([str(word) for word in (*words, *small)]) == 0
    shown = capsys.readouterr().out
    assert "Differences of protocol" in shown
    whole = read_table1(results)
    objects, faces = whole["parts"]["object"]["units"], whole["parts"]["face"]["units"]
    assert [(unit["method"], unit["case"]) for unit in objects] == [
        (method, case) for method in ("dreambooth", "ip_adapter") for case in ("dog-40", "car-41")
    ]
    assert [(unit["method"], unit["case"]) for unit in faces] == [
        ("ip_adapter", "person-3"),
        ("ip_adapter", "person-79"),
    ]
    rows = {row["row"]: row for row in whole["rows"]["object"]}
    means = [unit["metrics"]["clip_t"]["value"] for unit in objects[:2]]
    assert rows["DreamBooth"]["numbers"]["clip_t"] == pytest.approx(sum(means) / 2, abs=1e-4)
    assert rows["DreamBooth"]["concept"] == "dreambooth (steps=1, prior_weight=0.0)"
    assert {"likeness", "F", "T", "H", "copy_index"} <= rows["IP-Adapter"]["numbers"].keys()
    of_faces = {row["row"]: row.get("numbers") for row in whole["rows"]["face"]}
    assert of_faces["IP-Adapter (SDXL)"] == of_faces["IP-Adapter (SD 1.5)"]
    assert "likeness" in (of_faces["IP-Adapter (SDXL)"] or {})
    assert of_faces["PhotoMaker"] is None
    monkeypatch.setattr(run, "run_crew", lambda *_: pytest.fail("ran again"))
    assert main([str(word) for word in (*words, *small)]) == 0
    assert read_table1(results) == whole
    assert main(["report", str(results), "--out", str(tmp_path / "page.html"), "--pictures", str(folder)]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 6
    assert "Published (arXiv:2405.05538, Table 1)" in page
    assert "DreamBooth" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert (tmp_path / "page.csv").read_text(encoding="utf-8").startswith("task,row,method")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--curve ip_adapter", "--curve is not for it"),
        ("--ways blend", "add --suite pairs"),
        ("--data custom-10", "toys and people, or of --data persona"),
        ("--where folder=x", "toys and people need no --where"),
        ("--methods dreamboth", "did you mean 'dreambooth'"),
        ("--methods lora_dreambooth", "row of Table 1"),
        ("--methods dreambooth:steps=1 dreambooth:steps=2", "dreambooth is named 2 times"),
        ("--base org/model", "say --clip WHERE"),
        ("--base org/model --clip x", "say --faces WHERE"),
        ("--data persona --where folder=x", "say --clip WHERE"),
    ],
)
def test_flags_that_contradict_the_suite_are_one_line(
    words: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--suite", "table1", *words.split()]) == 1
    assert told in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suite", ["one", "pairs"])
def test_a_size_that_a_suite_has_not_is_one_line(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--suite", suite, "--size", "whole"]) == 1
    assert "standard, quick, not 'whole'" in " ".join(capsys.readouterr().err.split())


def test_the_whole_is_the_published_protocol() -> None:
    assert {
        task: (suite.sizes["whole"].prompts, len(suite.sizes["whole"].seeds)) for task, suite in TABLE1.items()
    } == {
        "object": (25, 4),
        "face": (40, 4),
    }
    parts = TablePlan(size="whole").parts
    assert len(parts["object"].chosen().cases[0].prompts) == 25
    named = [name for name, _ in parts["object"].methods]
    assert named[:2] == [BASE, "base told the looks"]
    assert COPIER in named
    assert sum(name in methods() for name in named) == 15
    assert [parts[task].seeds for task in parts] == [(0, 1, 2, 3)] * 2
    assert list(TablePlan((FAST,)).parts) == ["object"]


def persona(folder: Path) -> Path:
    """A data set of one dog and one person in Persona's layout."""
    for place in ("subjects/rex", "face/ann"):
        (folder / place).mkdir(parents=True)
    for k in range(3):
        Image.effect_noise((64, 64), 40 + 30 * k).convert("RGB").save(folder / "subjects" / "rex" / f"{k:02}.jpg")
    photograph((0, 100, 120)).save(folder / "face" / "ann" / "face.jpg")
    kinds = ("accessory", "context", "action", "style")
    info = {
        "subjects": {"subject_with_cls": {"rex": "dog"}, "prompt_live": ["a {0} {1} in snow"], "prompt_object": []},
        "face": {"id_with_gender": {"ann": "woman"}, **{f"prompt_{k}": [f"{{0}} {{1}} in {k}"] for k in kinds}},
    }
    (folder / "info.json").write_text(json.dumps(info))
    return folder


def test_a_subject_of_another_kind_is_left_to_the_other_task(tmp_path: Path) -> None:
    persona(tmp_path)
    named = (("clip", "x"), ("face", "y"))
    plan = TablePlan(data="persona", where=(("folder", str(tmp_path)),), base="org/model", encoders=named)
    assert {task: [case.name for case in part.chosen().cases] for task, part in plan.parts.items()} == {
        "object": ["rex"],
        "face": ["ann"],
    }
    assert plan.parts["face"].faces == "y"


def test_it_runs_on_another_base_with_encoders_for_photographs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tiny Stable Diffusion, Persona's layout, a tiny CLIP and networks of faces of the user's own. An encoder
    without weights for this base is named with the command that trains them."""
    base, clip = stable_diffusion(tmp_path / "base", "1.5"), clip_folder(tmp_path / "clip")
    results, data = tmp_path / "r.json", persona(tmp_path / "persona")
    faces = f"{ROOT / 'tests' / 'painted_faces.py'}:networks"
    words = [
        "bench",
        "--suite",
        "table1",
        "--data",
        "persona",
        "--where",
        f"folder={data}",
        "--base",
        base,
        "--clip",
        clip,
    ]
    words += [
        "--faces",
        faces,
        "--methods",
        "dreambooth:steps=1,prior_weight=0",
        "cross_initialization:steps=1",
        "ip_adapter",
    ]
    words += ["--size", "quick", "--prompts", 1, "--results", results, "--folder", tmp_path / "run", "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    whole = read_table1(results)
    rows = {task: {row["row"]: row for row in whole["rows"][task]} for task in ("object", "face")}
    tuned, learned = rows["object"]["DreamBooth"], rows["face"]["CrossInitialization"]
    assert {"clip_t", "likeness"} <= tuned["numbers"].keys() & learned["numbers"].keys()
    assert "limner pretrain ip_adapter" in rows["object"]["IP-Adapter"]["why"]
    assert whole["parts"]["face"]["units"][0]["metrics"]["face_identity"]["encoder"] == "painted"
    assert whole["parts"]["object"]["plan"]["kinds"] == ["object", "pet"]
    assert "Published" in capsys.readouterr().out


def test_rows_that_cannot_run_are_named_and_the_others_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(plan: Plan, *_: Any) -> None:
        if plan.methods[0][0] == "ip_adapter":
            raise InputError("no image encoder comes with this base")

    def collected(plan: Plan, folder: Path, results: Path) -> dict[str, Any]:
        summary = {name: {"method": name, "numbers": {"F": {"mean": 0.5}}, "cost": {}} for name, _ in plan.methods}
        names = ("about", "plan", "set", "versions", "seconds", "correlations", "units")
        return {"format": FORMAT, "summary": summary, **dict.fromkeys(names, ())}

    monkeypatch.setattr(table1, "methods", lambda: {name: f for name, f in methods().items() if name != "elite"})
    monkeypatch.setattr(table1, "_bench_one", one)
    monkeypatch.setattr(table1, "collect", collected)
    told: list[str] = []
    plan = TablePlan((FAST, ("ip_adapter", ()), (BASE, ())))
    whole = bench_table1(plan, results=tmp_path / "r.json", folder=tmp_path / "run", say=told.append)
    assert whole["missing"]["object"] == {"elite": NO_METHOD, "ip_adapter": "no image encoder comes with this base"}
    rows = {row["row"]: row for row in whole["rows"]["object"]}
    assert rows["ELITE"]["why"] == NO_METHOD
    assert rows["IP-Adapter"]["why"].startswith("no image encoder")
    assert rows["DreamBooth"]["numbers"] == {"F": 0.5}
    assert any("elite (object): this version" in text for text in told)
    with pytest.raises(InputError, match="no image encoder"):
        bench_table1(TablePlan((("ip_adapter", ()),)), results=tmp_path / "n.json", folder=tmp_path / "none")
    assert not (tmp_path / "n.json").exists()


def test_weights_of_first_use_are_there_before_units_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit's name depends on the weights that its method starts from."""
    plan = Plan((("cafe", ()),), cases=1, prompts=1, seeds=(0,))
    ship_weights_in(tmp_path, _opened("pocket", "cpu"), monkeypatch)

    def make(name: str, *_: Any) -> None:
        if not (tmp_path / f"{name}.safetensors").exists():
            save_file({"gate": torch.ones(2)}, tmp_path / f"{name}.safetensors", metadata={"limner": "{}"})

    def record_units(plan: Plan, units: dict[str, Unit], folder: Path, threads: int = 0) -> None:
        make("cafe")
        for key, unit in units.items():
            record = {
                "key": key_of(plan, unit), "method": "cafe", "label": "cafe", "lesson": "cafe", "scale": 1.0, "settings": {},
                "case": unit.case, "seed": 0, "diagnosis": {"label": "underfit"}, "truth": {}, "cost": {}, "metrics": {},
            }  # fmt: skip
            (folder / f"{key}.json").write_text(json.dumps(record))

    monkeypatch.setattr("limner.workflows.first_use.make_weights", make)
    monkeypatch.setattr(run, "run_crew", record_units)
    whole = bench(plan, results=tmp_path / "r.json", folder=tmp_path / "run", say=lambda _: None)
    assert len(whole["units"]) == 1


def test_names_that_are_no_rows_are_errors_in_python_too() -> None:
    with pytest.raises(UnknownName, match="row of Table 1"):
        TablePlan((("oft", ()),))
    with pytest.raises(InputError, match="standard, quick, whole"):
        _ = TablePlan(size="huge").parts
