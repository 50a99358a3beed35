"""The bench of pairs: a unit a file, concepts taught once, and why a way does not suit a method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import pytest

from limner.errors import FileError, InputError, UnknownName
from limner.evaluation.datasets.pairs import PAIRS, STANDING, pairs
from limner.evaluation.datasets.toys import STANDARD
from limner.evaluation.suites import TRUTH, table_markdown
from limner.pocket.world.vocabulary import RELATIONS
from limner.workflows.bench import pairs as pairs_bench
from limner.workflows.bench.pairs import METHODS, WAYS, PairPlan, bench_pairs


def _unwanted(*_: object) -> NoReturn:
    raise AssertionError("what is there already was painted again")


PLAN = PairPlan(
    (("lora_dreambooth", (("steps", 1), ("batch", 1), ("rank", 2), ("prior_weight", 0.0), ("layers", "attention"))),),
    ways=("blend", "closed-form"),
    pairs=1,
    prompts=1,
    steps=3,
)


def test_a_bench_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, folder = tmp_path / "pairs.json", tmp_path / "run"
    said: list[str] = []
    found = bench_pairs(PLAN, results=results, folder=folder, say=said.append)
    assert json.loads(results.read_text()) == json.loads(json.dumps(found))
    monkeypatch.setattr(pairs_bench, "_painted", _unwanted)
    blend, closed, truth = found["units"]
    assert (blend["method"], blend["way"], blend["pair"]) == ("lora_dreambooth", "blend", "dog-40 and car-41")
    assert {"identity", "consistency", "leakage", "present", "relation", "prompt"} <= blend["values"].keys()
    assert len(blend["alone"]) == 2
    assert "solves for keys and values" in closed["why_not"]
    assert (truth["way"], truth["values"]["present"], truth["values"]["swapped"]) == (TRUTH, 1, 0)
    assert truth["values"]["identity"] > blend["values"]["identity"]
    assert len(list(folder.glob("concept-*.safetensors"))) == 2
    assert len(list(folder.glob("*.jpg"))) == 2
    table = table_markdown(found)
    numbers, _, reasons = table.partition("\n\nWithout numbers:\n\n")
    assert numbers.count("\n") == 1 + len(found["summary"]) - 1
    assert "solves for keys and values" in reasons
    again = bench_pairs(PLAN, results=results, folder=folder, say=said.append)
    assert again["units"] == found["units"]
    assert said[-1].startswith("3 units, 0 of them new")


def test_pairs_and_where_they_stand() -> None:
    assert all(STANDARD[a][0] != STANDARD[b][0] for a, b in PAIRS)
    assert set(STANDING) < set(RELATIONS)
    (pair,) = pairs(count=1, prompts=3)
    assert [member.noun for member in pair.members] == ["dog", "car"]
    for prompt in pair.prompts:
        where = pair.regions(prompt, ("<rex>", "<bo>"))
        assert list(where) == ["<rex>", "<bo>"]
        assert where["<rex>"] != where["<bo>"]
    assert all(text.startswith("{} ") for text in pair.alone(0))
    for more in ({"count": 7}, {"prompts": 0}, {"split": "train"}):
        with pytest.raises(InputError, match="there are|come from"):
            pairs(**more)  # type: ignore[arg-type]  # what a user may say


def test_plans_and_files_that_cannot_be(tmp_path: Path) -> None:
    assert set(METHODS) == {name for name, _ in PairPlan().methods}
    assert "together" in WAYS
    with pytest.raises(UnknownName, match="did you mean 'blend'"):
        PairPlan(ways=("blendd",))
    with pytest.raises(InputError, match="needs a method"):
        PairPlan(seeds=())
    results = tmp_path / "mine.json"
    results.write_text("precious")
    with pytest.raises(FileError, match="was not written by limner"):
        bench_pairs(PLAN, results=results, folder=tmp_path / "run")
    assert results.read_text() == "precious"


def test_a_bench_of_couples_of_people(tmp_path: Path) -> None:
    """Two people taught once, painted together and each in a half, and judged face by face."""
    from limner.workflows.bench.pairs import CouplePlan, bench_couples

    plan = CouplePlan(PLAN.methods, ways=("together", "blend"), pairs=1, prompts=1, steps=2)
    results, folder = tmp_path / "couples.json", tmp_path / "run"
    found = bench_couples(plan, results=results, folder=folder, say=lambda text: None)
    together, blend, truth = found["units"]
    assert (together["way"], together["couple"]) == ("together", "person-344 and person-500")
    assert {"identity", "leakage", "swapped", "present", "scene"} <= blend["values"].keys()
    assert truth["values"]["identity"] > blend["values"]["identity"]
    assert len(list(folder.glob("concept-*.safetensors"))) == 2
    assert json.loads(results.read_text())["suite"] == "couples"
