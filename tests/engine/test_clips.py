"""Clips: frames that stay together, motion modules that act on them alone, and files that keep the story."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import limner
from limner.core.adapted import Candidates
from limner.core.picture import Clip, Pictures
from limner.core.recipe import Objective, Painting, Recipe, Source, Stage
from limner.core.subject import Subject
from limner.core.types import Batch, ReferenceStream
from limner.engine.attach import Adapter, attach
from limner.engine.parallel import Share
from limner.engine.sample import PaintSettings, sample
from limner.engine.train import train
from limner.errors import FileError, InputError
from limner.parts.modifiers import motion_modules
from limner.parts.objectives import denoising
from limner.parts.parameters import learned, part_of
from tests.helpers import same, state, untouched

TWO = PaintSettings(steps=2)
MOTION = motion_modules(frames=4)


def moving(base: Any, seed: int = 0) -> dict[str, Tensor]:
    """Motion modules whose last layers are not zero."""
    recipe, random = Recipe("a dog", (MOTION,)), torch.Generator().manual_seed(seed)
    with attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        return {
            n: t + 0.3 * torch.randn(t.shape, generator=random) * n.count("proj_out")
            for n, t in adapted.tensors.items()
        }


def painted(base: Any, recipe: Recipe, tensors: dict[str, Tensor], prompts: list[str], **more: Any) -> Tensor:
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", tensors)]) as adapted:
        for at in sample(adapted, prompts, seeds=range(3, 3 + len(prompts)), settings=TWO, **more):
            found = at.latents
    return found


def test_frames_of_one_clip_see_one_another_and_no_others(base: Any) -> None:
    before, tensors, recipe = state(base), moving(base), Recipe("a dog", (MOTION,))
    one = painted(base, recipe, tensors, ["a dog"], frames=3)
    two = painted(base, recipe, tensors, ["a dog", "a red car"], frames=3)
    assert one.shape == (3, *base.latent_shape)
    assert torch.allclose(two[:3], one, atol=1e-3)
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>")]) as adapted:  # zero at first: frames alone
        for at in sample(adapted, ["a dog"], seeds=[3], settings=TWO, frames=3):
            alone = at.latents
    picture = painted(base, recipe, tensors, ["a dog"])  # motion does not act on stills
    assert torch.allclose(alone[:1], picture, atol=1e-3)
    assert not torch.allclose(one, alone, atol=1e-2)
    assert not torch.allclose(alone[0], alone[1], atol=1e-1)  # each frame begins with noise of its own
    assert same(state(base), before)
    assert untouched(base)


def test_a_companion_stands_before_all_clips(base: Any) -> None:
    reference_stream = lambda adapted: lambda steps: ReferenceStream("a cat", None)  # noqa: E731
    tensors = moving(base)
    plain, beside = (
        Recipe("a dog", (MOTION,), painting=Painting(reference_stream=c)) for c in (None, reference_stream)
    )
    first, second = (painted(base, recipe, tensors, ["a dog", "a cup"], frames=2) for recipe in (plain, beside))
    assert torch.allclose(first, second, atol=1e-3)


def test_candidates_are_whole_clips(base: Any) -> None:
    """The frames that a candidate wins are all of one candidate, even where another is better in one of them."""
    from limner.workflows.paint import _best

    calls: list[Tensor] = []

    def nearness(adapted: Any, pixels: Tensor) -> Tensor:
        calls.append(pixels)
        return torch.tensor([[1.0, 0.0], [0.0, 0.5]][len(calls) - 1])

    recipe = Recipe("a dog", (MOTION,), painting=Painting(candidates=Candidates(2, nearness)))
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", moving(base))]) as adapted:
        best = _best(adapted, ["a dog"], [0], TWO, None, None, {}, 2, None, ("a dog", 0))
    assert torch.equal(best, calls[0])


def test_motion_learns_from_clips_with_one_time_a_clip(base: Any) -> None:
    seen: list[Any] = []

    def prepare(base: Any) -> Any:
        return lambda step, at: Batch(
            torch.randn(4, *base.latent_shape, generator=at("latents")), ("a dog",) * 4, frames=2
        )

    def value(step: Any) -> Tensor:
        seen.append((step.time.tolist(), step.prediction.run.frames))
        return denoising(step_source).value(step)

    step_source = Source("clips", "subject", prepare)
    train_last = part_of(MOTION, "proj_out.weight")
    stage = Stage((train_last,), (Objective("clips", step_source, value),), 2, 1e-2)
    recipe = Recipe("a dog", (MOTION,), (stage,))
    *_, end = train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning)
    with attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        began, every = adapted.tensors, learned(MOTION)(adapted)
        assert all(name.startswith("motion.") for name in every)
    moved = {n for n, t in end.snapshot().learned.items() if not torch.equal(t, began[n])}
    assert moved == {name for name in began if name.endswith("proj_out.weight")}
    for times, frames in seen:
        assert (times[0], times[2]) == (times[1], times[3])
        assert times[0] != times[2]
        assert frames == 2
    assert Share(1, 2).rows_of(Batch(torch.zeros(8, 1), ("",) * 8, frames=2)) == [4, 5, 6, 7]


def test_conditions_follow_prompts_or_frames(base: Any) -> None:
    from limner.workflows.paint import _conditions

    size = base.picture_size
    numbered = torch.arange(3).view(3, 1, 1, 1).expand(3, 1, size, size) / 10

    def rows(given: Tensor, prompts: int, frames: int) -> list[int]:
        found = _conditions(base, {"depth": given}, ["a dog"] * prompts, 2, frames)["depth"]
        return [round(10 * float(row[0, 0, 0])) for row in found]

    assert rows(numbered[:1], 2, 3) == [0]
    assert rows(numbered[:2], 2, 3) == [0] * 6 + [1] * 6  # two clips of three frames for each prompt
    assert rows(numbered, 2, 3) == [0, 1, 2] * 4
    with pytest.raises(
        InputError, match="3 pictures for 2 prompts: give one for all, one for each, or one for each of 4 frames"
    ):
        rows(numbered, 2, 4)


def test_a_base_of_stills_says_so(base: Any) -> None:
    with pytest.raises(InputError, match=r"pocket paints pictures alone.*not clips of 8 frames.*--motion FOLDER"):
        limner.paint(base, "a dog", frames=8, settings=TWO)
    with pytest.raises(InputError, match="at most 4 frames"):
        painted(base, Recipe("a dog", (MOTION,)), {}, ["a dog"], frames=5)


def test_motion_modules_of_diffusers_paint_clips(base: Any, tmp_path: Path) -> None:
    from diffusers import MotionAdapter

    torch.manual_seed(0)
    about: Any = {"motion_layers_per_block": 1, "motion_num_attention_heads": 4, "motion_norm_num_groups": 16}
    MotionAdapter((64, 128, 192), motion_max_seq_length=8, **about).save_pretrained(tmp_path / "motion")
    found = limner.paint(base, ["a dog", "a cup"], frames=8, motion=tmp_path / "motion", seed=5, settings=TWO)
    assert [type(clip) for clip in found] == [Clip, Clip]
    clip = found[0]
    assert isinstance(clip, Clip)
    assert len(clip.frames) == 8
    paths = [path.name for path in found.save(tmp_path / "out")]
    assert paths == ["000.webp", "001.webp"]
    assert [path.name for path in found.save(tmp_path / "out")] == ["002.webp", "003.webp"]
    MotionAdapter((64, 64), motion_max_seq_length=8, **about).save_pretrained(tmp_path / "small")
    with pytest.raises(InputError, match=r"\(64, 64\) channels, but those of pocket have \(64, 128, 192\)"):
        limner.paint(base, "a dog", frames=2, motion=tmp_path / "small", settings=TWO)
    with pytest.raises(FileError, match="expected a MotionAdapter"):
        limner.paint(base, "a dog", frames=2, motion=tmp_path, settings=TWO)


def clip() -> Clip:
    shades = tuple(Image.new("RGB", (16, 16), (60 * k, 0, 0)) for k in range(4))
    return Clip(shades[0], "a dog", 3, ("<rex>",), "pocket", {"steps": 2}, shades, 5.0)


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_animations_keep_frames_pace_and_story(suffix: str, tmp_path: Path) -> None:
    path = clip().save(tmp_path / f"rex{suffix}")
    with Image.open(path) as image:
        assert image.n_frames == 4  # type: ignore[attr-defined]  # of animations
        image.seek(2)
        assert abs(np.asarray(image.convert("RGB"), dtype=int)[8, 8] - [120, 0, 0]).max() <= 8
        assert image.info["duration"] == 200
        text = image.getexif()[0x010E] if suffix == ".webp" else image.info["comment"].decode()
    assert json.loads(text)["limner"] == clip().story
    assert clip().story["frames"] == 4
    clip().save(path, overwrite=True)  # its own
    shades = clip().frames
    buffer = io.BytesIO()
    shades[0].save(buffer, suffix[1:], save_all=True, append_images=shades[1:])
    path.write_bytes(buffer.getvalue())
    with pytest.raises(FileError, match="not written by limner"):
        clip().save(path, overwrite=True)


def test_frames_are_saved_one_by_one(tmp_path: Path) -> None:
    clip().save(tmp_path / "frames")
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [f"{k:03}.png" for k in range(4)]
    with Image.open(tmp_path / "frames" / "002.png") as frame:
        story = json.loads(frame.info["limner"])
    assert (story["frame"], story["seed"]) == (2, 3)
    with pytest.raises(InputError, match="not as .mp4"):
        clip().save(tmp_path / "rex.mp4")
    assert Pictures([clip()]).grid().size == (128, 128)
    assert clip()._repr_mimebundle_()["image/gif"].startswith(b"GIF89a")


def test_subjects_are_worn_in_clips(base: Any, rex: Subject, tmp_path: Path) -> None:
    from diffusers import MotionAdapter

    about: Any = {"motion_layers_per_block": 1, "motion_num_attention_heads": 4, "motion_norm_num_groups": 16}
    MotionAdapter((64, 128, 192), motion_max_seq_length=4, **about).save_pretrained(tmp_path)
    concept = limner.learn(base, rex, method="textual_inversion", steps=1)
    found = limner.paint(base, "<rex>", concepts=[concept], frames=2, motion=tmp_path, settings=TWO)
    assert found[0].story["frames"] == 2
