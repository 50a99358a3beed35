"""The bench: runs what is missing, survives kills, counts nothing twice; and its report."""

from __future__ import annotations

import html.parser
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file

from limner.errors import FileError, InputError, MissingExtra, UnknownName
from limner.evaluation.report import report, table_markdown
from limner.evaluation.results import FORMAT, folded, read_results, unfolded
from limner.evaluation.summary import BASE, COPIER, TRUTH, WORDS, spearman, summary
from limner.pocket.capabilities import CAPABILITIES
from limner.workflows.bench import run
from limner.workflows.bench import unit as unit_module
from limner.workflows.bench.plan import Plan, Unit
from limner.workflows.bench.run import bench, collect, is_current
from limner.workflows.bench.unit import _opened, key_of
from tests.helpers import ship_weights_in

QUICK: dict[str, Any] = {"cases": 1, "prompts": 2, "seeds": (0,)}
FAST = ("dreambooth", (("steps", 2), ("prior_weight", 0.0)))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A small bench, run once."""
    root = tmp_path_factory.mktemp("bench")
    plan, told = Plan(((BASE, ()), (WORDS, ()), FAST, (COPIER, ()), (TRUTH, ())), **QUICK), cast("list[str]", [])
    found = bench(plan, results=root / "results.json", folder=root / "run", say=told.append)
    return SimpleNamespace(plan=plan, root=root, found=found, told=told)


def test_every_unit_is_there_with_its_numbers_and_costs(ran: SimpleNamespace) -> None:
    units = ran.found["units"]
    assert [u["label"] for u in units] == [BASE, WORDS, "dreambooth (steps=2, prior_weight=0.0)", COPIER, TRUTH]
    base, _, tuned, _, _ = units
    assert base["tradeoff"]["H"] == pytest.approx(0, abs=0.02)
    assert base["cost"]["seconds"] == 0
    assert tuned["cost"]["steps"] == 2
    assert tuned["cost"]["parameters"] > 1e6
    assert tuned["cost"]["denoiser_rows"] > 0
    assert tuned["cost"]["denoiser_rows_per_picture"] == 8  # 4 steps with guidance
    assert tuned["cost"]["peak_bytes"] > 1e8
    assert tuned["metrics"]["identity"]["references"] == "held-out references"
    assert tuned["metrics"]["drift"]["value"] is not None
    assert len(tuned["each"]["F"]) == 2
    assert "left" in ran.told[-1]


def test_the_marks_are_where_they_must_be(ran: SimpleNamespace) -> None:
    found = {u["label"]: u for u in ran.found["units"]}
    copier, true = found[COPIER], found[TRUTH]
    assert copier["tradeoff"]["F"] > 0.7
    assert copier["tradeoff"]["T"] < 0.3
    assert copier["metrics"]["copy_index"]["value"] > 0.9
    assert true["tradeoff"]["F"] > 0.5
    assert true["tradeoff"]["T"] > 0.7
    assert true["truth"]["scene"] == 1.0
    assert {"class", "colour", "pattern"} <= true["truth"].keys()
    assert true["metrics"]["kid"]["value"] < copier["metrics"]["kid"]["value"]


def test_what_is_there_is_not_run_again(ran: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("ran again")

    monkeypatch.setattr(run, "run_crew", never)
    again = bench(ran.plan, results=ran.root / "results.json", folder=ran.root / "run", say=lambda _: None)
    assert again["units"] == ran.found["units"]


def test_rows_of_other_methods_stay_with_add_and_are_never_dropped(ran: SimpleNamespace, tmp_path: Path) -> None:
    results, more = tmp_path / "results.json", Plan((("textual_inversion", (("steps", 1), ("batch", 1))),), **QUICK)
    shutil.copy(ran.root / "results.json", results)
    before = results.read_bytes()
    with pytest.raises(InputError, match="5 rows of other methods, which this run would drop: keep them with --add"):
        bench(more, results=results, folder=tmp_path / "run")
    other = Plan(more.methods, cases=1, prompts=1, seeds=(0,))
    with pytest.raises(InputError, match="measured with another base, judge, prompts or seeds"):
        bench(other, results=results, folder=tmp_path / "run", add=True)
    assert results.read_bytes() == before
    added = bench(more, results=results, folder=tmp_path / "run", add=True)
    assert added["units"][:-1] == ran.found["units"]
    assert added["units"][-1]["method"] == "textual_inversion"
    assert [name for name, _ in added["plan"]["methods"]] == [name for name, _ in (*ran.plan.methods, *more.methods)]
    assert len(added["summary"]) == 6


def test_a_killed_bench_goes_on_where_it_was(
    ran: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def one(plan: Plan, trainer: Any, folder: Path, threads: int = 0) -> None:
        for key, unit in trainer.items():
            if len(done) == 1:
                raise KeyboardInterrupt
            done.append(unit.label)
            (folder / f"{key}.json").write_bytes((ran.root / "run" / f"{key}.json").read_bytes())

    monkeypatch.setattr(run, "run_crew", one)
    with pytest.raises(KeyboardInterrupt):
        bench(ran.plan, results=tmp_path / "r.json", folder=tmp_path / "run", say=lambda _: None)
    assert len(collect(ran.plan, tmp_path / "run", tmp_path / "r.json")["units"]) == 1
    done.append("so that nothing is killed")
    found = bench(ran.plan, results=tmp_path / "r.json", folder=tmp_path / "run", say=lambda _: None)
    assert found["units"] == ran.found["units"]
    assert len(done) == 6  # five likenesses, each once


@pytest.mark.parametrize("text", ["{", "", '{"format": 1, "units": []}', '{"format": 2}'])
def test_results_that_cannot_be_added_to_are_moved_aside_before_the_first_unit(
    text: str, ran: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, told = tmp_path / "r.json", cast("list[str]", [])
    results.write_text(text)
    (tmp_path / "r-old-1.json").write_text("an earlier one")

    def seen(*_: Any, **__: Any) -> None:
        assert not results.exists()

    monkeypatch.setattr(run, "_ran", lambda *_: iter([seen()] * 0))
    found = bench(ran.plan, results=results, folder=ran.root / "run", say=told.append)
    assert read_results(results)["units"] == found["units"] == ran.found["units"]
    assert (tmp_path / "r-old-2.json").read_text() == text
    assert "moved to" in told[0]


@pytest.mark.parametrize("text", ["[]", '{"name": "a package.json"}', "notes of mine"])
def test_a_file_that_is_no_results_file_is_refused_before_the_first_unit(
    text: str, ran: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_ran", None)
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(FileError, match="was not written by limner"):
        bench(ran.plan, results=tmp_path / "r.json", folder=tmp_path / "run", say=lambda _: None)
    assert (tmp_path / "r.json").read_text() == text
    with pytest.raises(FileError, match="is a file; expected a folder"):
        bench(ran.plan, results=tmp_path / "r.json" / "below.json", folder=tmp_path / "run", say=lambda _: None)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda unit: "",
        lambda unit: json.dumps(unit)[:100],
        lambda unit: "null",
        lambda unit: "{}",
        lambda unit: "[" * 100_000,
        lambda unit: json.dumps({**unit, "key": "another"}),
        lambda unit: json.dumps({**unit, "metrics": {"dino_i": 3}}),
        lambda unit: json.dumps({**unit, "cost": {"seconds": "long"}}),
        lambda unit: json.dumps({**unit, "tradeoff": []}),
    ],
)
def test_units_that_are_damaged_are_made_anew(
    spoil: Any, ran: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ran.root / "run", tmp_path / "run")
    unit, told = ran.found["units"][1], cast("list[str]", [])
    (tmp_path / "run" / f"{unit['key']}.json").write_text(spoil(unit))
    made: list[str] = []

    def make(plan: Plan, trainer: Any, folder: Path, threads: int = 0) -> None:
        for key in trainer:
            made.append(key)
            shutil.copy(ran.root / "run" / f"{key}.json", folder / f"{key}.json")

    monkeypatch.setattr(run, "run_crew", make)
    found = bench(ran.plan, results=tmp_path / "r.json", folder=tmp_path / "run", say=told.append)
    assert made == [unit["key"]]
    assert found["units"] == ran.found["units"]
    assert "runs again" in told[0]


def test_a_sheet_of_the_bases_pictures_that_is_cut_short_is_made_anew(ran: SimpleNamespace, tmp_path: Path) -> None:
    base, case = unit_module._opened("pocket", "cpu"), ran.plan.chosen().cases[0]
    (whole,) = (ran.root / "run").glob("base-*.png")
    sheet = whole.read_bytes()
    for spoilt in (sheet[: len(sheet) // 2], b"", b"no picture"):
        (tmp_path / whole.name).write_bytes(spoilt)
        pictures = unit_module._base_pictures(ran.plan, case, base, tmp_path)
        assert len(pictures) == 2
        assert (tmp_path / whole.name).read_bytes() == sheet


def test_other_settings_prompts_or_seeds_are_other_units(ran: SimpleNamespace) -> None:
    about = ran.found["about"]
    keys = {unit.key(about) for unit in ran.plan.units}
    other = Plan((("dreambooth", (("steps", 3),)),), **QUICK)
    assert keys.isdisjoint(unit.key(about) for unit in other.units)
    assert unit_module.about_of(Plan((FAST,), cases=1, prompts=3)) != about


def test_results_are_current_until_the_base_is_another(ran: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_results(ran.root / "results.json")
    assert is_current(found)
    monkeypatch.setattr(
        "limner.workflows.bench.unit._opened",
        lambda *_: SimpleNamespace(fingerprint="another's", capabilities=CAPABILITIES),
    )
    assert not is_current(found)


def test_weights_trained_anew_make_other_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, keys = Plan(((BASE, ()),), **QUICK), []
    ship_weights_in(tmp_path, _opened(plan.base, plan.device), monkeypatch)
    for trained in (1.0, 2.0):
        save_file({"gate": torch.full((2,), trained)}, tmp_path / "cafe.safetensors", metadata={"limner": "{}"})
        keys.append([key_of(plan, Unit(name, (), "dog-40", 0)) for name in ("cafe", "dreambooth")])
    assert keys[0][0] != keys[1][0]
    assert keys[0][1] == keys[1][1]


def test_other_defaults_of_a_method_make_other_units(monkeypatch: pytest.MonkeyPatch) -> None:
    def dreambooth(subject: Any, *, lr: float = 0.5) -> None:
        """DreamBooth with another rate.

        Settings:
            lr: learning rate
        """

    plan, unit = Plan(((BASE, ()),), **QUICK), Unit("dreambooth", (), "dog-40", 0)
    before = key_of(plan, unit)
    monkeypatch.setattr("limner.methods.methods", lambda: {"dreambooth": dreambooth})
    assert key_of(plan, unit) != before


@pytest.mark.sweep
@pytest.mark.usefixtures("published_steps")
def test_spreading_over_processes_gives_the_same_pictures(tmp_path: Path) -> None:
    plan = Plan(((BASE, ()), (WORDS, ())), **QUICK)
    alone, found = (
        bench(plan, results=tmp_path / f"{n}.json", folder=tmp_path / f"run {n}", workers=n, say=lambda _: None)
        for n in (1, 2)
    )
    for mine, theirs in zip(found["units"], alone["units"], strict=True):
        assert mine["metrics"]["identity"]["value"] == pytest.approx(theirs["metrics"]["identity"]["value"], abs=0.02)


def test_spreading_over_a_cluster(ran: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through Ray's own four calls; the stand-in runs each task when it is asked for."""
    calls: list[str] = []

    def init(**_: Any) -> None:
        calls.append("init")

    fake = SimpleNamespace(
        init=init,
        remote=lambda f: SimpleNamespace(remote=lambda *a: (f, a)),
        wait=lambda running, num_returns: (running[:1], running[1:]),
        get=lambda task: task[0](*task[1]),
    )

    def one(plan: Plan, trainer: Any, folder: Path, threads: int = 0) -> None:
        for key, unit in dict(trainer).items():
            calls.append(unit.label)
            (folder / f"{key}.json").write_bytes((ran.root / "run" / f"{key}.json").read_bytes())

    monkeypatch.setattr(run, "run_crew", one)
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    found = bench(ran.plan, results=tmp_path / "r.json", folder=tmp_path / "run", on="ray", say=lambda _: None)
    assert found["units"] == ran.found["units"]
    assert calls[0] == "init"
    assert len(calls) == 6
    monkeypatch.setitem(sys.modules, "ray", None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtra, match=r"limner\[ray\]"):
        bench(ran.plan, results=tmp_path / "r2.json", folder=tmp_path / "run2", on="ray", say=lambda _: None)
    with pytest.raises(InputError, match="'local' or 'ray'"):
        bench(ran.plan, results=tmp_path / "r2.json", folder=tmp_path / "run2", on="mars", say=lambda _: None)


def test_plans_that_make_no_sense_are_errors() -> None:
    with pytest.raises(InputError, match="no method is named"):
        Plan(())
    with pytest.raises(UnknownName, match="dreambooth"):
        Plan((("dreambooths", ()),))
    with pytest.raises(UnknownName, match="dreambench"):
        _ = Plan((FAST,), data="dreambunch").units
    with pytest.raises(InputError, match="at least one seed"):
        Plan((FAST,), seeds=())


def test_a_results_file_says_once_what_all_units_say_alike_of_a_metric() -> None:
    units: list[dict[str, Any]] = [
        {"metrics": {"clip_t": {"value": k, "each": [k], "encoder": "pocket/clip", "text": text}}}
        for k, text in enumerate(("a toy", "a dog"))
    ]
    record = {"format": FORMAT, "units": [*units, {"why": "no numbers"}]}
    written = folded(record)
    assert written["metrics"] == {"clip_t": {"encoder": "pocket/clip"}}
    assert written["units"][1] == {"metrics": {"clip_t": {"value": 1, "each": [1], "text": "a dog"}}}
    assert unfolded(written) == record


def test_a_metric_that_no_unit_has_is_in_a_results_file_once() -> None:
    gap = {"value": None, "gap": "no --hps was given"}
    units: list[dict[str, Any]] = [{"metrics": {"clip_t": {"value": k}, "hps": gap}} for k in range(2)]
    written = folded({"format": FORMAT, "units": units})
    assert written["metrics"]["hps"] == gap
    assert written["units"][0] == {"metrics": {"clip_t": {"value": 0}}}
    assert unfolded(written)["units"] == units
    some = folded({"format": FORMAT, "units": [*units, {"metrics": {"hps": {"value": 1.0}}}]})
    assert some["units"][0]["metrics"]["hps"] == gap


def test_results_of_other_versions_and_damaged_ones_are_refused(ran: SimpleNamespace, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(FileError, match="can be read"):
        read_results(bad)
    bad.write_text(json.dumps({"format": FORMAT - 1}))
    with pytest.raises(FileError, match="run `limner bench` again"):
        read_results(bad)
    bad.write_text(json.dumps(folded({**ran.found, "units": []})))
    with pytest.raises(FileError, match="no concept yet"):
        report(bad, tmp_path / "page.html")


def test_the_summary_is_over_subjects_and_seeds() -> None:
    def unit(case: str, seed: int, f: float) -> dict[str, Any]:
        trade = {"F": f, "T": 1.0, "H": f, "J": 0.0, "balance": 0.0, "dropped": []}
        return {
            "method": "m", "label": "m", "case": case, "seed": seed, "tradeoff": trade, "truth": {}, "metrics": {},
            "cost": {"seconds": 2.0}, "diagnosis": {"label": "underfit"},
        }  # fmt: skip

    rows = [unit("a", 0, 0.2), unit("a", 1, 0.4), unit("b", 0, 0.6), unit("b", 1, 0.8)]
    found = summary([*rows, {**unit("a", 0, 0.1), "label": WORDS, "method": WORDS}])["m"]
    assert found["numbers"]["F"]["mean"] == pytest.approx(0.5)
    assert found["numbers"]["F"]["subjects"] == 2
    assert found["numbers"]["F"]["spread"] == pytest.approx(0.1414, abs=1e-3)
    assert found["above words"]["F"]["mean"] == pytest.approx(0.2)
    assert found["diagnoses"] == {"underfit": 4}
    assert found["area"] == pytest.approx(0.8)


def test_spearman_is_rank_correlation() -> None:
    assert spearman([(1, 10), (2, 100), (3, 1000)]) == pytest.approx(1.0)
    assert spearman([(1, 3), (2, 2), (3, 1)]) == pytest.approx(-1.0)
    assert spearman([(1, 1), (1, 2), (2, 1), (2, 2)]) == pytest.approx(0.0)
    assert spearman([(1, 1), (1, 2), (1, 3)]) is None
    assert spearman([(1, 1)]) is None


class Reader(html.parser.HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("data:")]
        if tag not in ("meta", "br", "img", "line", "circle", "path", "polyline"):
            self.open.append(tag)


def test_the_report_is_one_page_that_fetches_nothing(ran: SimpleNamespace, tmp_path: Path) -> None:
    path = report(ran.root / "results.json", tmp_path / "page.html", pictures=ran.root / "run")
    text = path.read_text()
    reader = Reader()
    reader.feed(text)
    assert reader.fetched == []
    assert text.count("data:image/jpeg") == 5
    for heading in (
        "Leaderboard",
        "Fidelity against alignment",
        "Cost",
        "By subject",
        "By prompt",
        "Diagnosis",
        "Published",
    ):
        assert heading in text
    assert "<svg" in text
    assert "Textual Inversion" in text  # a row of the survey's table
    assert path.with_suffix(".csv").read_text().startswith("label,method,number")
    assert BASE in path.with_suffix(".md").read_text()
    without = report(ran.root / "results.json", tmp_path / "bare.html")
    assert "is not here" in without.read_text()


def test_the_table_has_policies_last(ran: SimpleNamespace) -> None:
    lines = table_markdown(ran.found).splitlines()[2:]
    assert {line.split(" | ")[0] for line in lines[-4:]} == {f"| {x}" for x in (BASE, WORDS, COPIER, TRUTH)}


@pytest.mark.sweep
def test_seeds_and_settings_of_one_subject_are_taught_in_a_fleet(tmp_path: Path) -> None:
    """Error bars and sweeps: as if each had been taught alone, at a share of the cost."""
    told: dict[str, Any] = {"steps": 3, "batch": 2}
    small = QUICK | {"prompts": 1}
    sweep = tuple(("textual_inversion", tuple((told | {"lr": rate}).items())) for rate in (0.01, 0.02))
    plan = Plan(sweep, **(small | {"teaching_seeds": (0, 1)}))
    found = bench(plan, results=tmp_path / "r.json", folder=tmp_path / "run", say=lambda _: None)
    assert [u["cost"]["together"] for u in found["units"]] == [4.0] * 4
    lone = Plan(sweep[:1], **small)
    single = bench(lone, results=tmp_path / "s.json", folder=tmp_path / "single", say=lambda _: None)["units"][0]
    twin = next(u for u in found["units"] if u["label"] == single["label"] and u["seed"] == 0)
    assert "together" not in single["cost"]
    assert twin["metrics"]["identity"]["value"] == pytest.approx(single["metrics"]["identity"]["value"], abs=0.02)


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """An encoder's concept, attached at two strengths."""
    import limner

    root, lessons = tmp_path_factory.mktemp("curve"), []
    plan = Plan((("ip_adapter", ()),), **QUICK, curves=("ip_adapter",), scales=(0.25, 1.0))
    with pytest.MonkeyPatch.context() as patch:
        learn = limner.learn
        patch.setattr(limner, "learn", lambda *a, **k: (lessons.append(1), learn(*a, **k))[1])
        found = bench(plan, results=root / "results.json", folder=root / "run", say=lambda _: None)
    return SimpleNamespace(plan=plan, root=root, found=found, lessons=lessons)


def test_a_curve_is_one_lesson_worn_at_several_strengths(curve: SimpleNamespace) -> None:
    assert [(u["label"], u["scale"]) for u in curve.found["units"]] == [
        ("ip_adapter at 0.25", 0.25),
        ("ip_adapter", 1.0),
    ]
    assert len(curve.lessons) == 1
    weak, full = (u["tradeoff"]["F"] for u in curve.found["units"])
    assert weak < full
    plain = Plan((("ip_adapter", ()),), **QUICK)
    about = curve.found["about"]
    assert [u.key(about) for u in plain.units] == [curve.plan.units[1].key(about)]


def test_the_report_draws_a_curve_and_keeps_it_out_of_the_tables(curve: SimpleNamespace, tmp_path: Path) -> None:
    from limner.evaluation.report import curve_plot, curves, worn_fully

    found = curves(curve.found["summary"])
    assert {label: [scale for scale, _ in rows] for label, rows in found.items()} == {"ip_adapter": [0.25, 1.0]}
    assert curve_plot(found).count("<circle") == 2
    assert list(worn_fully(curve.found["summary"])) == ["ip_adapter"]
    text = report(curve.root / "results.json", tmp_path / "page.html").read_text()
    assert "<h2>Strength</h2>" in text
    board = text.partition("<h2>Leaderboard</h2>")[2].partition("</table>")[0]
    assert "at 0.25" not in board


def test_a_curve_is_of_what_the_bench_teaches() -> None:
    with pytest.raises(InputError, match="is not one of them"):
        Plan((FAST,), curves=("ip_adapter",))


def test_one_subject_has_no_interval() -> None:
    from limner.evaluation.report import with_interval

    many = {"mean": 0.5, "low": 0.25, "high": 0.75, "subjects": 3}
    assert with_interval(many) == "0.50 [0.25, 0.75]"
    assert with_interval({**many, "low": 0.5, "high": 0.5, "subjects": 1}) == "0.50 (1 subject)"
    assert with_interval({**many, "subjects": 2}, "+.1f") == "+0.5 [+0.2, +0.8]"
