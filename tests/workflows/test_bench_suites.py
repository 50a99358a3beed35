"""The benches of styles, meanings and conditions: units and files, methods chosen by their cards, and reasons."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from limner.apps.cli.main import main
from limner.errors import FileError, InputError, UnknownName
from limner.evaluation.datasets.conditions import conditions
from limner.evaluation.datasets.garments import garment_cases
from limner.evaluation.report import report
from limner.evaluation.suites import BASE, TRUTH, UNCHANGED, WORDS, read_suite, table_markdown
from limner.pocket import SIZE
from limner.workflows.bench import suites as shared
from limner.workflows.bench.conditions import ConditionPlan, _about, bench_conditions
from limner.workflows.bench.prompted import MeaningPlan, StylePlan, bench_meanings, bench_styles
from limner.workflows.bench.suites import of_scope
from tests.helpers import begun_weights

LORA = ("lora_dreambooth", (("steps", 1), ("batch", 1), ("rank", 2), ("prior_weight", 0.0), ("layers", "attention")))
WORD = ("textual_inversion", (("steps", 1), ("batch", 1)))
MARKS = [BASE, WORDS, TRUTH]


def _unwanted(*_: object, **__: object) -> NoReturn:
    raise AssertionError("a unit that has a file was painted again")


def test_a_bench_of_styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = StylePlan((WORD, ("stylealigned", ())), prompts=2, steps=2, cases=1, references=2)
    results, folder, lines = tmp_path / "styles.json", tmp_path / "run", list[str]()
    comparison = bench_styles(plan, results=results, folder=folder, say=lines.append)
    assert read_suite(results) == json.loads(json.dumps(comparison))
    rows = {row["label"]: row["numbers"] for row in comparison["summary"]}
    assert list(rows) == ["textual_inversion (steps=1, batch=1)", "stylealigned", *MARKS]
    assert {unit["family"] for unit in comparison["units"]} == {"held-out family"}
    assert rows[TRUTH]["style"]["mean"] > 0.7
    assert rows[TRUTH]["family"] is None
    assert rows[TRUTH]["style"]["mean"] > rows[BASE]["style"]["mean"]
    assert rows[TRUTH]["leakage"]["mean"] == 0
    # one concept for each method, one sheet for each unit
    assert len(list(folder.glob("concept-*.safetensors"))) == 2
    assert len(list(folder.glob("*.jpg"))) == len(comparison["units"])
    monkeypatch.setattr(shared, "_run", _unwanted)
    again = bench_styles(plan, results=results, folder=folder, say=lines.append)
    assert again["units"] == comparison["units"]
    assert lines[-1].startswith("5 units, 0 of them new")
    page = report(results, tmp_path / "styles.html", pictures=folder).read_text()
    assert page.count("<figure>") == 5
    assert "copying" in page
    assert "cost seconds" in (tmp_path / "styles.csv").read_text()


def test_a_damaged_unit_runs_again(tmp_path: Path) -> None:
    plan = ConditionPlan((LORA,), prompts=1, steps=1, cases=1, conditions=("edges",))
    results, folder, lines = tmp_path / "conditions.json", tmp_path / "run", list[str]()
    first = bench_conditions(plan, results=results, folder=folder, say=lines.append)
    for unit in first["units"][:2]:
        (folder / f"{unit['key']}.json").write_text('{"key": "cut sh')
    assert bench_conditions(plan, results=results, folder=folder, say=lines.append)["units"][2:] == first["units"][2:]
    assert "2 of them new" in lines[-1]


def test_a_bench_of_meanings(tmp_path: Path) -> None:
    lego = ("lego", (("steps", 1), ("batch", 1)))
    plan = MeaningPlan((lego,), prompts=1, steps=2, cases=2, references=1)
    comparison = bench_meanings(plan, results=tmp_path / "meanings.json", folder=tmp_path / "run", say=str)
    rows = {(row["label"].split()[0], row["kind"]): row["numbers"] for row in comparison["summary"]}
    assert len(rows) == 2 * 4
    for kind in ("relation", "action"):
        truth, base = rows["ground-truth", kind], rows["base", kind]
        assert truth["meaning"]["mean"] == 1
        assert truth["prompt"]["mean"] >= base["prompt"]["mean"]
        assert (truth["places"] is None) == (kind == "action")
    # held-out words that this edition's judge cannot read have no number, rather than a zero
    assert rows["ground-truth", "action"]["judge"] is None


def test_a_bench_of_conditions(tmp_path: Path) -> None:
    plan = ConditionPlan((LORA,), prompts=1, steps=2, cases=1)
    comparison = bench_conditions(plan, results=tmp_path / "conditions.json", folder=tmp_path / "run", say=str)
    units = {(unit["method"], unit["condition"]): unit for unit in comparison["units"]}
    for condition in ("swap", "box"):
        assert units[LORA[0], condition]["values"]["condition"] is not None
    assert "nothing reads the condition 'depth'" in units[LORA[0], "depth"]["why_not"]
    assert "reads no viewpoint" in units[LORA[0], "view"]["why_not"]
    swap = {method: unit["values"] for (method, condition), unit in units.items() if condition == "swap"}
    assert swap[UNCHANGED]["background"] == 0
    assert swap[UNCHANGED]["identity"] < swap[TRUTH]["identity"]
    assert swap[TRUTH]["background"] < swap[LORA[0]]["background"]
    assert units[TRUTH, "box"]["values"]["box"] > 0.7
    assert units[TRUTH, "view"]["values"]["view"] >= 0.5
    assert units[TRUTH, "edges"]["values"]["edges"] > units[BASE, "edges"]["values"]["edges"]
    assert units[TRUTH, "depth"]["values"]["depth"] > units[BASE, "depth"]["values"]["depth"]
    numbers, _, reasons = table_markdown(comparison).partition("\n\nWithout numbers:\n\n")
    with_numbers = [row for row in comparison["summary"] if "numbers" in row]
    assert numbers.count("\n") == 1 + len(with_numbers)
    assert len(with_numbers) == len(comparison["summary"]) - 3
    assert re.search(r"^\* lora_dreambooth .*\(view\): .* reads no viewpoint", reasons, re.MULTILINE)
    assert reasons.count("\n") == 2  # one line for each reason


def test_a_bench_of_garments(base: Any, tmp_path: Path) -> None:
    begun_weights("pe_viton", base)
    plan = ConditionPlan((("pe_viton", ()), LORA), prompts=1, steps=2, cases=1, conditions=("garment",))
    comparison = bench_conditions(plan, results=tmp_path / "conditions.json", folder=tmp_path / "run", say=str)
    assert {unit["case"] for unit in comparison["units"]} == {"shirt-58"}
    rows = {row["method"]: row["numbers"] for row in comparison["summary"]}
    assert list(rows) == ["pe_viton", LORA[0], *MARKS, UNCHANGED]
    mean = {name: {measure: own["mean"] for measure, own in row.items()} for name, row in rows.items()}
    assert (mean[UNCHANGED]["background"], mean[UNCHANGED]["garment"]) == (0, 0)
    assert (mean[TRUTH]["garment"], mean[TRUTH]["colour"]) == (1, 0)
    assert mean[TRUTH]["background"] < 0.003
    for name in ("pe_viton", *MARKS[:2], LORA[0]):
        assert mean[name]["garment"] < 1
        assert mean[name]["colour"] > 0
        assert mean[name]["background"] > 0
    # the source was given: a picture of anything else is farther from it
    assert mean["pe_viton"]["garment"] != mean[BASE]["garment"] != mean[WORDS]["garment"]
    (case,) = garment_cases(count=1, prompts=1)
    for readable in ({"source", "mask"}, set[str]()):
        canvas = _about("garment", case, 0, readable)["canvas"]
        assert (canvas.image, canvas.start) == (case.sources[0], 0)
        assert torch.equal(canvas.conditions(base, {"mask"})["mask"][0, 0], case.changeable[0])
    head = table_markdown(comparison).partition("\n")[0]
    assert "garment ↑ | colour error ↓ | pattern error ↓" in head
    assert "view" not in head


def test_rows_are_added_to_a_results_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, lines = tmp_path / "conditions.json", list[str]()
    about: dict[str, Any] = {"prompts": 1, "steps": 1, "cases": 1}
    first = ConditionPlan((LORA,), **about, conditions=("swap",))
    earlier = bench_conditions(first, results=results, folder=tmp_path / "one", say=str)
    more = ConditionPlan((WORD,), **about, conditions=("swap", "garment"))
    # a folder that knows nothing: the baselines of the swap are taken from the results file
    whole = bench_conditions(more, results=results, folder=tmp_path / "two", add=True, say=lines.append)
    assert whole["units"][: len(earlier["units"])] == earlier["units"]
    assert "10 units, 6 of them new" in lines[-1]
    assert read_suite(results) == json.loads(json.dumps(whole))
    assert [name for name, _ in whole["plan"]["methods"]] == [LORA[0], WORD[0]]
    assert whole["plan"]["conditions"] == ["swap", "garment"]
    kept = results.read_text()
    others = ConditionPlan((WORD,), prompts=2, steps=1, cases=1, conditions=("swap",))
    with pytest.raises(InputError, match=r"measured with \{'prompts': 1\} and these would be with \{'prompts': 2\}"):
        bench_conditions(others, results=results, folder=tmp_path / "two", add=True, say=str)
    monkeypatch.setattr(shared, "_judges", lambda: ("of another edition",))
    with pytest.raises(InputError, match="with another base or other judges, so no row can be added"):
        bench_conditions(more, results=results, folder=tmp_path / "two", add=True, say=str)
    assert results.read_text() == kept
    alone = bench_conditions(first, results=results, folder=tmp_path / "one", say=str)
    assert {unit["label"] for unit in alone["units"]} == {unit["label"] for unit in earlier["units"]}


def test_viewpoints_are_learned_from_known_cameras_and_a_guide_of_any_kind_takes_maps(tmp_path: Path) -> None:
    turned = ("viewpoint_control", (("steps", 1), ("batch", 1)))
    plan = ConditionPlan((turned,), prompts=1, steps=1, cases=1, conditions=("view",))
    comparison = bench_conditions(plan, results=tmp_path / "views.json", folder=tmp_path / "run", say=str)
    assert next(unit for unit in comparison["units"] if unit["method"] == turned[0])["values"]["view"] is not None
    case = conditions(count=1, prompts=1)[0]
    source = _about("depth", case, 0, {"source"})["conditions"]["source"]
    assert source.shape == (1, 3, SIZE, SIZE)
    assert torch.allclose(source[0, 1], case.depths[0, 0], atol=0.01)
    assert [*_about("edges", case, 0, {"query", "mask"})["conditions"]] == ["query"]
    for readable in ({"source", "mask"}, {"source", "depth"}, set[str]()):
        assert _about("depth", case, 0, readable)["conditions"]["depth"] is not None


def test_methods_are_chosen_by_their_cards() -> None:
    assert {"stylealigned", "textual_inversion", "ip_adapter"} <= {*of_scope("style")}
    # first of all for faces, or for several subjects
    assert not {"personamagic", "magicapture", "instantid", "migc", "matsuda_seg_ewc"} & {
        *of_scope("style"),
        *of_scope("condition"),
    }
    assert "lego" in of_scope("semantic")
    assert StylePlan().methods == tuple((name, ()) for name in of_scope("style"))
    with pytest.raises(UnknownName, match="did you mean 'lego'"):
        MeaningPlan((("legoo", ()),))
    with pytest.raises(UnknownName, match="did you mean 'swap'"):
        ConditionPlan(conditions=("swapp",))
    with pytest.raises(InputError, match="needs a method and a seed"):
        StylePlan(seeds=())
    with pytest.raises(InputError, match="has its baselines: leave 'base alone' out"):
        StylePlan(((BASE, ()),))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--suite styles --curve dreambooth", "leave out --curve"),
        ("--suite meanings --data dreambench", "leave out --data and --base"),
        ("--suite pairs --cases 2", "leave out --cases"),
        ("--suite styles --conditions swap", "--conditions is for --suite conditions"),
        ("--suite conditions --prompts 9", "there are 8 prompts; asked for 9"),
        ("--suite meanings --cases 8", "there are 7 meanings"),
    ],
)
def test_flags_that_contradict_a_suite_are_one_line(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--results", str(tmp_path / "x.json"), "--folder", str(tmp_path / "run")]
    assert main(["bench", *places, *words.split()]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_results_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    for text in ("precious", '{"suite": "styles", "format": 1}', '{"suite": "styles", "format": 2, "units": []}'):
        path.write_text(text)
        with pytest.raises(FileError):
            read_suite(path)
    about: dict[str, object] = {"plan": {}, "versions": {}, "summary": [{}], "units": []}
    path.write_text(json.dumps({"format": 2, "suite": "styles", **about}))
    with pytest.raises(FileError, match="not meanings"):
        read_suite(path, name="meanings")
    path.write_text("precious")
    plan = StylePlan((WORD,), prompts=1, steps=1, cases=1)
    with pytest.raises(FileError, match="was not written by limner"):
        bench_styles(plan, results=path, folder=tmp_path / "run", say=str)
    assert path.read_text() == "precious"


def test_a_unit_is_named_by_the_weights_that_its_method_really_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FreeCure starts from FastComposer's weights, and IP-Adapter for faces from others than for pictures: the unit's
    name follows the file that is read."""
    from tests.helpers import begun_weights, ship_weights_in

    base = shared.open_pocket("cpu")
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    ship_weights_in(tmp_path, base, monkeypatch)
    without = shared._lesson("freecure", (), base)
    begun_weights("fastcomposer", base)
    with_weights = shared._lesson("freecure", (), base)
    assert without[2] == ""
    assert with_weights[2] == shared._lesson("fastcomposer", (), base)[2] != ""
    file = next((tmp_path / "cache").rglob("fastcomposer-*.safetensors"))
    file.rename(file.with_name(file.name.replace("fastcomposer-", "freecure-")))
    assert shared._lesson("freecure", (), base)[2] == ""
    assert shared._lesson("ip_adapter", (("sees", "face"),), base)[2] == ""
