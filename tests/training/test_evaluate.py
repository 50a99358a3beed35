"""How the base and its judges are scored."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import limner
from limner.pocket import judges
from limner.pocket.world import CORE, SPLITS, WHOLE, caption, draw, sample
from limner.pocket.world.drawing import landmarks_of
from limner.pocket.world.vocabulary import CLASSES, STYLES
from training.pocket import evaluate, readings
from training.pocket.evaluate import QUESTIONS, fid, judged, recall, sheet
from training.pocket.readings import held_out


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_is_about_held_out_toys_and_can_be_read_on_renders(name: str) -> None:
    question = QUESTIONS[name]
    graphs = held_out(question.world, 12)
    assert all(toy.individual.seed >= SPLITS["held-out"].start for graph in graphs for toy in graph.toys)
    fields = evaluate.read_of(question)
    found = judged(draw(graphs).pixels.float() / 255, graphs, fields)
    assert list(found) == list(fields)
    assert all(0 <= share <= 1 for share in found.values())
    assert max(found.values()) > 0.25  # far above chance, and far below what is aimed at


def test_what_is_read_is_compared_with_what_is_true(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from limner.pocket.labels import FIELDS, labels

    graphs = held_out(QUESTIONS["pairs"].world, 4)
    rows = [{field: options[0] for field, options in FIELDS.items()} | labels(graph) for graph in graphs]
    shares = torch.zeros(4, len(CLASSES))
    for row, graph in zip(shares, graphs, strict=True):
        row[[CLASSES.index(toy.individual.kind) for toy in graph.toys]] = 20.0
    monkeypatch.setattr(judges, "WEIGHTS", tmp_path)
    monkeypatch.setattr(judges, "read", lambda pixels: rows)
    monkeypatch.setattr(judges, "together", lambda pixels: shares)
    fields = ("class", "both classes", "relation", "accessories")
    assert judged(torch.zeros(4, 3, 8, 8), graphs, fields) == dict.fromkeys(fields, 1.0)
    shares[0] = shares[0].roll(1)
    assert judged(torch.zeros(4, 3, 8, 8), graphs, ("both classes", "relation")) == {
        "both classes": 0.75,
        "relation": 1.0,
    }
    (tmp_path / "reader.safetensors").touch()  # an edition that ships a reader is judged by it
    things = [[{"class": toy.individual.kind} for toy in reversed(graph.toys)] for graph in graphs]
    things[0].insert(0, {"class": next(kind for kind in CLASSES if {"class": kind} not in things[0])})
    monkeypatch.setattr(judges, "things", lambda pixels: things)
    assert judged(torch.zeros(4, 3, 8, 8), graphs, ("both classes",)) == {"both classes": 0.75}


def test_the_distance_of_a_set_to_itself_is_nothing() -> None:
    pixels = draw([sample(k, world=CORE, split="held-out") for k in range(24)]).pixels.float() / 255
    assert fid(pixels, pixels) == pytest.approx(0, abs=0.5)
    assert fid(pixels, 1 - pixels) > 20


def test_the_ceiling_of_texts_is_what_one_could_do_who_knows_every_graph() -> None:
    graphs = [sample(k, world=CORE, split="held-out") for k in range(40)]
    for graph in graphs[:5]:
        may = evaluate._sayable(graph)
        assert all(evaluate._words(caption(graph, seed=900 + k)) <= may for k in range(5))
        assert "stapler" not in may
    found = recall(draw(graphs).pixels.float() / 255, graphs, 32)
    assert found["r@1_distinct"] > 5 / 32
    assert 0 < found["ceiling_loose"] <= 1


def test_what_was_painted_before_a_stop_is_not_painted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, said = limner.load("pocket"), ["a dog on the beach", "a cat", "a red car"]
    monkeypatch.setattr(evaluate, "BATCH", 2)
    first = evaluate._paint(base, said, tmp_path)
    parts = sorted(tmp_path.iterdir(), key=lambda part: part.stat().st_size)
    assert len(parts) == 2
    parts[0].unlink()  # the smaller one, of the last picture
    asked = []
    real = limner.paint_many
    monkeypatch.setattr(
        limner, "paint_many", lambda base, orders, **more: asked.append(orders) or real(base, orders, **more)
    )
    torch.testing.assert_close(evaluate._paint(base, said, tmp_path), first, rtol=0, atol=0)
    assert [order.prompt for orders in asked for order in orders] == ["a red car"]


def test_the_sheet_shows_the_first_captions_there_are(tmp_path: Path) -> None:
    said = sheet(tmp_path / "sheet.webp", columns=2, rows=2, side=32)
    graphs = [*held_out(CORE, 2), *held_out(WHOLE, 2)]
    assert said == [evaluate._plainly(graph) for graph in graphs]
    assert (tmp_path / "sheet.txt").read_text().splitlines() == said
    with Image.open(tmp_path / "sheet.webp") as image:
        assert image.size == (2 * 36 + 4, 2 * 76 + 4)


def test_styles_are_told_apart_by_hand_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "STYLES", STYLES[:3])
    by_hand, by_picture = torch.eye(8).repeat_interleave(2, 0), torch.eye(2).repeat(8, 1)
    monkeypatch.setattr(judges, "manners", lambda pixels: by_hand)
    assert readings.manners(pictures=2) == {"style_auc": 1.0, "style_auc_lowest": 1.0}
    monkeypatch.setattr(judges, "manners", lambda pixels: by_picture)
    assert readings.manners(pictures=2)["style_auc"] == 0  # the two pictures of a hand share nothing


def test_readings_made_again_leave_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pocket.json"
    path.write_text('{"fid": {"painted": 3.0}, "judges": {"identity_auc": 0.5}, "megabytes": 1.0}', encoding="utf-8")
    monkeypatch.setattr(evaluate, "readings", lambda: {"identity_auc": 0.9, "style_auc": 0.8})
    evaluate.read_again(path)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["fid"] == {"painted": 3.0}
    assert record["judges"] == {"identity_auc": 0.9, "style_auc": 0.8}
    assert 30 < record["megabytes"] <= 64


def test_lookalikes_differ_in_their_faces_alone() -> None:
    pairs = list(itertools.islice(readings.lookalikes(), 8))
    assert len({who.seed for pair in pairs for who in pair}) == 16
    for first, second in pairs:
        assert (first.hairstyle, first.hair_colour, first.age) == (second.hairstyle, second.hair_colour, second.age)
        assert abs(first.skin - second.skin).max() < readings.SKIN


def test_faces_landmarks_and_things_are_read_against_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    people = torch.eye(2).repeat_interleave(2, 0)
    monkeypatch.setattr(judges, "identities", lambda pixels, *, faces: people)
    assert readings.faces(pairs=2) == {"faces_auc": 1.0}
    monkeypatch.setattr(judges, "identities", lambda pixels, *, faces: people.roll(1, 0))
    assert readings.faces(pairs=2)["faces_auc"] < 0.8
    graphs = [g for g in held_out(replace(WHOLE, faces=1.0), 8) if len(g.people) == 1][:4]
    true = torch.stack([torch.from_numpy(landmarks_of(graph, 128)[0]) for graph in graphs]).float()
    monkeypatch.setattr(judges, "landmarks", lambda pixels: true)
    assert readings.landmarks(4) == {"landmarks_error": 0.0}
    monkeypatch.setattr(judges, "landmarks", lambda pixels: true + 1)
    assert 0.01 < readings.landmarks(4)["landmarks_error"] < 0.1
    shown = iter([held_out(replace(readings.PLAIN, pairs=1.0), 3), held_out(replace(readings.PLAIN, triples=1.0), 3)])
    monkeypatch.setattr(
        judges, "things", lambda pixels: [[{"class": toy.individual.kind} for toy in g.toys] for g in next(shown)]
    )
    assert readings.reader(3) == {"all_two_right": 1.0, "all_three_right": 1.0}
