"""Requests go to JSON and come back equal; workflows yield events that a server can send."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import limner
from limner.core.subject import Subject
from limner.errors import FileError, InputError, UnknownName
from limner.workflows.events import CheckDone, ConceptCertified, Event, RunDone, UpdateDone
from limner.workflows.requests import (
    REQUESTS,
    BaseChoice,
    CheckRequest,
    CompareRequest,
    ConceptChoice,
    ConverseRequest,
    EstimateRequest,
    ExportRequest,
    ImportRequest,
    LearnRequest,
    LookRequest,
    MergeRequest,
    PaintRequest,
    PretrainRequest,
    ProtectRequest,
    PublishRequest,
    Request,
    ScoreRequest,
    StatesRequest,
    SwapRequest,
    TryOnRequest,
    read_request,
)
from limner.workflows.run import CONTROLLED, run, workflow_of
from tests.helpers import same

CONCEPT = ConceptChoice(path=Path("rex.safetensors"), method="mine.py:mine", trust=True)
BASE = BaseChoice(name="path/to/sd", device="cuda:1", dtype="bfloat16", fit=11.5, offload=True, config="path/config")
EVERY: tuple[Request, ...] = (
    LearnRequest(
        pictures=(Path("rex/"), Path("more/0.png")),
        noun="dog",
        nouns={"rex": "dog"},
        name="rex",
        kind="pet",
        method="lora_dreambooth",
        settings={"steps": 3, "lr": 1e-4, "flip": True},
        base=BASE,
        seed=7,
        out=Path("out"),
        overwrite=True,
        resume=True,
        goal="best",
        budget=90.0,
        hold_out=2,
        without=Path("without"),
        pool=Path("pool"),
        auxiliary=Path("auxiliary"),
        after=Path("tom.safetensors"),
        segment="rembg",
        caption="pocket",
        keep="best",
        stop="gap",
        sample_every=10,
        sample_prompts=("<rex>", "<rex> in the snow"),
        preview=0,
        score=False,
        check=False,
        encoders={"clip": "path/to/clip"},
        together=True,
        slots=4,
        mixed=True,
    ),
    PaintRequest(
        prompts=("<rex>",),
        concepts=(CONCEPT, CONCEPT),
        base=BASE,
        seed=1,
        count=2,
        scale=(0.5, 1.0),
        guide_between=(0.1, 0.9),
        onto=Path("a.png"),
        where=Path("b.png"),
    ),
    SwapRequest(
        photo=Path("a.png"),
        concept=CONCEPT,
        base=BASE,
        where=Path("b.png"),
        source_noun="cat",
        source_prompt="a cat on the beach",
        how="swapanything",
        settings={"cross": 0.5},
        count=2,
    ),
    TryOnRequest(person=Path("a.png"), garment=Path("b.png"), base=BASE, where=Path("c.png"), noun="coat", count=2),
    ScoreRequest(concept=CONCEPT, prompts=("<rex>",), photos=Path("photos"), out=Path("sheets")),
    CheckRequest(concept=CONCEPT, steps=2, any_base=True),
    ExportRequest(concept=CONCEPT, to="kohya", rank=16),
    PublishRequest(concept=CONCEPT, to="me/rex", formats=("kohya", "peft"), upload=False),
    PretrainRequest(method="ip_adapter", settings={"steps": 2}, corpus="toys:4", ema=0.99, preview_of=Path("dog")),
    ProtectRequest(pictures=(Path("rex/"),), noun="dog", method="photoguard", settings={"steps": 2}, resume=True),
    LookRequest(pictures=(Path("rex/"),), noun="dog", base=BASE, segment="rembg", which=2, out=Path("look")),
    EstimateRequest(goal="best", settings={"steps": 2}, num_pictures=9, budget=60.0, measure=False, anew=True),
    StatesRequest(concept=CONCEPT, states=(Path("a"), Path("b")), prompts=("<rex>",), choose=40, to=Path("c")),
    CompareRequest(concepts=(CONCEPT, CONCEPT), prompts=("{} in the snow",), seeds=(1, 2), plain=False),
    MergeRequest(concepts=(CONCEPT, CONCEPT), out=Path("both.safetensors"), by="weighted", weights=(0.5, 0.5)),
    ImportRequest(file=Path("rex.bin"), name="rex", noun="dog", says="sks dog", partial=True, base=BASE),
    ConverseRequest(
        words="give him a hat",
        conversation={"turns": [], "current": ""},
        concepts=(CONCEPT,),
        base=BASE,
        pictures={"t1": Path("000.png")},
        photos={"rex": Path("photos")},
        seed=7,
        preference_steps=4,
        llm="http://127.0.0.1:8000/v1",
        llm_model="small",
    ),
)


@pytest.mark.parametrize("request_", EVERY, ids=lambda r: r.kind_of_work)
def test_a_request_comes_back_equal(request_: Request) -> None:
    again = read_request(request_.to_json())
    assert again == request_
    assert type(request_).from_json(request_.to_json()) == request_
    plain = type(request_)(
        **{
            name: getattr(request_, name)
            for name in (
                "concept",
                "to",
                "method",
                "prompts",
                "pictures",
                "photo",
                "person",
                "garment",
                "concepts",
                "out",
                "file",
                "words",
            )
            if hasattr(request_, name)
        }
    )
    assert read_request(plain.to_json()) == plain  # everything else as ever
    assert json.loads(request_.to_json())["request"] == request_.kind_of_work


def test_every_kind_of_request_is_tried() -> None:
    assert {type(request) for request in EVERY} == set(REQUESTS.values())


@pytest.mark.parametrize("request_", EVERY, ids=lambda r: r.kind_of_work)
def test_every_kind_of_request_has_a_workflow_with_the_arguments_that_it_is_given(request_: Request) -> None:
    named = inspect.signature(workflow_of(request_)).parameters
    assert "open_base" in named
    assert ("controls" in named) == isinstance(request_, CONTROLLED)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("[", FileError, "is not JSON"),
        ("[]", InputError, 'a table of JSON with "request"'),
        ('{"request": "lern"}', UnknownName, "did you mean 'learn'"),
        ('{"request": "learn"}', InputError, "must have a field pictures"),
        (
            '{"request": "learn", "pictures": "rex"}',
            InputError,
            "pictures of the request to learn must be a list, not 'rex'",
        ),
        (
            '{"request": "learn", "pictures": ["rex"], "stepz": 3}',
            UnknownName,
            "no field of the request to learn 'stepz'",
        ),
        (
            '{"request": "learn", "pictures": ["rex"], "seed": true}',
            InputError,
            "seed .* must be a whole number, not 'True'",
        ),
        ('{"request": "learn", "pictures": ["rex"], "check": 1}', InputError, "must be true or false"),
        ('{"request": "learn", "pictures": ["rex"], "base": {"dtipe": 1}}', UnknownName, "did you mean 'dtype'"),
        ('{"request": "paint", "prompts": ["a"], "guide_between": [0]}', InputError, "must be a list"),
        ('{"request": "paint", "prompts": ["a"]}', InputError, "expected a request to learn, not to paint"),
    ],
)
def test_a_request_that_is_wrong_is_said(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        LearnRequest.from_json(text)


def kinds(events: list[Event]) -> list[str]:
    """Names of the events' kinds, repeated ones once."""
    names = [event.record["event"] for event in events]
    return [name for k, name in enumerate(names) if name not in names[:k]]


def test_learning_by_a_request_says_what_happens_and_teaches_the_same(base: Any, rex: Subject, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for k, picture in enumerate(rex.pictures):
        assert picture.image is not None
        picture.image.save(folder / f"{k}.png")
    settings = {"steps": 3, "batch": 1}
    request = LearnRequest(
        pictures=(folder,),
        noun="dog",
        name="rex",
        method="textual_inversion",
        settings=settings,
        out=tmp_path,
        preview=1,
        score=False,
    )
    opened: list[str] = []

    def kept_open(choice: BaseChoice) -> Any:
        opened.append(choice.name)
        return base

    from limner.workflows.learn_request import learn_subject

    events = list(learn_subject(LearnRequest.from_json(request.to_json()), open_base=kept_open))
    assert opened == ["pocket"]
    order = [
        "pictures_read",
        "run_planned",
        "update_done",
        "concept_saved",
        "previews_painted",
        "check_done",
        "concept_certified",
        "run_done",
    ]
    assert [kind for kind in kinds(events) if kind not in ("message", "note")] == order
    json.dumps([event.record for event in events])  # a server sends them
    updates = [event for event in events if isinstance(event, UpdateDone)]
    assert [(u.done, u.total, u.last) for u in updates] == [(1, 3, False), (2, 3, False), (3, 3, True)]
    done = events[-1]
    assert isinstance(done, RunDone)
    concept = limner.Concept.load(done.result["concept"])
    assert [sum(u.losses.values()) for u in updates] == pytest.approx(concept.losses)
    alone = limner.learn(
        base, Subject.of(folder, noun="dog", handle="rex"), method="textual_inversion", **cast("Any", settings)
    )
    assert same(concept.tensors, alone.tensors)
    assert (tmp_path / "rex" / "index.html").exists()


def test_a_caller_that_goes_away_leaves_the_base_as_it_was(base: Any, photos: Path, tmp_path: Path) -> None:
    from limner.workflows.learn_request import learn_subject
    from tests.helpers import untouched

    request = LearnRequest(
        pictures=(photos,),
        noun="dog",
        name="rex",
        method="lora_dreambooth",
        out=tmp_path,
        settings={"steps": 3, "batch": 1, "num_class_pictures": 2},
    )
    events = learn_subject(request, open_base=lambda _: base)
    for event in events:
        if isinstance(event, UpdateDone):
            break
    assert not untouched(base)
    events.close()  # type: ignore[attr-defined]  # it is a generator
    assert untouched(base)
    assert not (tmp_path / "rex.safetensors").exists()


def test_the_events_of_other_workflows(base: Any, rex: Subject, tmp_path: Path) -> None:
    concept = limner.learn(base, rex, method="textual_inversion", steps=2, batch=1)
    path = concept.save(tmp_path / "rex.safetensors")
    choice = ConceptChoice(path=path)
    painted = list(
        run(PaintRequest(prompts=("<rex> on the beach",), concepts=(choice,), count=2, steps=1, out=tmp_path / "p"))
    )
    assert kinds(painted) == ["picture_saved", "run_done"]
    assert [Path(p).name for p in painted[-1].record["result"]["pictures"]] == ["000.png", "001.png"]
    exported = list(run(ExportRequest(concept=choice, to="a1111", out=tmp_path / "x")))
    assert kinds(exported) == ["note", "run_done"]
    checked = list(run(CheckRequest(concept=choice, steps=1)))
    assert kinds(checked) == ["check_done", "concept_certified", "run_done"]
    certified = next(event for event in checked if isinstance(event, ConceptCertified))
    assert certified.ok == all(event.ok for event in checked if isinstance(event, CheckDone))
    published = list(run(PublishRequest(concept=choice, to="me/rex", formats=(), out=tmp_path / "repo", upload=False)))
    assert published[-1].record["result"] == {"folder": str(tmp_path / "repo"), "address": ""}


def test_progress_is_drawn_from_python_when_it_is_asked_for(
    base: Any, rex: Subject, capsys: pytest.CaptureFixture[str]
) -> None:
    about: dict[str, Any] = {"method": "textual_inversion", "steps": 2, "batch": 1}
    quiet = limner.learn(base, rex, **about)
    assert capsys.readouterr().err == ""
    loud = limner.learn(base, rex, progress=True, **about)
    said = capsys.readouterr().err
    assert "[########################] 2/2  denoising" in said
    assert "0 s left" in said
    assert all(torch.equal(loud.tensors[name], tensor) for name, tensor in quiet.tensors.items())
