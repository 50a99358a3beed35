"""States of a training side by side, and concepts side by side: the same prompts and seeds, with scores."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import ImageChops
from safetensors.torch import save_file

import limner
from limner.core.pixels import to_tensor
from limner.core.subject import Subject
from limner.errors import InputError, PromptError, UnknownName
from limner.pocket import judges
from limner.pocket.subjects import toy
from limner.pocket.world.grammar import PLACES
from limner.workflows.compare import PLAIN, template_of
from limner.workflows.controls import Controls
from limner.workflows.events import CellPainted, ConceptSaved, Event, Paused, PictureSaved, RunDone, StatePainted
from limner.workflows.picture_scores import picture_scores
from limner.workflows.requests import (
    CompareRequest,
    ConceptChoice,
    ImportRequest,
    LearnRequest,
    MergeRequest,
    PaintRequest,
    Request,
    StatesRequest,
)
from limner.workflows.run import run
from limner.workflows.score_request import images_of
from limner.workflows.states import best_of, states_of
from tests.helpers import learn_fast, open_image, same, save_pictures

FEW: dict[str, Any] = {"steps": 2}


def done(base: Any, request: Request, controls: Controls | None = None) -> tuple[list[Event], RunDone]:
    *events, last = run(request, open_base=lambda _: base, controls=controls)
    assert isinstance(last, RunDone)
    return events, last


@pytest.fixture(scope="module")
def photos(rex: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures(rex, tmp_path_factory.mktemp("states") / "photos")


@pytest.fixture(scope="module")
def learned(base: Any, photos: Path) -> Path:
    """The concept of a run of three updates, with two states beside it."""
    about: dict[str, Any] = {"preview": 0, "score": False, "check": False, "out": photos.parent, "states": 3}
    request = LearnRequest(
        pictures=(photos,),
        noun="dog",
        name="rex",
        method="textual_inversion",
        settings={"steps": 3, "batch": 1},
        **about,
    )
    _, last = done(base, request)
    return Path(last.result["concept"])


def test_each_state_is_painted_on_one_seed_and_scored(base: Any, learned: Path, photos: Path, tmp_path: Path) -> None:
    request = StatesRequest(concept=ConceptChoice(path=learned), references=photos, seed=5, out=tmp_path, **FEW)
    events, last = done(base, request)
    painted = [event for event in events if isinstance(event, StatePainted)]
    assert [(event.done, event.seed, event.prompt) for event in painted] == [
        (k, 5, "a photo of <rex>") for k in (1, 2, 3)
    ]
    assert all({"likeness", "copy", "clip_t"} <= set(event.scores) for event in painted)
    assert last.result["best"] == max(painted, key=lambda event: event.scores["likeness"]).done
    state = limner.Concept.load(learned.parent / "rex" / "states" / "000002.safetensors")
    alone = limner.paint(base, "a photo of <rex>", concepts=[state], seed=5, settings=limner.PaintSettings(steps=2))
    assert open_image(painted[1].path).tobytes() == alone[0].image.tobytes()


def test_the_best_state_has_the_highest_mean_likeness_and_is_unknown_without_one() -> None:
    likenesses = ((10, 0.2), (10, 0.9), (20, 0.6), (20, 0.7))
    assert best_of([{"done": done, "scores": {"likeness": value}} for done, value in likenesses]) == 20
    assert best_of([{"done": 10, "scores": {"clip_t": 0.3}}]) is None


def test_the_chosen_state_becomes_the_concept(base: Any, learned: Path, tmp_path: Path) -> None:
    to = tmp_path / "chosen.safetensors"
    choice = ConceptChoice(path=learned)
    events, last = done(base, StatesRequest(concept=choice, choose=1, to=to))
    assert isinstance(events[-1], ConceptSaved)
    assert last.result == {"concept": str(to), "kept_after": 1}
    state = limner.Concept.load(learned.parent / "rex" / "states" / "000001.safetensors")
    chosen = limner.Concept.load(to)
    assert same(chosen.tensors, state.tensors)
    assert (chosen.scores["kept_after"], chosen.cost["steps"]) == (1, 1)
    with pytest.raises(UnknownName, match="'7'"):
        done(base, StatesRequest(concept=choice, choose=7, to=tmp_path / "other.safetensors"))


def test_states_of_another_run_are_refused(base: Any, rex: Subject, learned: Path, tmp_path: Path) -> None:
    other = learn_fast(base, "textual_inversion", rex).save(tmp_path / "other.safetensors")
    concept = limner.Concept.load(learned)
    with pytest.raises(InputError, match="a state of another run"):
        states_of(concept, learned, [other])
    with pytest.raises(InputError, match="there are no states"):
        states_of(limner.Concept.load(other), other)


def test_concepts_and_the_plain_base_are_compared_on_the_same_prompts_and_seeds(
    base: Any, rex: Subject, learned: Path, photos: Path, tmp_path: Path
) -> None:
    second = learn_fast(base, "lora_dreambooth", rex).save(tmp_path / "bo.safetensors")
    choices = tuple(ConceptChoice(path=path) for path in (learned, second))
    request = CompareRequest(
        concepts=choices,
        prompts=("{} on the beach", "<rex> in the snow"),
        seeds=(3, 4),
        references=photos,
        out=tmp_path / "out",
        **FEW,
    )
    events, last = done(base, request)
    cells = [event for event in events if isinstance(event, CellPainted)]
    assert len(cells) == 3 * 2 * 2
    assert len({cell.path for cell in cells}) == len(cells)
    assert [row["concept"] for row in last.result["rows"]] == [PLAIN, str(learned), str(second)]
    assert {cell.text for cell in cells if cell.row == 0} == {"a dog on the beach", "a dog in the snow"}
    assert {cell.text for cell in cells if cell.row == 2} == {"<rex> on the beach", "<rex> in the snow"}
    assert all({"likeness", "prompt_accuracy", "copy"} <= set(cell.scores) for cell in cells)
    cell = next(cell for cell in cells if (cell.row, cell.column, cell.seed) == (2, 1, 4))
    alone = limner.paint(base, "<rex> in the snow", concepts=[second], seed=4, settings=limner.PaintSettings(steps=2))
    difference = ImageChops.difference(open_image(cell.path), alone[0].image)
    assert (
        max(high for _, high in cast("Any", difference.getextrema())) <= 2
    )  # rounding: there it is one of two in a batch


def test_painted_pictures_are_scored_where_that_is_asked(
    base: Any, learned: Path, photos: Path, tmp_path: Path
) -> None:
    choice, prompts = ConceptChoice(path=learned), ("<rex> on the beach", "<rex> in the snow")
    request = PaintRequest(
        prompts=prompts, concepts=(choice,), score=True, references=photos, out=tmp_path / "a", **FEW
    )
    events, _ = done(base, request)
    saved = [event for event in events if isinstance(event, PictureSaved)]
    assert all({"likeness", "prompt_accuracy", "copy"} <= set(event.scores) for event in saved)
    concept, references = limner.Concept.load(learned), images_of(photos)
    alone = picture_scores(base, concept, [open_image(saved[1].path)], [prompts[1]], references=references)
    assert alone == [saved[1].scores]
    events, _ = done(base, replace(request, prompts=prompts[:1], score=False, out=tmp_path / "b"))
    assert not next(event for event in events if isinstance(event, PictureSaved)).scores


def test_a_comparison_that_is_stopped_keeps_what_was_painted(base: Any, learned: Path, tmp_path: Path) -> None:
    controls = Controls()
    request = CompareRequest(
        concepts=(ConceptChoice(path=learned),), prompts=("{}",), seeds=(0, 1), out=tmp_path, **FEW
    )
    cells = []
    for event in run(request, open_base=lambda _: base, controls=controls):
        if isinstance(event, CellPainted):
            cells.append(event)
            controls.ask("stop")
    assert len(cells) == 1


@pytest.mark.parametrize("kind", ["compare", "states"])
def test_after_a_pause_the_same_request_paints_the_others_alone(
    base: Any, learned: Path, photos: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = ConceptChoice(path=learned)
    about: dict[str, Any] = {"references": photos, "out": tmp_path / "out", "resume": True, **FEW}
    request: StatesRequest | CompareRequest = StatesRequest(concept=choice, **about)
    if kind == "compare":
        request = CompareRequest(concepts=(choice,), prompts=("{}", "{} in the snow"), seeds=(0, 1), **about)
    _, whole = done(base, replace(request, out=tmp_path / "whole", resume=False))
    painted: list[int] = []
    paint = importlib.import_module("limner.workflows.paint")
    own = paint.paint

    def counting(*given: Any, **more: Any) -> Any:
        painted.append(1)
        return own(*given, **more)

    monkeypatch.setattr(paint, "paint", counting)
    controls = Controls()
    controls.ask("pause")
    *_, last = run(request, open_base=lambda _: base, controls=controls)
    assert isinstance(last, Paused)
    assert last.done == len(list((tmp_path / "out").glob("*.png"))) > 0
    assert len(painted) == 1
    events, end = done(base, request)
    pictures = [event for event in events if isinstance(event, (CellPainted, StatePainted))]
    assert len(painted) == {"compare": 4, "states": 3}[kind]
    names = sorted(path.name for path in (tmp_path / "whole").glob("*.png"))
    assert sorted(event.path.name for event in pictures) == names
    assert all((tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)
    assert end.result == json.loads(json.dumps(whole.result).replace(str(tmp_path / "whole"), str(tmp_path / "out")))


def test_pictures_of_another_request_are_painted_anew(base: Any, learned: Path, tmp_path: Path) -> None:
    request = StatesRequest(concept=ConceptChoice(path=learned), out=tmp_path, resume=True, **FEW)
    done(base, request)
    before = (tmp_path / "000001-0.png").read_bytes()
    done(base, request)
    assert (tmp_path / "000001-0.png").read_bytes() == before
    done(base, replace(request, guidance=2.0))
    assert (tmp_path / "000001-0.png").read_bytes() != before


def test_a_prompt_of_a_comparison_names_the_subject(learned: Path) -> None:
    concept = limner.Concept.load(learned)
    assert template_of("<rex> in the snow", [concept]) == "{} in the snow"
    with pytest.raises(PromptError, match=r"write \{\} or <rex>"):
        template_of("a dog in the snow", [concept])


def test_scores_of_single_pictures_know_the_subject_and_the_prompt(base: Any, rex: Subject) -> None:
    own = [picture.image for picture in rex.pictures if picture.image is not None]
    strangers = [picture.image for picture in toy("dog", 2_000_077, count=2).pictures if picture.image is not None]
    pictures = [own[2], *strangers]
    scores = picture_scores(base, rex, pictures, ["a photo of <rex>"] * 3, references=own[:2])
    assert scores[0]["likeness"] > 0.6 > max(score["likeness"] for score in scores[1:]) + 0.2
    assert scores[0]["copy"] < 0.999
    assert picture_scores(base, rex, own[:1], ["<rex>"], references=own[:2])[0]["copy"] > 0.999
    assert "prompt_accuracy" not in scores[0]  # the prompt asks for nothing beside the subject
    scenes = [row["scene"] for row in judges.read(to_tensor(own, 128))]
    right = picture_scores(base, None, own, [f"a dog {PLACES[scene][0]}" for scene in scenes])
    wrong = picture_scores(base, None, own, ["a dog under the night sky wearing a crown"] * 3)
    assert min(score["prompt_accuracy"] for score in right) > 0.5
    assert max(score["prompt_accuracy"] for score in wrong) < 0.5
    assert "likeness" not in right[0]


def test_merging_and_importing_are_requests(base: Any, rex: Subject, learned: Path, tmp_path: Path) -> None:
    bo = learn_fast(base, "custom_diffusion", replace(rex, handle="<bo>")).save(tmp_path / "bo.safetensors")
    rex_file = learn_fast(base, "custom_diffusion", rex).save(tmp_path / "rex.safetensors")
    choices = tuple(ConceptChoice(path=path) for path in (rex_file, bo))
    _, last = done(base, MergeRequest(concepts=choices, out=tmp_path / "both.safetensors"))
    assert last.result["handles"] == ["<rex>", "<bo>"]
    assert limner.Concept.load(tmp_path / "both.safetensors").handles == ("<rex>", "<bo>")
    width = base.states_shape[-1]
    save_file({"emb_params": torch.ones(2, width)}, tmp_path / "word.safetensors")
    request = ImportRequest(file=tmp_path / "word.safetensors", name="tom", noun="cat", out=tmp_path / "in")
    _, last = done(base, request)
    assert limner.Concept.load(last.result["concept"]).handle == "<tom>"


def test_a_concept_of_limner_is_imported_as_it_is(base: Any, tmp_path: Path) -> None:
    concept = limner.learn(base, toy("dog", 2_000_012), method="textual_inversion", steps=1, batch=1)
    file = concept.save(tmp_path / "in" / "upload.safetensors")
    request = ImportRequest(file=file, name="mine", noun="wolf", out=tmp_path / "out")
    *_, saved, done = run(request, open_base=lambda _: base)
    assert isinstance(saved, ConceptSaved)
    assert isinstance(done, RunDone)
    assert saved.path == tmp_path / "out" / "mine.safetensors"
    again = limner.Concept.load(saved.path)
    assert same(again.tensors, concept.tensors)
    assert again.header == concept.header
