"""The rows of the survey's Table 1, their protocols, and what is compared with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limner.core.escaping import Markup
from limner.errors import FileError
from limner.evaluation import report_table1
from limner.evaluation.survey import differences, explanation, methods_of, published, rows_of
from limner.evaluation.table1 import (
    COLUMNS,
    COSTS,
    LEFT_OUT,
    LIKENESS,
    correlations,
    measured_rows,
    places,
    put_together,
    read_table1,
    suite_of,
)
from limner.pocket.subjects import prompts, table_prompts

OBJECTS = (
    "textual_inversion", "dreambooth", "p_plus", "custom_diffusion", "neti", "svdiff", "perfusion", "elite", "blip_diffusion",
    "ip_adapter", "ssr_encoder", "moma", "diptych_prompting", "lambda_eclipse", "ms_diffusion",
)  # fmt: skip
FACES = (
    "cross_initialization",
    "face2diffusion",
    "ssr_encoder",
    "fastcomposer",
    "ip_adapter",
    "photomaker",
    "instantid",
)


def part_of(values: dict[str, dict[str, float]], *, task: str = "object") -> dict[str, Any]:
    """The summary of a bench in which these methods have these means."""
    names = {"likeness": LIKENESS[task]}
    return {
        "summary": {
            f"{method} (steps=1)": {
                "method": method,
                "numbers": {names.get(column, column): {"mean": value} for column, value in numbers.items()},
                "cost": dict.fromkeys(COSTS, 2.0),
            }
            for method, numbers in values.items()
        }
    }


def test_the_rows_are_those_of_the_survey() -> None:
    assert len(published()) == 23
    assert (len(rows_of("object")), len(rows_of("face"))) == (15, 8)
    assert methods_of("object") == OBJECTS
    assert methods_of("face") == FACES
    by_label = {(row.task, row.label): row for row in published()}
    assert (by_label["object", "IP-Adapter"].clip_t, by_label["object", "IP-Adapter"].likeness) == (0.2722, 0.825)
    assert by_label["face", "IP-Adapter (SD 1.5)"].likeness == 0.462
    assert by_label["face", "IP-Adapter (SDXL)"].likeness == 0.642
    front = {
        row.label
        for row in rows_of("object")
        if not any(
            other.clip_t >= row.clip_t and other.likeness >= row.likeness and other is not row
            for other in rows_of("object")
        )
    }
    assert front == {"NeTI", "IP-Adapter", "SSR Encoder", "MoMA", "Diptych Prompting", "MS-Diffusion"}


def test_a_script_is_known_of_twelve_rows_and_told_of_each() -> None:
    assert sum(row.script == "published" for row in published()) == 12
    told = {(row.task, row.label): "; ".join(differences(row)) for row in published()}
    assert "class noun absent" in told["object", "Textual Inversion"]
    assert "stable-diffusion-v1-4" in told["object", "DreamBooth"]
    assert "stable-diffusion-v1-4" not in told["object", "P+"]  # the table says SD 1.4 too
    assert "0.234 and 0.766" in told["object", "BLIP-Diffusion"]
    assert "stored" not in told["object", "Textual Inversion"]
    assert "ViT-L/14" in told["face", "FastComposer"]
    assert "2 pictures a prompt" in told["face", "IP-Adapter (SDXL)"]
    assert told["object", "NeTI"].startswith("no script published")
    assert "8 of the 15 published rows have a script" in explanation(rows_of("object"))
    assert "CLIP-T reads another text than the canonical prompt in 5" in explanation(rows_of("object"))


def test_correlations_are_scipys() -> None:
    from scipy.stats import spearmanr

    ours = dict(zip(OBJECTS, (0.5, 0.7, 0.7, 0.9, 0.1, 0.3, 0.2), strict=False))
    rows = measured_rows(
        "object", part_of({name: {"clip_t": value, "F": 1 - value} for name, value in ours.items()}), {}
    )
    table = {(row["ours"], row["published"]): row for row in correlations("object", rows)}
    for name in ("clip_t", "likeness"):
        theirs = [getattr(row, name) for row in rows_of("object")][: len(ours)]
        expected = float(spearmanr(list(ours.values()), theirs).statistic)
        assert table["clip_t", name]["value"] == pytest.approx(expected, abs=1e-4)
        assert table["F", name]["value"] == pytest.approx(-expected, abs=1e-4)
        assert table["clip_t", name]["rows"] == 7
    assert table["H", "clip_t"]["value"] is None
    assert table["H", "clip_t"]["rows"] == 0


def test_rows_without_numbers_say_why() -> None:
    rows = measured_rows("face", part_of({"ip_adapter": {"likeness": 0.4}}, task="face"), {"instantid": "not there"})
    by_row = {row["row"]: row for row in rows}
    assert by_row["InstantID"]["why"] == "not there"
    assert by_row["PhotoMaker"]["why"] == LEFT_OUT
    shared = [by_row[f"IP-Adapter ({base})"]["numbers"] for base in ("SD 1.5", "SDXL")]
    assert shared == [{"likeness": 0.4}] * 2
    assert "InstantID (not there)" in report_table1.absent_rows(rows)
    assert report_table1.absent_rows(rows[4:6]) == ""


def test_places_count_from_the_highest() -> None:
    values: dict[str, dict[str, float]] = {
        "dreambooth": {"clip_t": 0.1},
        "elite": {"clip_t": 0.3},
        "moma": {"clip_t": 0.3},
    }
    rows = measured_rows("object", part_of(values), {})
    assert places("object", rows, "clip_t") == {"DreamBooth": (3, 3), "ELITE": (2, 1), "MoMA": (1, 1)}


def test_the_two_tables_stand_beside_each_other_and_are_not_mixed() -> None:
    values = {name: dict.fromkeys(COLUMNS, 0.123) for name in OBJECTS}
    results = put_together({}, {"face": {"instantid": "not there"}})
    results["rows"]["object"] = measured_rows("object", part_of(values), {})
    assert "0.749" not in json.dumps(results)
    head, rows = report_table1.measured_table("object", results["rows"]["object"])
    assert len(rows) == 15
    assert {len(row) for row in rows} == {len(head)}
    text = report_table1.table_markdown(results)
    assert text.index("0.123") < text.index("### Published") < text.index("0.749")
    assert "`a <new1> in the jungle`" in text
    page = report_table1.page(results)
    assert isinstance(page, Markup)
    assert "<code>a &lt;new1&gt; in the jungle</code>" in page
    assert "Nothing of this task was run" in page
    assert "InstantID (not there)" in page
    lines = report_table1.table_csv(results).splitlines()
    assert "object,MoMA,moma,F,0.123" in lines
    assert all("0.749" not in line for line in lines)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for text, said in (
        ("{", "can be read"),
        ('{"format": 1, "suite": "pairs"}', "no results file of the suite table1"),
        ('{"format": 2, "suite": "table1"}', "lacks rows"),
    ):
        path.write_text(text)
        with pytest.raises(FileError, match=said):
            read_table1(path)
    whole = put_together({}, {})
    path.write_text(json.dumps(whole))
    assert read_table1(path) == whole
    assert suite_of(path) == "table1"
    assert suite_of(tmp_path / "none.json") == ""
    path.write_text(json.dumps({**whole, "parts": {"object": {"units": []}}}))
    with pytest.raises(FileError, match="its part 'object' is no results of a bench"):
        read_table1(path)


def test_twenty_five_prompts_ask_for_different_things() -> None:
    every = table_prompts()
    assert len(every) == len({prompt.text for prompt in every}) == len({prompt[1:] for prompt in every}) == 25
    assert every[:10] == prompts()
    for prompt in every:
        assert prompt.text.startswith("{} ")
        assert all(name in prompt.text for name, _ in prompt.accessories)
        assert prompt.scene in prompt.text
        assert (prompt.view == "side") == prompt.text.endswith("from the side")


def test_rows_keep_the_order_of_the_table() -> None:
    assert [row["row"] for row in measured_rows("face", {}, {})] == [row.label for row in rows_of("face")]
