"""A method's page has its scores in the suites, beside the baselines of the same parts; and so have the pages of faces,
of pairs and of two people, on small made-up results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from docs import couples, generate, suites
from limner.evaluation.results import FORMAT as PLAIN_FORMAT
from limner.evaluation.suites import BASE, CONDITIONS, COUPLES, FORMAT, PAIRS, STYLES, TRUTH, UNCHANGED, Suite, summary
from limner.evaluation.summary import BASE as BASE_METHOD
from limner.evaluation.table1 import put_together

from .helpers import open_image


def unit(method: str, part: str, style: float) -> dict[str, Any]:
    about = {"key": f"{method} {part}".replace(" ", "-"), "method": method, "label": method, "settings": {}}
    return {**about, "family": part, "case": f"ink of {part}", "values": {"style": style}, "cost": {}}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    units = [unit("styledrop", "held out", 0.71), unit(BASE, "held out", 0.02), unit(BASE, "known", 0.03)]
    record = {"format": FORMAT, "suite": "styles", "plan": {"prompts": 2}, "versions": {}, "units": units}
    (tmp_path / "styles.json").write_text(json.dumps({**record, "summary": summary(units, STYLES)}))
    monkeypatch.setattr(suites, "RESULTS", tmp_path)
    monkeypatch.setattr(suites, "SHEETS", tmp_path)
    return tmp_path


def test_a_page_has_the_methods_rows_and_the_baselines_of_its_parts_alone(house: Path) -> None:
    text = "\n".join(suites.of_method("styledrop"))
    assert "In the suite of styles (1 case, 2 prompts each" in text
    assert "| styledrop | held out | 0.710 |" in text
    assert f"| {BASE} | held out | 0.020 |" in text
    assert "known" not in text
    assert "![pictures]" not in text
    assert suites.of_method("dreambooth") == []


def test_what_suites_alone_measured_is_experimental(house: Path) -> None:
    assert suites.standing("styledrop") == "**Experimental**: measured by `limner bench --suite styles`, on 1 case."
    assert suites.standing("dreambooth") == ""


def test_a_sheet_has_a_row_for_each_unit_and_a_picture_for_each_prompt(house: Path) -> None:
    strip = Image.new("RGB", (128, 258), "blue")
    strip.paste("red", (0, 0, 128, 128))
    strip.save(house / "styledrop-held-out.jpg")
    suites.sheets("styles", house)
    sheet = Image.open(house / "styledrop-styles.webp").convert("RGB")
    assert sheet.size == (2 * suites.SIDE, suites.SIDE)
    red, blue = sheet.getpixel((48, 48)), sheet.getpixel((144, 48))
    assert isinstance(red, tuple)
    assert isinstance(blue, tuple)
    assert red[0] > 200
    assert blue[2] > 200
    assert "![pictures](../images/methods/styledrop-styles.webp)" in suites.of_method("styledrop")
    assert not (house / f"{BASE}-styles.webp").exists()


def test_a_garment_is_shown_beside_the_source_as_it_is(house: Path) -> None:
    units = []
    for number, (method, nearness) in enumerate((("pe_viton", 0.31), (TRUTH, 1.0), (UNCHANGED, 0.0))):
        about = {"key": str(number), "method": method, "label": method, "condition": "garment", "case": "shirt-58"}
        values = {"background": 0.02, "identity": 0.5, "garment": nearness, "colour": 0.1, "pattern": 0.05}
        units.append({**about, "settings": {}, "values": values, "cost": {}})
    record = {"format": FORMAT, "suite": "conditions", "plan": {"prompts": 1}, "versions": {}, "units": units}
    (house / "conditions.json").write_text(json.dumps({**record, "summary": summary(units, CONDITIONS)}))
    for text in (suites.table("conditions"), "\n".join(suites.of_method("pe_viton"))):
        assert "| background error ↓ | identity ↑ | garment ↑ | colour error ↓ | pattern error ↓ |" in text
        assert "| pe_viton | garment | 0.020 | 0.500 | 0.310 | 0.100 | 0.050 |" in text
        assert f"| {UNCHANGED} | garment | 0.020 | 0.500 | 0.000 |" in text
    Image.new("RGB", (128, 128)).save(house / "2.jpg")
    Image.new("RGB", (128, 128)).save(house / "0.jpg")
    suites.sheets("conditions", house)
    assert (house / "pe_viton-conditions.webp").exists()
    assert not (house / f"{UNCHANGED}-conditions.webp").exists()


# --------------------------------------------------------------------------------- pairs, faces, table 1 and couples


def both_unit(suite: Suite, method: str, way: str, case: str, **values: float) -> dict[str, Any]:
    key = f"{method}-{way}-{case}".replace(" ", "-")
    about = {"key": key, "method": method, "label": method, "settings": {}, suite.part: way, suite.case: case}
    return {**about, "values": values, "cost": {}}


def write(path: Path, suite: Suite, units: list[dict[str, Any]], prompts: int = 2) -> None:
    record = {"format": FORMAT, "suite": suite.name, "plan": {"prompts": prompts}, "versions": {}, "units": units}
    path.write_text(json.dumps({**record, "summary": summary(units, suite)}))


def faces_record() -> dict[str, Any]:
    """A bench of two people with one method and one baseline."""

    def row(method: str, fidelity: float) -> dict[str, Any]:
        ends = {"low": fidelity - 0.1, "high": fidelity + 0.1, "subjects": 2}
        return {
            "method": method,
            "numbers": {"F": {"mean": fidelity, **ends}, "face_identity": {"mean": 0.61, **ends}},
            "cost": {"seconds": 7.0, "bytes": 2000.0, "seconds_per_picture": 1.0, "pretraining_steps": 0.0},
            "diagnoses": {},
        }

    units = [
        {"method": method, "case": f"person-{k}", "key": f"{method}-{k}".replace(" ", "-"), "cost": {}}
        for method in ("face0", BASE_METHOD)
        for k in (1, 2)
    ]
    empty: dict[str, Any] = {"about": "", "set": {"name": "people", "absent": []}, "versions": {}, "metrics": {}}
    plan = {"prompts": 2, "seeds": [0], "base": "pocket"}
    rows = {"face0": row("face0", 0.5), BASE_METHOD: row(BASE_METHOD, 0.0)}
    return {
        **empty,
        "format": PLAIN_FORMAT,
        "plan": plan,
        "seconds": 1.0,
        "correlations": {},
        "summary": rows,
        "units": units,
    }


@pytest.fixture
def more(house: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The house with results of pairs, faces, table 1 and couples."""
    units = [
        both_unit(PAIRS, "mc2", "together", "dog and car", identity=0.4, leakage=0.2),
        both_unit(PAIRS, "mix_of_show", "blend", "dog and car", identity=0.6, leakage=0.1),
        both_unit(PAIRS, TRUTH, TRUTH, "dog and car", identity=0.9, leakage=0.0),
    ]
    write(house / "pairs.json", PAIRS, units)
    (house / "faces.json").write_text(json.dumps(faces_record()))
    part = {**faces_record(), "summary": {"face2diffusion": faces_record()["summary"]["face0"]}}
    part["summary"]["face2diffusion"]["method"] = "face2diffusion"
    (house / "table1.json").write_text(json.dumps(put_together({"face": part}, {})))
    first = "person-344 and person-500"
    made = [
        both_unit(COUPLES, "lora_dreambooth", "together", first, leakage=0.6, identity=0.3),
        both_unit(COUPLES, "lora_dreambooth", "blend", first, leakage=0.1, identity=0.5),
        both_unit(COUPLES, TRUTH, TRUTH, first, leakage=0.05, identity=0.8),
        {**both_unit(COUPLES, "mc2", "blend", first), "why_not": "it separates by itself"},
    ]
    made[-1].pop("values")
    write(house / "couples.json", COUPLES, made)
    monkeypatch.setattr(couples, "RESULTS", house / "couples.json")
    monkeypatch.setattr(couples, "SHEETS", house / "couples")
    return house


def test_pairs_have_a_table_and_stand_on_pages_beside_renders_of_both(more: Path) -> None:
    table = suites.table("pairs")
    assert "| mix_of_show | blend | 0.600 |" in table
    assert "results/pairs.json" in table
    text = "\n".join(suites.of_method("mc2"))
    assert "In the suite of two subjects in a picture (1 case, 2 prompts each" in text
    assert "| mc2 | together | 0.400 |" in text
    assert f"| {TRUTH} | {TRUTH} | 0.900 |" in text
    assert "mix_of_show" not in text
    assert suites.standing("mc2") == "**Experimental**: measured by `limner bench --suite pairs`, on 1 case."


def test_faces_have_a_table_and_stand_on_pages_with_their_pictures(more: Path) -> None:
    table = suites.faces_table()
    assert "face0" in table
    assert "2 held-out people, 2 prompts each, 1 seed." in table
    assert "results/faces.json" in table
    strip = Image.new("RGB", (128, 258), "red")
    strip.save(more / "face0-1.jpg")
    suites.face_sheets(more)
    assert open_image(more / "face0-faces.webp").size == (2 * suites.SIDE, suites.SIDE)
    assert not (more / f"{BASE_METHOD}-faces.webp").exists()
    text = "\n".join(suites.of_method("face0"))
    assert "In the suite of faces. 2 held-out people" in text
    assert "0.50 [0.40, 0.60]" in text
    assert "base alone" in text
    assert "![pictures](../images/methods/face0-faces.webp)" in text
    assert suites.of_method("instantid") == []
    assert suites.standing("face0") == "**Experimental**: measured by `limner bench --suite faces`, on 2 cases."


def test_a_row_of_table_1_stands_on_its_methods_page_beside_the_published_one(more: Path) -> None:
    text = "\n".join(suites.of_method("face2diffusion"))
    assert "In [Table 1](../table1.md) of the survey" in text
    assert "| Face2Diffusion, faces | - | 0.610 | 0.500 | - | 0." in text


def test_without_results_every_table_says_how_to_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "RESULTS", tmp_path)
    monkeypatch.setattr(couples, "RESULTS", tmp_path / "couples.json")
    assert "limner bench --suite pairs" in suites.table("pairs")
    assert "limner bench --suite faces" in suites.faces_table()
    assert "limner bench --suite couples" in couples.page()
    assert suites.of_method("face0") == []


def test_the_page_of_two_people_has_each_methods_picture_the_least_leakage_first(more: Path) -> None:
    strip = Image.new("RGB", (128, 258), "blue")
    strip.paste("red", (0, 0, 128, 128))
    strip.save(more / "lora_dreambooth-blend-person-344-and-person-500.jpg")
    couples.sheets(more)
    sheet = open_image(more / "couples" / "lora_dreambooth-blend.webp").convert("RGB")
    assert sheet.size == (2 * suites.SIDE, suites.SIDE)
    assert open_image(more / "couples" / "the-two-people.webp").size == (2 * suites.SIDE, suites.SIDE)
    text = couples.page()
    rows = [line for line in text.split("\n") if line.startswith("|")][2:]
    assert "![blend](images/couples/lora_dreambooth-blend.webp) | lora_dreambooth | blend | 0.100 |" in rows[0]
    assert rows[1].startswith("|  | lora_dreambooth | together | 0.600 |")
    assert TRUTH in rows[2]
    assert "* mc2, blend: it separates by itself" in text
    assert "![the two people](images/couples/the-two-people.webp)" in text
    assert "person-344 and person-500, not selected" in text


def test_the_pages_that_hold_these_tables_have_a_place_for_each() -> None:
    docs = generate.ROOT / "docs"
    for page, names in (("results.md", ("pairs", "faces")), ("couples.md", ("couples",)), ("table1.md", ("table1",))):
        text = (docs / page).read_text(encoding="utf-8")
        for name in names:
            assert "new" in generate.within(text, name, "new")
