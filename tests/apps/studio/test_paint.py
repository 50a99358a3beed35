"""The form of the page Paint leads to the painting that it describes, and says what is wrong with it otherwise."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from limner.apps.jobs.conditions import Networks
from limner.apps.jobs.tables import Concept, Picture
from limner.apps.studio.canvases import extended, rectangle
from limner.apps.studio.paint import box_in_percent
from limner.core.picture import Picture as Painted

from .conftest import Studio, open_server, services_of
from .rows import png


def test_a_form_that_is_sent_twice_is_one_job(studio: Studio) -> None:
    form = {"prompt": "a dog", "seed": "1", "key": "5f" * 16}
    assert studio.post("/paint", form).headers["location"] == studio.post("/paint", form).headers["location"]


def paint(studio: Studio, form: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = studio.post("/paint", {"prompt": "<rex> in the snow", "seed": "9", **form}, **more)
    assert answer.status_code == 303, answer.text
    return studio.last_job().payload


def test_a_handle_in_the_prompt_brings_its_likeness_at_its_strength(studio: Studio) -> None:
    concept = studio.ids["concept"]
    payload = paint(
        studio,
        {f"scale-{concept}": "0.7", "count": "3", "steps": "12", "negative": "blur", "prompts": "<rex> at night"},
    )
    assert payload["concepts"] == [{"id": concept, "scale": 0.7}]
    assert payload["prompts"] == ["<rex> in the snow", "<rex> at night"]
    assert [payload[name] for name in ("seed", "count", "steps", "negative")] == [9, 3, 12, "blur"]


def test_boxes_become_regions(studio: Studio) -> None:
    payload = paint(
        studio,
        {"region-0": "<rex>", "left-0": "10", "top-0": "0", "width-0": "40", "height-0": "100", "compose": "attention"},
    )
    assert payload["regions"] == {"<rex>": "0.1,0,0.5,1"}
    assert payload["compose"] == "attention"


def test_a_rectangle_by_keyboard_makes_the_mask(studio: Studio) -> None:
    form = {
        "onto": studio.ids["picture"],
        "where-left": "50",
        "where-top": "0",
        "where-width": "50",
        "where-height": "100",
        "start": "0",
    }
    payload = paint(studio, form)
    mask = Image.open(io.BytesIO(studio.services.files.read(payload["where"])))
    assert payload["onto"] == studio.ids["picture"]
    assert mask.getpixel((0, 0)) == 0
    assert mask.getpixel((mask.width - 1, 0)) == 255


def test_a_picture_is_extended_beyond_its_edge(studio: Studio) -> None:
    payload = paint(studio, {"extend-right": "50"}, files={"onto_file": ("a.png", png("#336699", 40), "image/png")})
    whole, mask = (Image.open(io.BytesIO(studio.services.files.read(payload[name]))) for name in ("onto", "where"))
    assert whole.size == mask.size == (60, 40)
    assert whole.getpixel((0, 0)) == (0x33, 0x66, 0x99)
    assert (mask.getpixel((39, 5)), mask.getpixel((40, 5))) == (0, 255)


def test_extending_keeps_the_picture_to_the_bit() -> None:
    image = Image.effect_noise((20, 10), 60).convert("RGB")
    whole = Image.open(io.BytesIO(extended(image, (0.5, 0.2, 0, 0))[0]))
    assert whole.crop((10, 2, 30, 12)).tobytes() == image.tobytes()


def test_a_rectangle_outside_of_the_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match="outside of the picture"):
        rectangle((10, 10), (1.0, 0.0, 0.5, 0.5))


def test_conditions_need_name_and_picture_and_somebody_who_reads_them(studio: Studio, tmp_path: Path) -> None:
    files = {"condition_file": ("e.png", png("black"), "image/png")}
    more = {"condition2_file": ("m.png", png("white"), "image/png")}
    networks = Networks({"edges": str(tmp_path), "pose": str(tmp_path)})
    with open_server(tmp_path / "studio", networks=networks) as client:
        able = Studio(client, services_of(client), {})
        form = {"prompt": "a dog", "condition": "edges", "condition2": "pose"}
        payload = paint(able, form, files=files | more)
        assert set(payload["conditions"]) == {"edges", "pose"}
        assert all(able.services.files.has(each) for each in payload["conditions"].values())
        assert able.post("/paint", form, files=files).status_code == 400
        assert "Read by every painting: edges, pose." in able.get("/paint").text
    answer = studio.post("/paint", {"prompt": "a dog", "condition": "edges"}, files=files)
    assert answer.status_code == 400
    assert "nothing reads the condition" in answer.text
    assert "None of your likenesses is known to read a condition" in studio.get("/paint").text


@pytest.mark.parametrize(
    ("form", "words"),
    [({"prompt": ""}, "empty"), ({"steps": "0"}, "steps"), ({"sampler": "rm"}, "sampler"), ({"count": "two"}, "count"),
     ({"onto": "../etc/passwd"}, "picture"), ({"seed": "-1"}, "seed")],
)  # fmt: skip
def test_a_wrong_field_is_named(studio: Studio, form: dict[str, str], words: str) -> None:
    answer = studio.post("/paint", {"prompt": "a dog", **form})
    assert answer.status_code in (400, 404)
    assert words in answer.text


def test_a_png_brings_its_settings_back(studio: Studio, tmp_path: Any) -> None:
    image = Image.new("RGB", (16, 16))
    path = Painted(image, "<rex> at sea", 77, ("<rex>",), "pocket", {"steps": 31, "negative": "fog"}).save(
        tmp_path / "a.png"
    )
    answer = studio.post("/paint/settings", files={"picture": ("a.png", path.read_bytes(), "image/png")})
    page = studio.client.get(answer.headers["location"]).text
    assert 'value="&lt;rex&gt; at sea"' in page
    assert all(f'value="{value}"' in page for value in ("77", "31", "fog"))
    assert f'value="{studio.ids["concept"]}" checked' in page
    assert studio.post("/paint/settings", files={"picture": ("a.png", png("red"), "image/png")}).status_code == 400


def test_a_script_gets_the_panel_that_listens(studio: Studio) -> None:
    text = studio.post("/paint", {"prompt": "a dog"}, headers={"HX-Request": "true"}).text
    assert f'data-live="/api/jobs/{studio.last_job().id}/events"' in text
    assert "<html" not in text


def test_regions_of_a_picture_come_back_as_boxes() -> None:
    in_words, as_stored = box_in_percent("0,0,0.5,1"), box_in_percent([0.0, 0.0, 0.5, 1.0])
    assert in_words == as_stored == {"left": 0, "top": 0, "width": 50, "height": 100}
    assert set(box_in_percent("/job/mask.png").values()) == {""}


def test_a_dropped_picture_of_the_gallery_brings_back_its_row(studio: Studio) -> None:
    sha256 = studio.row(Picture, studio.ids["picture"]).sha256
    data = studio.services.files.read(sha256)
    answer = studio.post("/paint/settings", files={"picture": ("a.png", data, "image/png")})
    like = answer.headers["location"].removeprefix("/paint?like=")
    assert studio.row(Picture, like).sha256 == sha256


def test_two_likenesses_of_one_handle_have_labels_of_their_own_and_are_not_mixed(studio: Studio) -> None:
    newest = studio.ids["concept"]
    older = studio.copy_concept(newest)
    page = studio.get("/paint").text
    labels = [
        page.partition(f'value="{number}"')[2].partition("</label>")[0].rpartition(">")[2] for number in (newest, older)
    ]
    assert all("&lt;rex&gt;, lora_dreambooth" in label for label in labels)
    assert labels[0] != labels[1]
    assert page.count('<option value="&lt;rex&gt;"') == 4
    assert [each["id"] for each in paint(studio, {})["concepts"]] == [newest]
    assert [each["id"] for each in paint(studio, {"concept": older})["concepts"]] == [older]
    answer = studio.post("/paint", {"prompt": "a dog", "concept": [newest, older]})
    assert answer.status_code == 400
    assert "two of the ticked likenesses answer to" in answer.text
    with (
        studio.services.database.session() as session
    ):  # a preference in a conversation made the newest, and may be undone
        made = session.get_one(Concept, newest)
        before, made.job_id = made.job_id, studio.ids["converse"]
    assert [each["id"] for each in paint(studio, {})["concepts"]] == [older]
    assert [each["id"] for each in paint(studio, {"concept": newest})["concepts"]] == [newest]
    with studio.services.database.session() as session:
        session.get_one(Concept, newest).job_id = before
    studio.post(f"/concepts/{older}/delete")
