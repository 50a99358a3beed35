"""OpenAI's images API, with a painter of flat colours."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.testclient import TestClient

from limner.apps.jobs.gather import Busy
from limner.errors import PromptError

from .conftest import FlatPainter, Server, add_concept, png

GENERATE, EDIT = "/v1/images/generations", "/v1/images/edits"


def painter_of(client: TestClient) -> FlatPainter:
    painter: FlatPainter = client.app.state.services.painter  # type: ignore[attr-defined]
    return painter


def image_of(entry: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(entry["b64_json"])))


def test_pictures_of_the_base_have_rising_seeds_and_their_record(client: TestClient) -> None:
    body = {"prompt": "a red ball", "n": 3, "seed": 7, "num_inference_steps": 4, "guidance_scale": 2}
    answer = client.post(GENERATE, json=body).json()
    assert [entry["seed"] for entry in answer["data"]] == [7, 8, 9]
    assert [order.seed for order in painter_of(client).orders] == [7, 8, 9]
    image = image_of(answer["data"][0])
    assert image.size == (64, 64)
    assert json.loads(image.info["limner"])["prompt"] == "a red ball"
    assert answer["usage"]["total_tokens"] == 3 + 3 * 16
    assert answer["metrics"]["pictures_in_batch"] == 1
    assert answer["notes"] == []
    assert (answer["output_format"], answer["size"]) == ("png", "64x64")


def test_a_concept_is_a_model_and_its_handle_takes_the_place_of_the_class(client: TestClient) -> None:
    add_concept(client.app.state.services, "me")  # type: ignore[attr-defined]
    told = {"a dog on a beach": "a <rex> on a beach", "on a beach": "<rex> on a beach", "a hat": "<rex>, a hat"}
    for prompt, painted in told.items():
        entry = client.post(GENERATE, json={"prompt": prompt, "model": "rex"}).json()["data"][0]
        assert entry["revised_prompt"] == painted
        assert painter_of(client).orders[-1].prompt == painted
    entry = client.post(GENERATE, json={"prompt": "a <rex> in snow", "model": "rex"}).json()["data"][0]
    assert entry["revised_prompt"] is None


def test_lora_is_one_concept_or_a_list_with_strengths(client: TestClient) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    add_concept(services, "me")
    add_concept(services, "me", "ink", noun="ink style", kind="style")
    client.post(GENERATE, json={"prompt": "<rex>", "lora": {"name": "rex", "scale": 0.5}}).raise_for_status()
    assert painter_of(client).orders[-1].scale == 0.5
    loras = [{"lora_name": "rex", "lora_scale": 0.8}, {"adapter": "ink"}]
    entry = client.post(GENERATE, json={"prompt": "a dog", "model": "pocket", "lora": loras}).json()["data"][0]
    order = painter_of(client).orders[-1]
    assert (order.prompt, order.scale, [scale for _, scale in order.further]) == ("a <rex> in <ink>", 0.8, [1.0])
    assert entry["revised_prompt"] == "a <rex> in <ink>"
    client.post(GENERATE, json={"prompt": "<rex>", "model": "rex", "lora": {"name": "rex", "scale": 0.3}})
    assert (painter_of(client).orders[-1].scale, painter_of(client).orders[-1].further) == (0.3, ())


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_pictures_come_in_the_format_and_size_that_was_asked_for(client: TestClient, kind: str) -> None:
    body = {"prompt": "x", "output_format": kind, "size": "128x96", "output_compression": 60}
    answer = client.post(GENERATE, json=body).json()
    image = image_of(answer["data"][0])
    assert (image.format, image.size) == (kind.upper(), (128, 96))
    assert "resized to 128x96" in answer["notes"][0]
    file = client.post(GENERATE, json={**body, "response_format": "file"})
    assert file.headers["content-type"] == f"image/{kind}"
    assert Image.open(io.BytesIO(file.content)).size == (128, 96)


def test_a_url_leads_to_this_servers_own_copy(server: Server) -> None:
    entry = server.ann.post(GENERATE, json={"prompt": "x", "response_format": "url"}).json()["data"][0]
    assert entry["url"].startswith("http://127.0.0.1:7860/v1/images/")
    assert server.ann.get(entry["url"]).headers["content-type"] == "image/png"
    assert server.bob.get(entry["url"]).status_code == 404
    assert server.anybody.get(entry["url"]).status_code == 401


def test_several_files_come_in_an_archive(client: TestClient) -> None:
    answer = client.post(GENERATE, json={"prompt": "x", "n": 2, "response_format": "file"})
    assert answer.headers["content-type"] == "application/zip"
    assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == ["image_0.png", "image_1.png"]


REFUSED = [
    ({"lora": {"name": "rex", "path": "/etc/passwd"}}, "path_refused"),
    ({"lora": {"name": "rex", "lora_path": "https://evil.example/x"}}, "path_refused"),
    ({"lora_path": "/etc/passwd"}, "path_refused"),
    ({"url": "http://169.254.169.254/"}, "path_refused"),
    ({"lora": {"scale": 1.0}}, "invalid_field"),
    ({"lora": [{"name": "rex"}] * 9}, "invalid_field"),
    ({"background": "transparent"}, "invalid_field"),
    ({"quality": "superb"}, "invalid_field"),
    ({"n": 11}, "invalid_field"),
    ({"n": "two"}, "invalid_field"),
    ({"size": "64"}, "invalid_field"),
    ({"size": "99999x99999"}, "invalid_field"),
    ({"num_inference_steps": 0}, "invalid_field"),
    ({"guidance_scale": 1e9}, "invalid_field"),
    ({"seed": -1}, "invalid_field"),
    ({"seed": 2**60}, "invalid_field"),
    ({"output_format": "gif"}, "invalid_field"),
    ({"prompt": " "}, "invalid_field"),
    ({"prompt": "x" * 32_001}, "invalid_field"),
    ({"prompt": "a\0b"}, "invalid_field"),
    ({"true_cfg_scale": 2}, "unknown_field"),
    ({"nonsense": 1}, "unknown_field"),
    ({"model": "no such model"}, "model_not_found"),
    ({"model": "../../etc/passwd"}, "model_not_found"),
]


@pytest.mark.parametrize(("change", "code"), REFUSED, ids=[f"{k}" for k in range(len(REFUSED))])
def test_fields_that_mean_something_else_are_refused(client: TestClient, change: dict[str, Any], code: str) -> None:
    answer = client.post(GENERATE, json={"prompt": "x", **change})
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["code"] == code
    assert painter_of(client).orders == []


def test_a_body_that_is_no_object_is_refused(client: TestClient) -> None:
    for content in (b"", b"[]", b"null", b"{", b'"x"', b"\xff\xfe", b"[" * 500_000):
        answer = client.post(GENERATE, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, content[:10]


def test_only_the_owner_and_those_with_a_share_paint_a_concept(server: Server) -> None:
    number = add_concept(server.services, "ann")
    body = {"prompt": "<rex>", "model": "rex"}
    assert server.ann.post(GENERATE, json=body).status_code == 200
    assert server.bob.post(GENERATE, json=body).status_code == 404
    assert server.bob.post(GENERATE, json={"prompt": "<rex>", "lora": {"name": number}}).status_code == 404
    server.ann.post(f"/api/concepts/{number}/shares", json={"user": "bob"}).raise_for_status()
    names = [model["id"] for model in server.bob.get("/v1/models").json()["data"]]
    assert names == ["pocket", "ann/rex"]
    assert server.bob.get("/v1/models/ann/rex").json()["handle"] == "<rex>"
    assert server.bob.post(GENERATE, json={**body, "model": "ann/rex"}).status_code == 200
    server.ann.delete(f"/api/concepts/{number}/shares/bob").raise_for_status()
    assert server.bob.post(GENERATE, json={**body, "model": "ann/rex"}).status_code == 404


def test_an_edit_changes_where_the_mask_is_transparent(client: TestClient) -> None:
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    files = {"image": ("a.png", png()), "mask": ("m.png", buffer.getvalue())}
    answer = client.post(EDIT, data={"prompt": "a ball", "n": "1", "seed": "5"}, files=files)
    assert answer.status_code == 200, answer.text
    order = painter_of(client).orders[0]
    assert order.onto is not None
    assert order.where is not None
    where = Image.open(order.where)
    assert (where.getpixel((5, 5)), where.getpixel((60, 5))) == (255, 0)
    assert answer.json()["usage"]["input_tokens_details"]["image_tokens"] == 16


def test_input_fidelity_keeps_more_of_the_picture(client: TestClient) -> None:
    for fidelity in ("low", "high"):
        client.post(
            EDIT, data={"prompt": "a ball", "input_fidelity": fidelity}, files={"image[]": ("a.png", png())}
        ).raise_for_status()
    low, high = painter_of(client).orders
    assert low.start < high.start


@pytest.mark.parametrize(
    ("data", "files", "code"),
    [
        ({"prompt": "x"}, {}, "missing_image"),
        ({"prompt": "x", "image": "file:///etc/passwd"}, {"other": ("a.png", b"x")}, "path_refused"),
        ({"prompt": "x", "url": "http://localhost/"}, {"image": ("a.png", png())}, "path_refused"),
        ({"prompt": "x", "reference_image": "http://localhost/"}, {"image": ("a.png", png())}, "unknown_field"),
        ({"prompt": "x"}, {"image": ("a.png", b"GIF no picture")}, "invalid_input"),
        ({"prompt": "x"}, {"image": ("a.png", b"")}, "invalid_input"),
        ({"prompt": "x"}, {"image": ("a.png", png()), "mask": ("m.png", png(size=(32, 32)))}, "mask_size"),
        ({"prompt": "x"}, {"image": ("a.png", png()), "mask": ("m.png", png("black"))}, "empty_mask"),
        ({"prompt": "x", "n": "two"}, {"image": ("a.png", png())}, "invalid_field"),
        ({}, {"image": ("a.png", png())}, "invalid_field"),
    ],
)
def test_edits_that_cannot_be_are_refused(client: TestClient, data: Any, files: Any, code: str) -> None:
    answer = client.post(EDIT, data=data, files=files or {"image": ("", b"")})
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["code"] == code, answer.text


def test_a_stream_sends_each_picture_and_ends(client: TestClient) -> None:
    for path, sent, kind in (
        (GENERATE, {"json": {"prompt": "x", "n": 2, "stream": True}}, "image_generation.completed"),
        (
            EDIT,
            {"data": {"prompt": "x", "n": "2", "stream": "true"}, "files": {"image": ("a.png", png())}},
            "image_edit.completed",
        ),
    ):
        answer = client.post(path, **sent)  # type: ignore[arg-type]
        assert answer.headers["content-type"].startswith("text/event-stream")
        data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        assert data[-1] == "[DONE]"
        events = [json.loads(each) for each in data[:-1]]
        assert [(event["type"], event["index"]) for event in events] == [(kind, 0), (kind, 1)]
        assert image_of(events[0]).size == (64, 64)


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream, without its end."""
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize(("path", "name"), [(GENERATE, "image_generation"), (EDIT, "image_edit")])
def test_a_stream_sends_as_many_partial_pictures_as_are_wanted(
    client: TestClient, path: str, name: str, count: int
) -> None:
    fields = {"prompt": "x", "n": 2, "seed": 5, "size": "32x32", "partial_images": count, "stream": True}
    files = {"image": ("a.png", png())}
    sent: Any = {"json": fields} if path == GENERATE else {"data": fields, "files": files}
    events = events_of(client.post(path, **sent).text)
    partial = [event for event in events if event["type"] == f"{name}.partial_image"]
    order = [(event["index"], event["partial_image_index"]) for event in partial]
    assert sorted(order) == [(index, number) for index in range(2) for number in range(count)]
    first = next((event for event in partial if event["partial_image_index"] == 0), None)
    if first is not None:
        image = image_of(first)
        assert (image.size, first["size"], first["output_format"]) == ((32, 32), "32x32", "png")
        assert image.getpixel((3, 3)) == (5 + first["index"], 0, 0)
    done = [event for event in events if event["type"] == f"{name}.completed"]
    assert [event["index"] for event in done] == [0, 1]
    assert all(events.index(event) < events.index(done[event["index"]]) for event in partial)
    assert not any("partial" in note for event in done for note in event["notes"])


def test_fewer_partial_pictures_than_wanted_are_said(client: TestClient) -> None:
    fields = {"prompt": "x", "partial_images": 3, "num_inference_steps": 2}
    (partial, done) = events_of(client.post(GENERATE, json={**fields, "stream": True}).text)
    assert partial["partial_image_index"] == 0
    assert "1 of 3 partial pictures were sent: fewer steps are sampled" in done["notes"][0]
    answer = client.post(GENERATE, json=fields).json()
    assert "0 of 3 partial pictures were sent: they come in a stream alone" in answer["notes"][0]
    assert client.post(GENERATE, json={**fields, "partial_images": 4}).status_code == 400


def test_errors_of_painting_are_answered_and_streamed(client: TestClient) -> None:
    painter = painter_of(client)
    painter.fails = PromptError("the prompt names <bo>, which no concept answers to")
    answer = client.post(GENERATE, json={"prompt": "<bo>"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_input")
    text = client.post(GENERATE, json={"prompt": "<bo>", "stream": True}).text
    assert "event: error" in text
    assert text.endswith("data: [DONE]\n\n")
    painter.fails = Busy("256 pictures wait already", 3.2)
    answer = client.post(GENERATE, json={"prompt": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


def test_painted_pictures_are_in_the_gallery_and_count_for_quotas(server: Server) -> None:
    with server.services.database.session() as session:
        from limner.apps.jobs.users import user_named

        user_named(session, "ann").most_bytes = 1500
    codes = [server.ann.post(GENERATE, json={"prompt": "x", "seed": k}).status_code for k in range(3)]
    assert codes[0] == 200
    assert codes[-1] == 429
    assert len(server.ann.get("/api/pictures").json()["pictures"]) == codes.count(200)
    assert server.bob.get("/api/pictures").json()["pictures"] == []
    job = server.ann.get("/api/jobs").json()["jobs"][0]
    assert (job["kind"], job["state"]) == ("paint", "done")


def test_list_loras_names_the_concepts_in_memory(client: TestClient) -> None:
    assert client.get("/v1/list_loras").json() == {"loaded_adapters": [], "active": []}


def test_a_picture_is_restored_from_its_file(client: TestClient) -> None:
    for kind in ("png", "webp"):
        body = {"prompt": "a ball", "seed": 4, "num_inference_steps": 9, "output_format": kind}
        data = base64.b64decode(client.post(GENERATE, json=body).json()["data"][0]["b64_json"])
        read = client.post("/api/pictures/metadata", files={"picture": ("x", data)}).json()
        assert "metadata" in read, read
        read = read["metadata"]
        assert (read["prompt"], read["seed"], read["settings"]["steps"]) == ("a ball", 4, 9)
    buffer, about = io.BytesIO(), PngInfo()
    about.add_itxt("limner", '{"prompt": "a ball", "settings": {"guidance": NaN}}')
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=about)
    for data in (png(), buffer.getvalue()):
        refused = client.post("/api/pictures/metadata", files={"picture": ("x.png", data)})
        assert refused.json()["error"]["code"] == "invalid_file"
