"""The bench for faces: held-out people, prompts whose truth is known, and metrics of faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from limner.apps.cli.main import main
from limner.errors import InputError
from limner.evaluation import people, people_truth, truth
from limner.evaluation.datasets.people import PEOPLE_SCENES, answers, gallery, looks_of, portraits
from limner.evaluation.datasets.people import people as people_set
from limner.evaluation.encoders import pocket_encoders
from limner.evaluation.metrics.landmarks import landmark_freedom
from limner.evaluation.score import fidelity_role
from limner.pocket import judges
from limner.pocket.networks import Landmarks
from limner.pocket.world.faces import LANDMARKS, person
from limner.pocket.world.graph import SPLITS
from limner.pocket.world.prompts_people import KINDS, PEOPLE, PROMPTS

BY_TEXT = {prompt.text: prompt for prompt in PROMPTS}


def test_people_to_choose_settings_on_are_others() -> None:
    judged, dev = (people_set(split=name, count=2, prompts=2, size=32) for name in ("held-out", "dev"))
    assert [case.prompts for case in dev.cases] == [case.prompts for case in judged.cases]
    first, second = (np.asarray(one.cases[0].member.images[0]) for one in (judged, dev))
    assert not np.array_equal(first, second)
    with pytest.raises(InputError, match="held-out"):
        people_set(split="train")


def test_people_are_held_out_and_differ() -> None:
    found = people_set(count=3, prompts=8, size=32)
    assert [case.name for case in found.cases] == ["person-3", "person-79", "person-96"]
    assert all(seed in SPLITS["held-out"] for seed in PEOPLE)
    for case in found.cases:
        assert len(case.member.images) == len(case.member.held_out) == 4
        assert case.member.kind == "face"
        assert case.member.noun in ("child", "person", "old person")
        subject = case.member.subject("<ann>")
        assert subject.consent is not None
        assert subject.consent.guardian  # four of the fifteen are children


def test_prompts_come_by_turns_and_are_read() -> None:
    found = people_set(count=1, prompts=8, size=32)
    asked = [BY_TEXT[text] for text in found.cases[0].prompts]
    assert [prompt.kind for prompt in asked[:4]] == list(KINDS)
    assert all(people_truth.asked_of(prompt) for prompt in asked)
    left_out = {prompt.text for prompt in PROMPTS if not people_truth.asked_of(prompt)}
    assert len(found.absent) == len(left_out)


@pytest.mark.parametrize(("count", "prompts"), [(0, 5), (16, 5), (1, 0)])
def test_sizes_that_are_not_there_are_said(count: int, prompts: int) -> None:
    with pytest.raises(InputError, match="there are 15 people"):
        people_set(count=count, prompts=prompts)


def test_a_prompt_asks_in_the_judges_words(monkeypatch: pytest.MonkeyPatch) -> None:
    every = frozenset({"hat", "scarf", "gesture", "scene", "daytime", "style", "expression", "gaze", "head"})
    monkeypatch.setattr(people_truth, "fields", lambda: every)
    assert people_truth.asked_of(BY_TEXT["{} wearing a blue hat and an orange scarf"]) == {"hat": "yes", "scarf": "yes"}
    assert people_truth.asked_of(BY_TEXT["{}, waving"]) == {"gesture": "waving"}
    night = people_truth.asked_of(BY_TEXT["{} in the city at night"])
    assert night == {"scene": "city", "daytime": "night"}
    assert truth.asked(BY_TEXT["{} in the city at night"]) == night
    monkeypatch.setattr(people_truth, "fields", lambda: every - {"gesture"})
    assert people_truth.asked_of(BY_TEXT["{}, waving"]) == {}


def test_faces_are_judged_by_the_network_of_faces() -> None:
    encoders = pocket_encoders()
    assert fidelity_role(encoders, "face") == "face"
    assert fidelity_role(encoders) == "identity"


def test_pictures_know_their_own_prompts() -> None:
    who, asked = (
        person(PEOPLE[0]),
        (BY_TEXT["{} on the beach"], BY_TEXT["{} wearing a red hat"], BY_TEXT["pop art of {}"]),
    )
    shown = answers(who, asked, [0])
    eyes = people.people_encoders(pocket_encoders(), asked)
    sure = eyes["detector"].pictures(shown)
    assert sure.shape == (3, 1)
    assert float(sure[2]) == pytest.approx(float(sure[:2].mean()))  # a style is no thing: the mean of the others
    read = eyes["relations"].pictures(shown)
    assert set(read.unique().tolist()) <= {0.0, 1.0}
    assert people_truth.obeyed(shown, asked).tolist() == read[:, 0].tolist()
    assert eyes["attributes"].pictures(shown).shape[0] == 3
    with pytest.raises(InputError, match="answers for 3 pictures, but there are 1"):
        eyes["detector"].pictures(shown[:1])


def test_portraits_differ_in_clothes_and_place_alone() -> None:
    graphs = portraits(person(PEOPLE[1]))
    assert {graph.people[0].person.seed for graph in graphs} == {PEOPLE[1]}
    assert len({str(graph.people[0].garment) for graph in graphs}) > 4
    assert [graph.scene for graph in graphs[:4]] == [scene for scene, _ in PEOPLE_SCENES]
    assert looks_of(person(PEOPLE[1]))
    assert len(gallery("child", 2, size=32)) == 2


def test_a_pose_has_neither_place_nor_size() -> None:
    marks = torch.rand(2, len(LANDMARKS), 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(people.pose(marks), people.pose(marks * 3 + 0.7))


def test_freedom_is_one_at_the_answer_and_nothing_at_a_copy() -> None:
    training, answer = torch.tensor([[0.0, 0.0], [5.0, 0.0]]), torch.tensor([[0.0, 4.0]])

    def of(x: float, y: float) -> float:
        return float(landmark_freedom(torch.tensor([[x, y]]), training, answer))

    assert of(0, 4) == 1
    assert of(5, 0) == 0
    assert of(0, 2) == 0.5
    assert of(0, 3) == 0.75


def test_landmarks_are_a_role_where_they_ship(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    encoders = pocket_encoders()
    if not (judges.WEIGHTS / "landmarks.safetensors").is_file():
        assert "landmarks" not in people.people_encoders(encoders, ())
    (tmp_path / "landmarks.safetensors").write_bytes(b"x")
    network = Landmarks(len(LANDMARKS)).eval()
    monkeypatch.setattr(judges, "WEIGHTS", tmp_path)
    monkeypatch.setattr(judges, "landmarks", lambda pixels: network(pixels).detach() * 128)
    eyes = people.people_encoders(encoders, ())
    seen: Tensor = eyes["landmarks"].see([Image.new("RGB", (128, 128))])
    assert seen.shape == (1, 2 * len(LANDMARKS))


def test_the_suite_of_faces_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "bench",
        "--suite",
        "faces",
        "--methods",
        "a copy of the references",
        "--cases",
        1,
        "--prompts",
        2,
        "--seeds",
        1,
    ]
    out = tmp_path / "faces.json"
    assert main([str(word) for word in (*words, "--results", out, "--folder", tmp_path / "units", "--json")]) == 0
    found = json.loads(out.read_text())
    (unit,) = found["units"]
    assert unit["case"] == "person-3"
    numbers = {name for name, metric in unit["metrics"].items() if metric.get("value") is not None}
    stellar = {
        "soft_penalised_clip",
        "attribute_preservation",
        "identity_stability",
        "grounding_accuracy",
        "relation_fidelity",
    }
    assert stellar | {"face_identity", "copy_index"} <= numbers
    assert 0 <= unit["truth"]["obeyed"] <= 1
    assert main(["bench", "--suite", "faces", "--data", "custom-10"]) == 1
    assert "leave out --data" in capsys.readouterr().err
