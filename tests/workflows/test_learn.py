"""Interrupted at any moment, a run goes on to the same bits; a run that breaks keeps its last good state."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from limner.core.subject import Subject
from limner.engine.checkpoint import CHECKPOINT
from limner.errors import FileError, InputError, PictureError, PromptError, TeachingError, UnknownName
from limner.library.settings import checked_settings
from limner.methods import find
from limner.workflows.preview_prompts import preview_prompts
from tests.helpers import acting, related, same, state, style, untouched

STEPS = 10
SCRIPT = f"""
import sys, time
import limner
import limner.engine.checkpoint
from limner.core.subject import Subject
limner.engine.checkpoint.CHECKPOINT_SECONDS = 0.0
photos, folder = sys.argv[1:3]
base = limner.load("pocket", device="cpu")
def watch(progress):
    print(progress.done, flush=True)
    time.sleep(0.05)
rex = Subject.of(photos, noun="dog", handle="rex")
concept = limner.learn(base, rex, method="textual_inversion", steps={STEPS}, batch=2, seed=3, checkpoints=folder,
                       watch=watch)
"""


def start(photos: Path, folder: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", SCRIPT, str(photos), str(folder)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy())


def wait_for(process: subprocess.Popen[str], step: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= step:
            return
    raise AssertionError(process.stderr.read() if process.stderr else "it ended")


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.sweep)])
def test_killed_at_a_random_step_it_resumes_to_the_same_bits(
    base: Any, photos: Path, tmp_path: Path, how: signal.Signals
) -> None:
    """The killed run is a process of its own; this one goes on with it, and learns the whole for comparison."""
    process = start(photos, tmp_path)
    wait_for(process, random.randint(2, STEPS - 5))
    process.send_signal(how)
    process.communicate()
    assert process.returncode != 0
    assert (tmp_path / CHECKPOINT).exists()
    subject, seen = Subject.of(photos, noun="dog", handle="rex"), list[int]()
    about: dict[str, Any] = {"method": "textual_inversion", "steps": STEPS, "batch": 2, "seed": 3}
    onwards: dict[str, Any] = {"checkpoints": tmp_path, "resume": True, "watch": lambda at: seen.append(at.done)}
    resumed = limner.learn(base, subject, to=tmp_path / "rex.safetensors", **about, **onwards)
    assert len(seen) < STEPS
    whole = limner.learn(base, subject, **about)
    assert same(resumed.tensors, whole.tensors)
    assert resumed.losses == whole.losses
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_last_good_state(
    base: Any, rex: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.engine.train import Learner

    real = Learner.update

    def broken(self: Learner, step: int, make: Any, random: Any) -> dict[str, float]:
        return real(
            self, step, lambda share: [(n, v * float("nan" if step == 4 else 1)) for n, v in make(share)], random
        )

    monkeypatch.setattr(Learner, "update", broken)
    before = state(base)
    with pytest.raises(TeachingError, match=r"at step 4 .*learning rate too high"):
        limner.learn(base, rex, method="textual_inversion", steps=6, batch=2, checkpoints=tmp_path)
    assert same(state(base), before)
    assert untouched(base)
    monkeypatch.setattr(Learner, "update", real)
    resumed = limner.learn(base, rex, method="textual_inversion", steps=6, batch=2, checkpoints=tmp_path, resume=True)
    whole = limner.learn(base, rex, method="textual_inversion", steps=6, batch=2)
    assert same(resumed.tensors, whole.tensors)


def test_a_checkpoint_of_another_run_is_refused(base: Any, rex: Subject, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.done == 2:
            raise Stop

    import limner.engine.checkpoint

    seconds, limner.engine.checkpoint.CHECKPOINT_SECONDS = limner.engine.checkpoint.CHECKPOINT_SECONDS, 0.0
    try:
        with pytest.raises(Stop):
            limner.learn(base, rex, method="textual_inversion", steps=6, batch=2, checkpoints=tmp_path, watch=stop)
    finally:
        limner.engine.checkpoint.CHECKPOINT_SECONDS = seconds
    with pytest.raises(FileError, match=r"another run: its settings differ"):
        limner.learn(base, rex, method="textual_inversion", steps=7, batch=2, checkpoints=tmp_path, resume=True)


def test_training_does_not_touch_the_global_random_stream(base: Any, rex: Subject) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    limner.learn(base, rex, method="lora_dreambooth", steps=1, batch=1, num_class_pictures=2)
    limner.paint(base, "a dog", settings=limner.PaintSettings(steps=1))
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": 10**9}, "at most"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lr": -1.0}, "lr must be above 0"),
        ({"lr": float("nan")}, "lr must be"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"batch": -2}, "batch must be at least 1"),
        ({"steps": "many"}, "of type int"),
        ({"steps": 1.5}, "of type int"),
        ({"steps": True}, "of type int"),
    ],
)
def test_senseless_settings_are_explained(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        checked_settings(find("lora_dreambooth"), given)


def test_unknown_names_suggest_the_nearest(base: Any, rex: Subject) -> None:
    with pytest.raises(UnknownName, match="did you mean 'rank'"):
        limner.learn(base, rex, method="lora_dreambooth", rnak=3)
    with pytest.raises(UnknownName, match="did you mean 'dreambooth'"):
        limner.learn(base, rex, method="dreamboth")


def test_a_word_the_base_knows_is_no_name(base: Any, rex: Subject) -> None:
    beach = Subject("<beach>", "dog", rex.pictures)
    with pytest.raises(InputError, match="'beach' is a word that pocket knows"):
        limner.learn(base, beach, method="textual_inversion")


def test_a_subject_without_pictures_cannot_be_learned(base: Any) -> None:
    with pytest.raises(PictureError, match="no pictures to learn from"):
        limner.learn(base, Subject("<rex>", "dog"), method="textual_inversion")


def test_eta_and_progress_count_up(base: Any, rex: Subject) -> None:
    seen: list[tuple[int, int, float]] = []
    limner.learn(
        base, rex, method="textual_inversion", steps=4, batch=1, watch=lambda p: seen.append((p.done, p.total, p.eta))
    )
    assert [done for done, _, _ in seen] == [1, 2, 3, 4]
    assert {total for _, total, _ in seen} == {4}
    assert seen[-1][2] == 0.0
    assert all(eta > 0 for _, _, eta in seen[:-1])


def test_a_selection_may_learn_at_a_rate_of_its_own(base: Any, rex: Subject) -> None:
    from limner.core.recipe import Recipe, Stage
    from limner.engine.attach import Adapter
    from limner.engine.train import train as teach
    from limner.parts.modifiers import new_word
    from limner.parts.objectives import denoising
    from limner.parts.parameters import at_rate, cross_attention_kv, words
    from limner.parts.sources import photos

    def moved(factor: float) -> tuple[float, float]:
        word = new_word(rex.handle, like="dog")
        train = (words(word), at_rate(factor, cross_attention_kv()))
        stage = Stage(train, (denoising(photos(rex, batch=2)),), steps=1, lr=1e-3)
        adapter = Adapter(Recipe(says=rex.handle, modifiers=(word,), stages=(stage,)), rex.handle)
        (progress,) = teach(base, adapter, stages=(stage,))
        tensors = progress.snapshot().tensors
        weights = base.select("cross_attention_kv")
        most = max(float((tensors[n] - w).abs().max()) for n, w in weights.items())
        return float((tensors["word.<rex>"] - base.word_vectors("dog")).abs().max()), most

    (word, fast), (same_word, slow) = moved(1.0), moved(0.01)
    assert word == pytest.approx(same_word, rel=1e-3)
    assert slow == pytest.approx(fast / 100, rel=0.05)


def blank(rex: Subject) -> Subject:
    """The toy, with one picture on which it is not."""
    from PIL import Image

    images = [picture.image for picture in rex.pictures]
    return Subject.of([*images, Image.new("RGB", (128, 128), (128, 128, 128))], noun="dog", handle="rex")


def test_a_picture_without_the_subject_is_an_error_for_what_wants_its_mask(base: Any, rex: Subject) -> None:
    with pytest.raises(InputError, match="was not found on picture 4"):
        limner.learn(base, blank(rex), method="break_a_scene", steps=1, batch=1)
    assert untouched(base)


def test_a_picture_without_the_subject_is_noted(
    base: Any, rex: Subject, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    from limner.apps.cli.main import main
    from limner.parts.encoders.masks import unseen

    assert unseen(base, rex) == []
    assert unseen(base, blank(rex)) == ["picture 4"]
    Image.new("RGB", (128, 128), (128, 128, 128)).save(photos / "empty.png")
    words = ["learn", photos, "--class", "dog", "--name", "rex", "--out", tmp_path, "--method", "ip_adapter"]
    assert main([str(word) for word in [*words, "--no-score", "--no-check", "--preview", "0"]]) == 0
    assert "no toy is visible in empty.png" in capsys.readouterr().err


def test_pictures_of_a_style_that_all_show_one_thing_are_noted(
    base: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without captions too, since the base's CLIP names what they show."""
    from limner.apps.cli.main import main
    from limner.parts.encoders.captions import repeated_content

    one = Subject.of(photos, noun="watercolour style", handle="sty", kind="style")
    assert (content := repeated_content(base, one))
    assert not repeated_content(base, replace(one, pictures=one.pictures[:1]))
    assert not repeated_content(base, style(captions=False))
    captioned = tuple(replace(picture, caption="a picture in <sty>") for picture in one.pictures)
    assert not repeated_content(base, replace(one, pictures=captioned))
    words = ["learn", photos, "--kind", "style", "--class", "style", "--name", "sty", "--out", tmp_path]
    words += ["--method", "stylealigned", "--no-score", "--no-check", "--preview", 0]
    assert main([str(word) for word in words]) == 0
    assert f"names one content ({content!r}) in all 3 pictures" in " ".join(capsys.readouterr().err.split())

    def none(pixels: Any) -> Any:
        raise InputError("no image encoder")

    monkeypatch.setattr(base, "picture_features", none)
    assert not repeated_content(base, one)


def test_a_relation_is_learned_from_a_folder_of_captioned_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its method is chosen by its kind; without the captions, the file to write one into is named."""
    from limner.apps.cli.main import main

    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for k, picture in enumerate(related().pictures):
        assert picture.image is not None
        picture.image.save(folder / f"{k}.png")
    words = ["learn", folder, "--kind", "relation", "--class", "and", "--name", "rel", "--out", out]
    words += ["--no-score", "--no-check", "--preview", 0, "--steps", 1, "--method", "reversion"]
    assert main([str(word) for word in words]) == 1
    assert "a photo of a dog <rel> a car' into 0.txt" in " ".join(capsys.readouterr().err.split())
    for k, picture in enumerate(related().pictures):
        (folder / f"{k}.txt").write_text(picture.caption)
    assert main([str(word) for word in words]) == 0
    concept = limner.Concept.load(out / "rel.safetensors")
    assert concept.method == "reversion"
    assert concept.subject["kind"] == "relation"
    assert concept.subject["pictures"][0]["caption"] == "a photo of a dog <rel> a car"


def test_previews_of_a_relation_or_an_action_show_others(rex: Subject) -> None:
    assert all("<rel> a" in prompt for prompt in preview_prompts(related()))
    assert preview_prompts(acting())[0] == "a photo of a cat <act>"
    assert preview_prompts(rex)[1] == "<rex> on the beach"


def test_a_caption_that_is_too_long_is_told_before_teaching(base: Any, rex: Subject) -> None:
    """Also where it is a learned word's vectors that are too many."""
    room = base.max_tokens
    long = " ".join([rex.handle, *["red"] * (room - 3)])
    captions = ["", "", long]
    subject = Subject.of([p.image for p in rex.pictures], noun=rex.noun, handle=rex.handle, captions=captions)
    seen: list[int] = []
    with pytest.raises(PromptError, match=r"picture 3 \(.*nothing is cut"):
        limner.learn(
            base, subject, method="textual_inversion", vectors=8, steps=2, batch=1, watch=lambda p: seen.append(p.done)
        )
    assert not seen
    limner.learn(base, subject, method="textual_inversion", vectors=1, steps=1, batch=1)
    assert untouched(base)
