"""A method's page has its scores in the suites, beside the baselines of the same parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from docs import suites
from limner.evaluation.suites import BASE, CONDITIONS, FORMAT, STYLES, TRUTH, UNCHANGED, summary


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
