"""A real server that paints with conditions, with a style, into photos, and scores pictures, on the pocket base."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

import limner
from limner.apps.api.config import Config
from limner.apps.api.services import Services
from limner.apps.jobs.conditions import Networks
from limner.core.subject import Subject
from limner.methods import methods
from limner.pocket.subjects import toy
from tests.helpers import begun_weights, fast, person

from .conftest import add_learned, running

FEW: dict[str, Any] = {"steps": 3, "seed": 5}


@dataclass
class Live:
    """A running server, its concepts' ids by name, and a client of it."""

    client: httpx.Client
    services: Services
    ids: dict[str, str]

    def job(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Submit work and wait for its end; return the job."""
        answer = self.client.post(path, json=body)
        assert answer.status_code == 202, answer.text
        told = answer.json()
        return self.over(told.get("id") or told["job"])

    def over(self, number: str) -> dict[str, Any]:
        end = time.monotonic() + 120
        while (job := self.client.get(f"/api/jobs/{number}").json())["state"] in ("queued", "running"):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert job["state"] == "done", job["failure"]
        result: dict[str, Any] = job
        return result

    def paint(self, prompt: str, *names: str, **more: Any) -> dict[str, Any]:
        """Paint one picture with these concepts and return its row."""
        concepts = [{"id": self.ids[name], "scale": 1.0} for name in names]
        payload = {"prompts": [prompt], "concepts": concepts, **FEW, **more}
        return self.picture(self.job("/api/jobs", {"kind": "paint", "payload": payload}))

    def picture(self, job: dict[str, Any]) -> dict[str, Any]:
        (number,) = job["result"]["pictures"]
        row: dict[str, Any] = self.client.get(f"/api/pictures/{number}").json()
        return row

    def pixels(self, picture: dict[str, Any]) -> Any:
        data = self.client.get(f"/api/pictures/{picture['id']}/content").content
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    def upload(self, image: Image.Image) -> str:
        answer = self.client.post("/api/pictures", files={"picture": ("a.png", png_of(image))})
        return str(answer.raise_for_status().json()["id"])

    def form(self, path: str, data: dict[str, Any], files: dict[str, Image.Image]) -> httpx.Response:
        """Send a form of the studio as a browser without scripts does."""
        token = self.client.get("/settings").text.partition('name="form_token" value="')[2].partition('"')[0]
        sent = {name: (f"{name}.png", png_of(image)) for name, image in files.items()}
        return self.client.post(path, data={"form_token": token, **data}, files=sent or {"none": ("", b"")})

    def painted_by(self, answer: httpx.Response) -> dict[str, Any]:
        """The picture of the job that a form led to."""
        assert answer.status_code == 303, answer.text
        return self.picture(self.over(answer.headers["location"].rpartition("/")[2]))


def png_of(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def photo(size: tuple[int, int] = (128, 128)) -> Image.Image:
    """A photo of another dog."""
    image = toy("dog", 2_000_099, count=1).pictures[0].image
    assert image is not None
    whole = Image.new("RGB", size, (90, 120, 160))
    whole.paste(image.resize((min(size), min(size))))
    return whole


def box(size: tuple[int, int], *where: int) -> Image.Image:
    """A mask that is white in a box."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle(where, fill=255)
    return mask


@pytest.fixture(scope="module")
def live(base: Any, rex: Subject, control: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("studio")
    begun_weights("pe_viton", base)
    style = replace(toy("car", 2_000_021, count=2), handle="<sty>", noun="style", kind="style")
    learned = {
        "rex": ("textual_inversion", rex),
        "sty": ("textual_inversion", style),
        "guide": ("freecontrol", replace(rex, handle="<guide>")),
        "swap": ("photoswap", replace(rex, handle="<swap>")),
    }
    config = Config(data=folder, port=0, quiet=True, networks=Networks({"edges": str(control)}))
    with running(config) as (address, _, services), httpx.Client(base_url=address, timeout=60) as client:
        live = Live(client, services, {})
        for name, (method, subject) in learned.items():
            concept = limner.learn(base, subject, method=method, **fast(methods()[method]))
            live.ids[name] = add_learned(services, concept, folder)
        yield live


# ----------------------------------------------------------------------------------------------------------- conditions


def test_a_concept_reads_its_condition_and_the_picture_records_it(live: Live) -> None:
    plain = live.paint("<guide> on the beach", "guide")
    source = live.upload(photo())
    with_it = live.paint("<guide> on the beach", "guide", conditions={"source": source})
    again = live.paint("<guide> on the beach", "guide", conditions={"source": source})
    assert (live.pixels(with_it) == live.pixels(again)).all()
    assert np.abs(live.pixels(with_it) - live.pixels(plain)).mean() > 2
    assert with_it["settings"]["conditions"] == ["source"]
    assert "conditions" not in plain["settings"]
    page = live.client.get(f"/pictures/{with_it['id']}").text
    assert "<dt>conditions</dt><dd>source</dd>" in page


def test_the_servers_control_branch_reads_edges_that_are_given_or_computed(live: Live) -> None:
    """The studio's form: a picture of edges, or a photo that they are computed from."""
    plain = live.painted_by(live.form("/paint", {"prompt": "a dog", "count": 1, **FEW}, {}))
    about = {"prompt": "a dog", "count": 1, "condition": "edges", **FEW}
    given = live.painted_by(live.form("/paint", about, {"condition_file": box((128, 128), 30, 30, 90, 90)}))
    about = {"prompt": "a dog", "count": 1, "computed": "edges", **FEW}
    computed = live.painted_by(live.form("/paint", about, {"like_file": photo((200, 200))}))
    pictures = [live.pixels(each) for each in (plain, given, computed)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (pictures[one] != pictures[other]).any()
    assert given["settings"]["conditions"] == computed["settings"]["conditions"] == ["edges"]
    assert "conditions" not in plain["settings"]
    # its settings come back, with the picture it was conditioned on
    page = live.client.get(f"/paint?like={given['id']}").text
    kept = page.partition('name="kept" value="')[2].partition('"')[0]
    again = live.painted_by(live.form("/paint", {"prompt": "a dog", "count": 1, "kept": kept, **FEW}, {}))
    assert (live.pixels(again) == pictures[1]).all()


def test_a_condition_that_nothing_reads_is_refused_before_it_is_queued(live: Live) -> None:
    before = len(live.client.get("/api/jobs").json()["jobs"])
    picture, wide = live.upload(photo()), live.upload(photo((160, 128)))
    payload: dict[str, Any] = {"prompts": ["<rex>"], "concepts": [{"id": live.ids["rex"]}], **FEW}
    for conditions, words in (
        ({"depth": picture}, "nothing reads the condition 'depth' among pocket, <rex>: they read edges"),
        ({"source": picture}, "a likeness learned by "),
        ({"edges": wide}, "160 x 128 pixels"),
    ):
        answer = live.client.post("/api/jobs", json={"kind": "paint", "payload": {**payload, "conditions": conditions}})
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]
    more = {"like": picture, "computed": ["pose"]}
    answer = live.client.post("/api/jobs", json={"kind": "paint", "payload": {**payload, **more}})
    assert (
        "computes edges, lines, source, depth, segmentation of a picture, not 'pose'"
        in answer.json()["error"]["message"]
    )
    answer = live.form("/paint", {"prompt": "<rex>", "condition": "depth"}, {"condition_file": photo()})
    assert answer.status_code == 400
    assert "nothing reads the condition &#39;depth&#39;" in answer.text
    assert len(live.client.get("/api/jobs").json()["jobs"]) == before


# ---------------------------------------------------------------------------------------------------------------- style


def test_the_page_and_the_api_paint_a_likeness_in_a_style(live: Live) -> None:
    page = live.client.get("/paint").text
    choice = page.partition('<select id="style"')[2].partition("</select>")[0]
    assert live.ids["sty"] in choice
    assert live.ids["rex"] not in choice
    form = {"prompt": "<rex> on the beach", "count": 1, **FEW}
    plain = live.painted_by(live.form("/paint", form, {}))
    styled = live.painted_by(live.form("/paint", {**form, "style": live.ids["sty"]}, {}))
    assert styled["prompt"] == "<rex> on the beach, in the style of <sty>"
    assert {each["name"] for each in styled["concepts"]} == {"rex", "sty"}
    assert np.abs(live.pixels(styled) - live.pixels(plain)).mean() > 1
    half = {**form, "style": live.ids["sty"], f"scale-{live.ids['sty']}": "0.5"}
    weaker = live.painted_by(live.form("/paint", half, {}))
    assert {each["name"]: each["scale"] for each in weaker["concepts"]} == {"rex": 1.0, "sty": 0.5}
    assert (live.pixels(weaker) != live.pixels(styled)).any()
    # the same picture, by the images API
    lora = [{"name": "rex"}, {"name": "sty"}]
    body = {"prompt": styled["prompt"], "lora": lora, "seed": 5, "num_inference_steps": 3}
    entry = live.client.post("/v1/images/generations", json=body).raise_for_status().json()["data"][0]
    assert np.abs(live.pixels(entry) - live.pixels(styled)).max() <= 2
    entry = live.client.post("/v1/images/generations", json={**body, "prompt": "<rex> on the beach"}).json()["data"][0]
    assert entry["revised_prompt"] == "<rex> on the beach in <sty>"


# --------------------------------------------------------------------------------------------------------------- photos


def test_a_likeness_is_put_into_a_photo(live: Live) -> None:
    size, where = (200, 160), (40, 40, 119, 119)
    wide, mask = photo(size), box(size, *where)
    body = {"photo": live.upload(wide), "where": live.upload(mask), "concept": live.ids["swap"], "steps": 3}
    job = live.job("/api/swaps", {**body, "source_prompt": "a dog on the beach", "seed": 2})
    picture = live.picture(job)
    assert (job["kind"], picture["prompt"]) == ("swap", "a <swap> on the beach")
    assert [each["name"] for each in picture["concepts"]] == ["swap"]
    assert picture["settings"]["conditions"] == ["mask", "source"]
    found, given = live.pixels(picture), np.asarray(wide).astype(int)
    may = np.asarray(mask) > 0
    assert (found[~may] == given[~may]).all()
    assert np.abs(found[may] - given[may]).mean() > 2
    # the page does the same, to a picture of the gallery
    page = live.client.get(f"/swap?photo={picture['id']}&concept={live.ids['rex']}").text
    assert f'name="photo" value="{picture["id"]}"' in page
    rectangle = {"where-left": "20", "where-top": "20", "where-width": "40", "where-height": "50"}
    form = {"photo": picture["id"], "concept": live.ids["rex"], "how": "photoswap", "steps": 3, **rectangle}
    again = live.painted_by(live.form("/swap", form, {}))
    assert again["parent"] == picture["id"]
    assert (live.pixels(again)[100:, 180:] == found[100:, 180:]).all()
    assert (live.pixels(again) != found).any()


def test_a_photo_that_cannot_be_changed_is_refused_before_it_is_queued(live: Live) -> None:
    before = len(live.client.get("/api/jobs").json()["jobs"])
    wide, square = live.upload(photo((160, 128))), live.upload(photo())
    white = live.upload(Image.new("L", (128, 128), 255))
    body = {"concept": live.ids["swap"]}
    for more, words in (
        ({"photo": wide}, "the photo is 160 x 128 pixels, and a base paints squares"),
        ({"photo": wide, "where": white}, "the mask is 128 x 128 pixels and the photo 160 x 128"),
        ({"photo": square, "where": white}, "white everywhere"),
        ({"photo": square, "prompt": "a cat"}, "does not name <swap>"),
        ({"photo": square, "source_noun": "cat", "source_prompt": "a tree"}, "does not name the cat"),
        ({"photo": square, "how": "photoswp"}, "did you mean 'photoswap'"),
        ({"photo": "0" * 32}, "there is no picture"),
    ):
        answer = live.client.post("/api/swaps", json={**body, **more})
        assert answer.status_code in (400, 404), answer.text
        assert words in answer.json()["error"]["message"]
    answer = live.client.post("/api/try-ons", json={"person": square, "garment": square, "where": white})
    assert "white everywhere" in answer.json()["error"]["message"]
    for path, form in (("/swap", {}), ("/swap", {"photo": wide, "concept": live.ids["swap"]}), ("/try-on", {})):
        assert live.form(path, form, {}).status_code == 400
    assert len(live.client.get("/api/jobs").json()["jobs"]) == before


def test_a_person_is_dressed(live: Live) -> None:
    wearer = person().pictures[0].image
    assert wearer is not None
    shirt = box((96, 96), 20, 20, 75, 90).convert("RGB")
    mask = box(wearer.size, 30, 90, 98, 126)
    files = {"person_file": wearer, "garment_file": shirt, "where_file": mask}
    picture = live.painted_by(live.form("/try-on", {"noun": "shirt", "seed": 1, "steps": 3}, files))
    found, given, may = live.pixels(picture), np.asarray(wearer.convert("RGB")).astype(int), np.asarray(mask) > 0
    assert (found[~may] == given[~may]).all()
    assert np.abs(found[may] - given[may]).mean() > 2
    body = {"person": live.upload(wearer), "garment": live.upload(shirt), "where": live.upload(mask), "steps": 3}
    again = live.picture(live.job("/api/try-ons", {**body, "seed": 1}))
    assert (live.pixels(again) == found).all()
    other = live.picture(live.job("/api/try-ons", {**body, "seed": 1, "garment": live.upload(photo())}))
    assert (live.pixels(other) != found).any()


# --------------------------------------------------------------------------------------------------------------- scores


def test_given_pictures_are_scored_by_a_concept(live: Live) -> None:
    painted = live.paint("<rex> on the beach", "rex", steps=8)
    real = toy("dog", 2_000_012, count=1).pictures[0].image
    assert real is not None
    pictures = [painted["id"], live.upload(real), live.upload(Image.new("RGB", (128, 128), "white"))]
    job = live.job("/api/scores", {"concept": live.ids["rex"], "pictures": pictures})
    rows = job["result"]["scored"]
    assert [row["picture"] for row in rows] == pictures
    assert [row["prompt"] for row in rows] == ["<rex> on the beach", "a photo of <rex>", "a photo of <rex>"]
    assert rows[1]["scores"]["clip_t"] > rows[2]["scores"]["clip_t"]
    assert set(job["result"]["mean"]) >= {"clip_t"}
    concept = live.client.get(f"/api/concepts/{live.ids['rex']}").json()
    assert "with it" not in concept["scores"]  # those are of pictures painted for it
    body = {"concept": live.ids["rex"], "pictures": pictures, "prompts": ["a dog", "a cat"]}
    answer = live.client.post("/api/scores", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompts")
