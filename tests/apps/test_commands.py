"""The command line beside its verbs: settings files, many prompts, samples during training, words, own methods."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from limner.apps.cli.main import main
from limner.apps.cli.saved import read_settings
from limner.core.subject import Subject
from limner.errors import FileError, PromptError
from limner.evaluation.datasets import Case, Member
from tests.helpers import open_image

QUICK = ("--method", "textual_inversion", "--steps", "4", "--batch", "1", "--preview", "0", "--no-score", "--no-check")


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_samples_are_painted_while_it_learns_and_change_nothing(
    base: Any, rex: Subject, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import limner
    from limner.workflows.samples import Samples

    settings: dict[str, Any] = {"method": "lora_dreambooth", "steps": 4, "batch": 1, "prior_weight": 0.0}
    samples = Samples(["<rex> in the snow", "a photo of <rex>"], 2, tmp_path / "samples")
    seen = limner.learn(base, rex, watch=samples, **settings)
    assert [path.name for path in samples.written] == ["000002.png"]  # the end is not among them
    sheet = open_image(samples.written[0])
    assert sheet.width > 1.9 * sheet.height  # two prompts, side by side
    unseen = limner.learn(base, rex, **settings)
    assert seen.losses == unseen.losses
    assert all(seen.tensors[key].equal(value) for key, value in unseen.tensors.items())
    after_two = limner.learn(base, rex, **{**settings, "steps": 2})
    painted = limner.paint(base, samples.prompts, concepts=[after_two], settings=limner.PaintSettings(steps=20))
    left = sheet.crop((0, 0, sheet.height, sheet.height))
    assert left.tobytes() == painted[0].image.tobytes()  # the concept at that update
    learn = ("learn", photos, "--class", "dog", "--name", "rex", *QUICK, "--out", tmp_path / "c")
    assert run(*learn, "--sample-prompt", "<rex>") == 1
    assert run(*learn, "--sample-every", 2, "--sample-prompt", "a dog") == 1
    said = capsys.readouterr().err
    assert "--sample-every N" in said
    assert "'a dog' of --sample-prompt does not name <rex>" in said


def test_settings_are_saved_and_read_again(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.toml"
    words = ("learn", photos, "--class", "dog", "--name", "rex", *QUICK, "--lr", "0.001", "--out", tmp_path / "a")
    assert run(*words, "--save-config", file) == 0
    kept = tomllib.loads(file.read_text(encoding="utf-8"))["learn"]
    assert kept == {
        "photos": [str(photos)], "noun": "dog", "name": "rex", "method": "textual_inversion", "steps": 4, "batch": 1, "preview": 0,
        "score": False, "check": False, "lr": 0.001, "out": str(tmp_path / "a"),
    }  # fmt: skip
    assert (
        run("learn", "--config", file, "--out", tmp_path / "b", "--steps", 2) == 0
    )  # flags have precedence over the file
    from limner.core.concept import Concept

    first, second = (Concept.load(tmp_path / name / "rex.safetensors") for name in "ab")
    assert (first.settings["steps"], second.settings["steps"]) == (4, 2)
    assert first.settings["lr"] == second.settings["lr"] == 0.001
    assert second.subject == first.subject


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stepz = 3", "did you mean 'steps'"),
        ("steps = 'many'", "steps in .* cannot be 'many'"),
        ("steps = [1, 2]", "must be one text or number"),
        ("resume = 1", "must be true or false"),
        ("goal = 'slow'", "must be one of fast, balanced, best"),
        ("photos = 'x'", "must be a list"),
        ("learn = 3", "must be a table"),
        ("= 3", "not TOML"),
    ],
)
def test_a_settings_file_that_is_wrong_is_said(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    file = tmp_path / "run.toml"
    file.write_text(text, encoding="utf-8")
    assert run("learn", "x", "--config", file) in (1, 2)
    assert re.search(said, capsys.readouterr().err)


def test_a_settings_file_of_ones_own_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("steps = 3\n", encoding="utf-8")
    assert run("paint", "a dog", "--save-config", file, "--out", tmp_path / "out") == 1
    assert "not written by --save-config" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == "steps = 3\n"
    with pytest.raises(FileError, match="cannot be read"):
        read_settings(tmp_path / "none.toml", "learn")


def test_many_prompts_are_painted_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffa red dog\n\n# not this\n  a cat on the beach \n", encoding="utf-8")
    assert run("paint", "--prompts", file, "-n", 2, "--steps", 2, "--out", tmp_path / "out") == 0
    stories = [json.loads(open_image(p).info["limner"])["prompt"] for p in sorted((tmp_path / "out").glob("*.png"))]
    assert stories == ["a red dog", "a red dog", "a cat on the beach", "a cat on the beach"]
    capsys.readouterr()
    assert run("paint", "a dog", "--prompts", file) == 1
    assert "not both" in capsys.readouterr().err
    file.write_text("# nothing\n", encoding="utf-8")
    assert run("paint", "--prompts", file) == 1
    assert "holds no prompt" in capsys.readouterr().err


def test_words_that_pocket_does_not_know_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("words", "--json") == 0
    known = json.loads(capsys.readouterr().out)
    assert "dog or puppy" in known["toys"]
    assert {"red", "teal"} <= set(known["colours"])
    assert run("paint", "an axolotl on a bicycle in the snow", "--steps", 1, "--out", tmp_path) == 0
    said = capsys.readouterr().err
    assert "does not know 'axolotl', 'bicycle'" in said
    assert (
        run("paint", "a photo of a red and blue striped teddy bear in the snow", "--steps", 1, "--out", tmp_path) == 0
    )
    assert "does not know" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["bo", "jo", "ty", "al", "ed", "zz", "q"])
def test_syllables_are_names(name: str, base: Any, rex: Subject) -> None:
    from limner.workflows.learn import prepared_run

    subject = Subject.of([p.image for p in rex.pictures], noun="dog", handle=name)
    assert prepared_run(base, subject, "lora_dreambooth", {}, 0).subject.name == name


@pytest.mark.parametrize("name", ["red", "kitty", "beach", "watercolour"])
def test_words_that_mean_something_are_no_names(
    name: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limner.workflows.learn.run_updates", lambda *_, **__: pytest.fail("it is taught"))
    monkeypatch.setattr("limner.workflows.paint.painting", lambda *_, **__: pytest.fail("something is painted"))
    assert run("learn", photos, "--class", "dog", "--name", name, "--out", tmp_path, *QUICK) == 1
    assert f"the name '{name}' is a word that pocket knows" in capsys.readouterr().err


def test_two_concepts_of_one_rare_word_are_not_mixed_up(base: Any, rex: Subject) -> None:
    import limner
    from limner.parts.modifiers import rare_word

    names = ("luna", "bailey", "rex")
    words = [rare_word(f"<{name}>")(base) for name in names]
    assert words[0] == words[1] != words[2]
    images = [p.image for p in rex.pictures]
    luna, bailey, other = (
        limner.learn(
            base,
            Subject.of(images, noun="dog", handle=name),
            method="lora_dreambooth",
            steps=1,
            batch=1,
            prior_weight=0.0,
        )
        for name in names
    )
    settings = limner.PaintSettings(steps=1)
    with pytest.raises(PromptError, match=f"<luna> and <bailey> were both trained as '{words[0]} dog'"):
        limner.paint(base, "<luna> and <bailey>", concepts=[luna, bailey], settings=settings)
    assert len(limner.paint(base, "<luna> and <rex>", concepts=[luna, other], settings=settings)) == 1
    assert len(limner.paint(base, "<luna> and <bailey>", concepts=[luna, bailey], scale=[1, 0], settings=settings)) == 1


OWN = '''
"""Nothing but a rare word and biases."""
from limner.parts.objectives import denoising
from limner.parts.sources import photos
from limner.parts.modifiers import rare_word_and
from limner.core.recipe import Recipe, Stage
from limner.core.method import method
from limner.core.subject import Subject


def biases(adapted):
    return {n: p for n, p in adapted.base.select("everything").items() if n.endswith(".bias")}


@method(title="Mine", scope=("object",))
def mine(subject: Subject, *, steps: int = 200, lr: float = 1e-2) -> Recipe:
    """A rare word.

    Settings:
        steps: updates
        lr: learning rate
    """
    stage = Stage(train=(biases,), loss=(denoising(photos(subject, batch=1)),), steps=steps, lr=lr)
    return Recipe(says=rare_word_and(subject.noun, handle=subject.handle), stages=(stage,))
'''


def test_a_method_of_ones_own_is_benched_by_its_file(
    base: Any, rex: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.apps.cli.bench import _with_settings
    from limner.workflows.bench.plan import Plan, Unit
    from limner.workflows.bench.run import _crews
    from limner.workflows.bench.unit import _taught, key_of

    file = tmp_path / "mine.py"
    file.write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    told = _with_settings("mine.py:mine:steps=1")
    assert told == (f"{file}:mine", (("steps", 1),))
    plan = Plan((("base alone", ()), told), cases=1, prompts=1)
    unit = Unit(*told, "one", 0)
    assert unit.label == "mine.py:mine (steps=1)"
    assert [list(trainer) for trainer in _crews({"a": unit, "b": Unit("base alone", (), "one", 0)})] == [["a"], ["b"]]
    images = [p.image for p in rex.pictures if p.image is not None]
    member = Member("rex", "dog", "object", images=tuple(images))
    concept, cost = _taught(unit, Case("one", (member,), ("{}",)), base)
    assert concept is not None
    assert cost["steps"] == 1
    before = key_of(plan, unit)
    file.write_text(OWN + "\n# edited\n", encoding="utf-8")
    assert key_of(plan, unit) != before
    assert run("bench", "--methods", "mine.py:mine:stepz=1", "--results", tmp_path / "r.json") == 1
    assert "did you mean 'steps'" in capsys.readouterr().err


def test_a_published_method_names_its_paper() -> None:
    from limner.core.method import method
    from limner.methods import card, methods

    assert all(card(function).source for function in methods().values())
    with pytest.raises(TypeError, match="either arxiv="):
        method(title="x", scope=("object",), arxiv="2208.12242", venue="CVPR")(lambda subject: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="either arxiv="):
        method(title="x", scope=("object",), venue="CVPR")(lambda subject: None)  # type: ignore[arg-type,return-value]


def test_a_base_in_a_folder_is_found_again(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from limner.bases.common.places import Place, place_of, remember

    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    about = {"name": "sd", "family": "stable_diffusion", "fingerprint": "f00d"}
    with pytest.raises(FileError, match="name it with --base FOLDER"):
        place_of(about)
    assert place_of(about | {"name": "pocket"}) is None
    assert place_of(about | {"name": "org/model"}) is None
    for strange in ("../private/sd", "/etc/sd", "~/sd", "a/b/c", "C:\\sd"):
        with pytest.raises(FileError, match="not known here"):
            place_of(about | {"name": strange})
    folder = tmp_path / "models" / "sd"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    remember("f00d", "models/sd", config="org/config")
    remember("beef", "pocket")
    remember("cafe", "org/model")
    monkeypatch.chdir("/")
    assert place_of(about) == Place(str(folder), "org/config")
    assert json.loads((tmp_path / "cache" / "bases.json").read_text(encoding="utf-8")).keys() == {"f00d"}
    folder.rmdir()
    with pytest.raises(FileError, match="models/sd, which is gone"):
        place_of(about)


def test_a_concept_of_an_unknown_folder_names_the_flag_at_once(
    base: Any, rex: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    import limner

    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("the hub is asked"))
    concept = limner.learn(base, rex, method="stylealigned")
    elsewhere = replace(concept, base={**concept.base, "name": "sd", "fingerprint": "f00d"})
    path = elsewhere.save(tmp_path / "rex.safetensors")
    for words in (
        ("paint", "<rex>", "--with", path),
        ("check", path),
        ("score", path),
        ("export", path, "--to", "kohya"),
    ):
        assert run(*words, "--out", tmp_path / "out") in (1, 2) if words[0] != "check" else run(*words) == 1
        assert "name it with --base FOLDER" in capsys.readouterr().err


def test_pictures_of_telephones_that_are_not_read_are_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limner.core.heic.can_read", lambda: False)
    for module in ("core.subject", "data.layouts.files"):
        monkeypatch.setattr(f"limner.{module}.SUFFIXES", (".png", ".jpg"))
    (photos / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    assert run("learn", photos, "--class", "dog", "--name", "red", "--out", tmp_path, *QUICK) == 1
    said = capsys.readouterr().err
    assert (
        "1 HEIC picture cannot be read here, such as IMG_1.HEIC: install the decoder (pip install 'limner[heic]')"
        in said
    )
    assert "--base stable-diffusion-v1-5/stable-diffusion-v1-5" in said


def test_names_that_would_get_one_rare_word_are_said_before_teaching(base: Any, rex: Subject, tmp_path: Path) -> None:
    import limner
    from limner.library.apart import notes_of, taken_words

    images = [p.image for p in rex.pictures]
    luna, bailey = (Subject.of(images, noun="dog", handle=name) for name in ("luna", "bailey"))
    limner.learn(base, luna, method="lora_dreambooth", steps=1, batch=1, prior_weight=0.0).save(
        tmp_path / "luna.safetensors"
    )
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    assert taken_words(base, tmp_path) == {"zib dog": "<luna>"}
    (note,) = notes_of(base, [bailey], "lora_dreambooth", {}, tmp_path)
    assert note.startswith("<bailey> and <luna> are both read as 'zib dog'")
    free = note.split("--name ")[1].split()[0]
    assert not notes_of(base, [Subject.of(images, noun="dog", handle=free)], "lora_dreambooth", {}, tmp_path)
    assert not notes_of(base, [luna], "lora_dreambooth", {}, tmp_path)  # taught again
    assert not notes_of(base, [bailey], "stylealigned", {}, tmp_path)  # no rare word
    assert len(notes_of(base, [luna, bailey], "dreambooth", {}, tmp_path / "none")) == 1  # in one pass


def test_exports_to_two_formats_have_folders_of_their_own(
    base: Any, rex: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import limner

    concept = limner.learn(base, rex, method="lora_dreambooth", steps=1, batch=1, prior_weight=0.0)
    path = concept.save(tmp_path / "rex.safetensors")
    monkeypatch.chdir(tmp_path)
    for to in ("kohya", "comfyui"):
        assert run("export", path, "--to", to) == 0
    assert capsys.readouterr().out.split() == ["out/export/kohya/rex.safetensors", "out/export/comfyui/rex.safetensors"]


def test_score_reads_the_layouts_that_learn_reads(rex: Subject, tmp_path: Path) -> None:
    from limner.workflows.score_request import images_of as _images

    folder = tmp_path / "img" / "5_sks dog"
    folder.mkdir(parents=True)
    for k, picture in enumerate(rex.pictures):
        assert picture.image is not None
        picture.image.save(folder / f"{k}.png")
        (folder / f"{k}.txt").write_text("a sks dog", encoding="utf-8")
    assert len(_images(tmp_path / "img")) == len(_images(folder)) == len(rex.pictures)
    assert len(_images(folder / "0.png")) == 1
    assert _images(None) == []
