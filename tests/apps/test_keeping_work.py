"""Commands write over nothing of the user's, keep what was learned at once, and say what is true when they are
interrupted."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from limner.apps.cli.main import main
from limner.core import interrupts
from limner.core.files import is_ours
from limner.core.subject import Subject
from limner.engine import checkpoint as engine_checkpoint
from limner.engine.checkpoint import CHECKPOINT
from limner.errors import FileError, PaintingError, TeachingError
from limner.workflows import learn
from limner.workflows.learn_files import page_folder
from tests.helpers import open_image, same

QUIET = ["--no-check", "--no-score", "--preview", "0"]
WORD = ["--method", "textual_inversion", "--steps", "3", "--batch", "1"]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ----------------------------------------------------------------------------------------------------- the user's files


def test_photographs_in_a_folder_of_the_subjects_name_stay(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rex"
    folder.mkdir()
    for k, photo in enumerate(sorted(photos.iterdir())):
        open_image(photo).save(folder / f"{k:03}.png")
    (folder / "index.html").write_text("mine")
    before = contents(folder)
    monkeypatch.chdir(tmp_path)
    words = ["learn", "rex/", "--class", "dog", "--name", "rex", "--method", "stylealigned", "--no-score", "--no-check"]
    assert run(*words, "--preview", 1) == 0
    said = capsys.readouterr()
    assert "holds files of yours, so the page goes into rex-page" in said.err
    assert contents(folder) == before
    assert (tmp_path / "rex-page" / "index.html").exists()
    assert is_ours(tmp_path / "rex-page" / "grid.png")
    assert (
        run(*words, "--preview", 1, "--overwrite") == 0
    )  # its own page is replaced, and the pictures are the same three
    assert contents(folder) == before
    assert len(limner.Concept.load(tmp_path / "rex.safetensors").subject["pictures"]) == 3


def test_the_page_goes_where_no_file_of_the_user_is(tmp_path: Path) -> None:
    photos = tmp_path / "rex" / "deep" / "photos"
    photos.mkdir(parents=True)
    (photos / "0.jpg").write_bytes(b"")
    assert page_folder(tmp_path, "bo", pictures=[photos], count=2) == tmp_path / "bo"
    assert page_folder(tmp_path, "rex", pictures=[photos], count=2) == tmp_path / "rex-page"
    assert page_folder(tmp_path, "rex", pictures=[photos / "0.jpg"], count=2) == tmp_path / "rex-page"
    (tmp_path / "rex-page").mkdir()
    (tmp_path / "rex-page" / "grid.png").write_text("mine")
    assert page_folder(tmp_path, "rex", pictures=[photos], count=2) == tmp_path / "rex-page-2"
    (tmp_path / "bo").mkdir()
    for name in ("index.html", "001.png", CHECKPOINT):
        (tmp_path / "bo" / name).write_text("mine")
        assert page_folder(tmp_path, "bo", pictures=[], count=2) == tmp_path / "bo-page"
        (tmp_path / "bo" / name).unlink()
    (tmp_path / "bo" / "README.md").write_text("mine, and nothing that limner writes")
    assert page_folder(tmp_path, "bo", pictures=[], count=2) == tmp_path / "bo"
    (tmp_path / "cat").write_text("a file")
    assert page_folder(tmp_path, "cat", pictures=[], count=2) == tmp_path / "cat-page"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--overwrite"], "rex.safetensors was not written by limner"),
        (["--overwrite", "--resume"], "rex.safetensors was not written by limner"),
        (["--name", "bo", "--preview", "-1"], "--preview: expected a whole number, 0 or more"),
        (["--name", "bo", "--out", "file"], "file is a file; expected a folder"),
        (["--name", "bo", "--out", "file/below"], "not a folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_taught(
    words: list[str],
    said: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it was taught")

    monkeypatch.setattr(learn, "learn_updates", never)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rex.safetensors").write_text("precious")
    (tmp_path / "file").write_text("precious")
    usual = [] if "--name" in words else ["--name", "rex"]
    quiet = QUIET[:2] if "--preview" in words else QUIET
    assert run("learn", photos, "--class", "dog", *usual, *quiet, *words) == (2 if "--preview" in words else 1)
    assert said in capsys.readouterr().err
    assert (tmp_path / "rex.safetensors").read_text() == (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("name", ["page.html", "page.csv", "page.md"])
def test_a_report_replaces_nothing_that_is_not_limners(name: str, tmp_path: Path) -> None:
    from limner.evaluation.report import report

    results = Path(__file__).parent.parent.parent / "results" / "bench.json"
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileError, match=f"{name} was not written by limner"):
        report(results, tmp_path / "page.html")
    assert contents(tmp_path) == {name: b"mine"}


def test_a_page_of_data_replaces_nothing_that_is_not_limners(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "notes.html"
    page.write_text("mine")
    assert run("data", photos, "--page", page) == 1
    assert "was not written by limner" in capsys.readouterr().err
    assert page.read_text() == "mine"
    page.unlink()
    assert [run("data", photos, "--page", page) for _ in range(2)] == [0, 0]


def test_states_and_signs_on_the_way_carry_the_mark_and_replace_nothing_of_the_users(
    base: Any, rex: Subject, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    from limner.engine.early_stopping import Keeper, Signals, together

    mine = tmp_path / "kept-mine.safetensors"
    save_file({"x": torch.zeros(1)}, mine)
    keeper, signals = Keeper(tmp_path, marks=2), Signals(rex, every=1, file=tmp_path / "signals.jsonl")
    about: dict[str, Any] = {"method": "textual_inversion", "steps": 2, "batch": 1}
    limner.learn(base, rex, watch=together(keeper, signals), **about)
    kept = tmp_path / "kept-000001.safetensors"
    assert is_ours(kept)
    assert is_ours(tmp_path / "signals.jsonl")
    again = Signals(rex, every=1, file=tmp_path / "signals.jsonl")
    assert [look["done"] for look in again._stored()] == [1, 2]
    keeper.clear()
    assert mine.exists()
    assert not kept.exists()
    save_file({"x": torch.zeros(1)}, kept)
    with pytest.raises(FileError, match="kept-000001.safetensors was not written by limner"):
        limner.learn(base, rex, watch=keeper, **about)
    (tmp_path / "signals.jsonl").write_text("mine")
    with pytest.raises(FileError, match=r"signals.jsonl was not written by limner"):
        limner.learn(base, rex, watch=Signals(rex, every=1, file=tmp_path / "signals.jsonl"), **about)
    (tmp_path / "bo").mkdir()
    (tmp_path / "bo" / "signals.jsonl").write_text("mine")
    assert page_folder(tmp_path, "bo", pictures=[], count=0) == tmp_path / "bo-page"


def test_an_export_replaces_only_its_own_kind(
    base: Any, rex: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    concept = limner.learn(base, rex, method="lora_dreambooth", steps=1, batch=1, prior_weight=0.0)
    path = concept.save(tmp_path / "rex.safetensors")
    before = path.read_bytes()
    words = ["export", path, "--out", tmp_path, "--overwrite", "--to"]
    assert run(*words, "kohya") == 1
    assert "rex.safetensors is no export to that format, so it is not replaced" in capsys.readouterr().err
    assert path.read_bytes() == before
    words[3] = tmp_path / "out"
    assert [run(*words, to) for to in ("kohya", "kohya", "diffusers")] == [0, 0, 1]
    assert "rex.safetensors was exported to kohya, so it is not replaced by one to diffusers" in capsys.readouterr().err
    config = tmp_path / "peft" / "rex" / "adapter_config.json"
    config.parent.mkdir(parents=True)
    config.write_text("mine")
    words[3] = tmp_path / "peft"
    assert run(*words, "peft") == 1
    assert "adapter_config.json was not written by limner" in capsys.readouterr().err
    assert config.read_text() == "mine"
    config.unlink()
    assert [run(*words, "peft") for _ in range(2)] == [0, 0]


# ---------------------------------------------------------------------------------------- kept the moment teaching ends


@pytest.fixture
def whole(photos: Path, tmp_path: Path) -> limner.Concept:
    """The concept of WORD when nothing stops its training."""
    out = tmp_path / "whole"
    assert run("learn", photos, "--class", "dog", "--name", "rex", "--out", out, *WORD, *QUIET) == 0
    return limner.Concept.load(out / "rex.safetensors")


@pytest.mark.parametrize(
    "where", ["limner.workflows.score.score", "limner.workflows.paint.paint", "limner.workflows.page.write_page"]
)
def test_interrupted_after_teaching_the_concept_is_there_and_resuming_teaches_no_more(
    where: str,
    whole: limner.Concept,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    words = ["learn", photos, "--class", "dog", "--name", "rex", "--out", tmp_path / "cut", *WORD, "--no-check"]
    words += ["--preview", 1] if "paint" in where else ["--preview", 0]
    words += [] if "score" in where else ["--no-score"]
    target = tmp_path / "cut" / "rex.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(where, stop, raising=False)
        assert run(*words) == 130
    said = capsys.readouterr().err
    assert f"the concept is complete in {target}; the same command with --resume" in said
    assert same(limner.Concept.load(target).tensors, whole.tensors)
    assert not (tmp_path / "cut" / "rex" / CHECKPOINT).exists()
    with monkeypatch.context() as patched:
        patched.setattr(learn, "run_updates", None)  # it would be taught by this
        if "score" not in where:
            assert run(*words, "--resume") == 0
            assert "is trained already" in capsys.readouterr().err
            assert (tmp_path / "cut" / "rex" / "index.html").exists()
        assert run(*words, "--resume", "--lr", 0.5) == 1
    assert "belongs to another run" in capsys.readouterr().err
    assert same(limner.Concept.load(target).tensors, whole.tensors)


def test_the_checkpoint_goes_after_the_concept_is_saved(
    whole: limner.Concept,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_checkpoint, "CHECKPOINT_SECONDS", 0.0)
    words = ["learn", photos, "--class", "dog", "--name", "rex", "--out", tmp_path / "cut", *WORD, *QUIET]
    checkpoint = tmp_path / "cut" / "rex" / CHECKPOINT

    def full(*_: Any, **__: Any) -> None:
        assert checkpoint.exists()
        raise FileError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(limner.Concept, "save", full)
        assert run(*words) == 1
    assert checkpoint.exists()
    assert run(*words, "--resume") == 0
    assert not checkpoint.exists()
    assert same(limner.Concept.load(tmp_path / "cut" / "rex.safetensors").tensors, whole.tensors)


def test_without_a_file_to_save_to_the_checkpoint_stays(
    base: Any, rex: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_checkpoint, "CHECKPOINT_SECONDS", 0.0)
    about: dict[str, Any] = {"method": "textual_inversion", "steps": 3, "batch": 1, "checkpoints": tmp_path}
    first = limner.learn(base, rex, **about)
    assert (tmp_path / CHECKPOINT).exists()
    again = limner.learn(base, rex, resume=True, to=tmp_path / "rex.safetensors", **about)
    assert same(first.tensors, again.tensors)
    assert sorted(contents(tmp_path)) == ["rex.safetensors"]
    with pytest.raises(FileError, match="exists already"):
        limner.learn(base, rex, to=tmp_path / "rex.safetensors", **about)


def test_what_is_not_finite_is_never_saved(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="textual_inversion", steps=1, batch=1)
    with pytest.raises(TeachingError, match="not finite"):
        learn.check_finite(replace(concept, tensors={n: t * float("inf") for n, t in concept.tensors.items()}))
    learn.check_finite(concept)


# -------------------------------------------------------------------------------------------------------- many together


def test_together_skips_what_is_there_and_goes_on_with_what_was_begun(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.workflows import together
    from limner.workflows.learn_many import train_stacked

    pets = tmp_path / "pets"
    for name in ("zork", "vimp"):
        shutil.copytree(photos, pets / name)
    words: list[object] = ["learn", pets, "--together", "--class", "dog", "--slots", 1, "--method", "lora_dreambooth"]
    words += ["--steps", 3, "--batch", 1, "--num-class-pictures", 2]
    assert run(*words, "--out", tmp_path / "whole") == 0
    whole = {p.stem: limner.Concept.load(p) for p in (tmp_path / "whole").glob("*.safetensors")}
    assert sorted(whole) == ["vimp", "zork"]
    cut = tmp_path / "cut"

    class Asked:
        """As `stopping` is when a signal comes at the fifth update: the first subject is done, the second at its
        second."""

        def __init__(self) -> None:
            self.updates = 0

        def __enter__(self) -> Any:
            def asked() -> bool:
                self.updates += 1
                return self.updates == 5

            return asked

        def __exit__(self, *_: object) -> None:
            pass

    with monkeypatch.context() as patched:
        patched.setattr(together, "stopping", Asked)
        assert run(*words, "--out", cut) == 130
    said = capsys.readouterr().err
    assert (
        f"1 of 2 concepts are complete in {cut}, checkpoints of unfinished ones (1) are in {cut / 'unfinished'}" in said
    )
    taught: list[Any] = []
    real = train_stacked

    def spied(base: Any, jobs: Any, **about: Any) -> Iterator[Any]:
        for progress in real(base, jobs, **about):
            taught.append(progress)
            yield progress

    monkeypatch.setattr(together, "train_stacked", spied)
    assert run(*words, "--out", cut, "--resume") == 0
    assert len(taught) == 1  # the third update of the second subject
    assert "1 of 2 subjects are learned already" in capsys.readouterr().err
    for name, concept in whole.items():
        found = limner.Concept.load(cut / f"{name}.safetensors")
        assert same(found.tensors, concept.tensors)
        assert found.losses == concept.losses
        assert found.cost["steps"] == 3
    assert not (cut / "unfinished").exists()
    taught.clear()
    assert run(*words, "--out", cut) == 0  # nothing is missing, with or without --resume
    assert taught == []
    assert run(*words, "--out", cut, "--lr", 0.5) == 1
    assert "belongs to another run" in capsys.readouterr().err


@pytest.mark.parametrize("killed_at", ["second checkpoint of a set", "second concept"])
def test_together_goes_on_from_one_update_of_all(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    """Killed between the files of two subjects, a pass goes on with both from one update, also where one is done."""
    from limner.engine import checkpoint
    from limner.workflows import together
    from limner.workflows.learn_many import train_stacked

    pets = tmp_path / "pets"
    for name in ("quax", "vimp", "zork"):
        shutil.copytree(photos, pets / name)
    words: list[object] = ["learn", pets, "--together", "--class", "dog", "--slots", 2, "--method", "lora_dreambooth"]
    words += ["--steps", 3, "--batch", 1, "--num-class-pictures", 2]
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    assert run(*words, "--out", tmp_path / "whole") == 0
    owner, name, call = (together.Together, "_write", 4) if "checkpoint" in killed_at else (limner.Concept, "save", 2)
    real, calls = getattr(owner, name), []

    def stopped(*given: Any, **about: Any) -> Any:
        calls.append(given)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*given, **about)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, stopped)
        assert run(*words, "--out", tmp_path / "cut") == 130
    together_at: list[int] = []

    def spied(base: Any, jobs: Any, **about: Any) -> Iterator[Any]:
        for progress in train_stacked(base, jobs, **about):
            together_at.append(len(progress.losses))
            yield progress

    monkeypatch.setattr(together, "train_stacked", spied)
    assert run(*words, "--out", tmp_path / "cut", "--resume") == 0
    pairs = 2 if "checkpoint" in killed_at else 1  # updates of the first two that are done anew
    assert together_at == [2] * pairs + [1, 1, 1]
    for name in ("quax", "vimp", "zork"):
        whole, cut = (limner.Concept.load(tmp_path / way / f"{name}.safetensors") for way in ("whole", "cut"))
        assert same(whole.tensors, cut.tensors)
        assert whole.losses == cut.losses
    assert not (tmp_path / "cut" / "unfinished").exists()


def test_together_every_folder_has_its_own_class(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pets = tmp_path / "pets"
    for name in ("quax", "vimp", "zork"):
        shutil.copytree(photos, pets / name)
    (pets / "vimp" / "class.txt").write_text("cat", encoding="utf-8")
    words: list[object] = ["learn", pets, "--together", "--method", "lora_dreambooth", "--steps", 1, "--batch", 1]
    words += ["--num-class-pictures", 2, "--out", tmp_path / "out"]
    assert run(*words, "--classes", "zork=teapot") == 1
    said = capsys.readouterr().err
    assert (
        f"the class of {pets / 'quax'} is not known: write it into {pets / 'quax' / 'class.txt'}, or say --classes quax=dog"
        in said
    )
    assert run(*words, "--classes", "zrok=teapot", "--class", "dog") == 1
    assert "did you mean 'zork'" in capsys.readouterr().err
    assert run(*words, "--classes", "zork", "--class", "dog") == 2
    assert "expected FOLDER=NOUN, such as rex=dog" in capsys.readouterr().err
    assert run(*words, "--classes", "zork=teapot", "--class", "dog") == 0
    found = {p.stem: limner.Concept.load(p).subject["noun"] for p in (tmp_path / "out").glob("*.safetensors")}
    assert found == {"quax": "dog", "vimp": "cat", "zork": "teapot"}
    assert run("learn", pets / "vimp", "--classes", "vimp=cat") == 1
    assert "--classes is for many subjects in one pass" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------- painting


@pytest.mark.parametrize("scale", ["nan", "inf", "-inf", "1e30", "-11"])
def test_a_scale_that_is_no_strength_is_refused(scale: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("paint", "a dog", "--steps", 1, "--out", tmp_path, f"--scale={scale}") == 1
    assert "a scale must be a number from -10 to 10" in capsys.readouterr().err
    assert not contents(tmp_path)


def test_what_is_not_finite_is_no_picture(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="textual_inversion", steps=1, batch=1)
    huge = replace(concept, tensors={n: torch.full_like(t, 1e38) for n, t in concept.tensors.items()})
    how = limner.PaintSettings(steps=1)
    with pytest.raises(PaintingError, match="not finite numbers"):
        limner.paint(base, "<rex> on the beach", concepts=[huge], settings=how)
    assert limner.paint(base, "<rex> on the beach", concepts=[concept], settings=how)


def test_pictures_are_saved_as_they_are_painted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.workflows import paint

    real = paint.painting

    def stopped(*given: Any, **about: Any) -> Iterator[Any]:
        yield from real(*given, **{**about, "count": 1})
        raise KeyboardInterrupt

    monkeypatch.setattr(paint, "painting", stopped)
    assert run("paint", "a dog", "-n", 3, "--steps", 1, "--out", tmp_path) == 130
    assert f"1 of 3 pictures are saved in {tmp_path}" in capsys.readouterr().err
    assert json.loads(open_image(tmp_path / "000.png").info["limner"])["prompt"] == "a dog"


def test_painting_leaves_gradients_to_the_caller(base: Any) -> None:
    from limner.workflows.paint import painting

    for _ in painting(base, "a dog", count=2, settings=limner.PaintSettings(steps=1, batch=1)):
        assert torch.is_grad_enabled()


# ----------------------------------------------------------------------------------------------------------- interrupts


def test_an_interrupt_says_what_is_true_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    interrupts.standing(lambda: "of an earlier command")
    monkeypatch.setattr("limner.core.concept.Concept.load", stop)
    for words in (["score", "a.safetensors"], ["check", "a.safetensors"]):
        assert run(*words) == 130
        said = capsys.readouterr().err
        assert "interrupted; no file is half written; the same command begins anew" in said
        assert "--resume" not in said
    monkeypatch.setattr("limner.workflows.bench.run.bench", stop)
    assert run("bench", "--size", "quick", "--folder", "there") == 130
    assert "kept in there; the same command runs the missing ones" in capsys.readouterr().err


def test_an_interrupt_that_a_library_takes_for_a_damaged_file_is_an_interrupt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise FileError("the weights cannot be read") from error

    monkeypatch.setattr("limner.core.concept.Concept.load", load)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        assert run("score", "a.safetensors") == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert "interrupted" in capsys.readouterr().err
