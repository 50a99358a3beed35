"""A checkpoint by a stranger, or damaged: a clear error before anything is written to; under other versions, a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import limner
from limner.core.subject import Subject
from limner.core.untrusted import HASH, content_hash
from limner.engine.checkpoint import CHECKPOINT, Run, run_to_end, save_checkpoint
from limner.engine.checkpoint_checks import check_moments
from limner.errors import FileError
from limner.workflows.learn import prepared_run
from tests.helpers import same

STEPS = 3
Change = Callable[[dict[str, Any], dict[str, Tensor]], object]


@pytest.fixture(scope="module")
def run(base: Any, rex: Subject) -> Run:
    return prepared_run(base, rex, "textual_inversion", {"steps": STEPS, "batch": 1}, 0)


@pytest.fixture(scope="module")
def whole(base: Any, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after the second update."""
    path = tmp_path_factory.mktemp("run") / CHECKPOINT
    losses: list[float] = []

    def stop(progress: Any) -> bool:
        losses.append(progress.loss)
        if progress.done == 2:
            save_checkpoint(path, progress.snapshot(), {**run.header, "parts": 1}, losses)
        return progress.done == 2

    run_to_end(base, run.adapter, run.recipe.tuning, 0, header=run.header, watch=stop)
    return path


def metadata_of(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    found: dict[str, str] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return found


def resumed(base: Any, run: Run, folder: Path) -> tuple[dict[str, Tensor], list[float]]:
    return run_to_end(base, run.adapter, run.recipe.tuning, 0, header=run.header, checkpoints=folder, resume=True)


def by_stranger(whole: Path, folder: Path, change: Change) -> Path:
    """The checkpoint with its header and tensors changed, under the right hash."""
    header, tensors = json.loads(metadata_of(whole)["limner"]), load_file(whole)
    change(header, tensors)
    text = json.dumps(header)
    save_file(tensors, folder / CHECKPOINT, metadata={"limner": text, HASH: content_hash(text, tensors)})
    return folder


def test_a_whole_one_goes_on_to_the_same_bits(base: Any, run: Run, whole: Path, tmp_path: Path) -> None:
    found, losses = resumed(base, run, by_stranger(whole, tmp_path, lambda *_: None))
    wanted, all_losses = run_to_end(base, run.adapter, run.recipe.tuning, 0, header=run.header)
    assert same(found, wanted)
    assert losses == all_losses


def exchanged(_: Any, tensors: dict[str, Tensor]) -> None:
    tensors["moments.exp_avg.word.<rex>"] = torch.zeros(100_000)


def word(name: str, value: Tensor) -> Change:
    return lambda _, tensors: tensors.update({name: value})


BAD: dict[str, tuple[Change, str]] = {
    "moments of another shape": (exchanged, "moments do not fit .* expected"),
    "moments of another type": (
        word("moments.exp_avg_sq.word.<rex>", torch.zeros(3, 64).double()),
        "moments do not fit",
    ),
    "moments below zero": (lambda _, t: t["moments.exp_avg_sq.word.<rex>"].neg_(), "is negative"),
    "one moment of three": (lambda _, t: t.pop("moments.exp_avg_sq.word.<rex>"), "alone"),
    "moments of nothing": (word("moments.exp_avg.word.<tom>", torch.zeros(3, 64)), "is not trained"),
    "a tensor gone": (lambda _, t: t.pop("tensors.word.<rex>"), "lacks word.<rex>"),
    "a tensor of the base": (
        word("tensors.denoiser.conv_in.bias", torch.zeros(64)),
        "which no stage of this run trains",
    ),
    "a tensor of nobody": (word("other.a", torch.zeros(1)), "nothing reads its tensor"),
    "no place": (lambda h, _: h.pop("place"), "no checkpoint that this limner reads"),
    "a place of another type": (lambda h, _: h.update(place=[1]), "must be a table"),
    "a place without a step": (lambda h, _: h["place"].pop("step"), "lacks step"),
    "a stage too far": (lambda h, _: h["place"].update(stage=1), "stage .* from 0 to 0"),
    "a step below zero": (lambda h, _: h["place"].update(step=-1), "step .* from 0"),
    "a step too far": (lambda h, _: h["place"].update(step=STEPS + 1), "step .* from 0 to 3"),
    "a step moved": (lambda h, _: h["place"].update(step=1), "2 losses .* 1 updates"),
    "losses that are none": (lambda h, _: h["place"].update(losses=["a", "b"]), "finite number"),
    "losses in words": (lambda h, _: h["place"].update(losses="ab"), "must be a list"),
    "another format": (lambda h, _: h.update(format=99), "no checkpoint that this limner reads"),
    "a field of nobody": (lambda h, _: h.update(code="x.py:x"), "no checkpoint"),
    "another run": (lambda h, _: h.update(seed=7), "of another run: its seed"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_no_run_was_in_is_refused(base: Any, run: Run, whole: Path, tmp_path: Path, case: str) -> None:
    change, said = BAD[case]
    with pytest.raises(FileError, match=said):
        resumed(base, run, by_stranger(whole, tmp_path, change))


def test_a_concept_in_its_place_is_said_to_be_none(base: Any, run: Run, rex: Subject, tmp_path: Path) -> None:
    limner.learn(base, rex, method="textual_inversion", steps=1, batch=1).save(tmp_path / CHECKPOINT)
    with pytest.raises(FileError, match="no checkpoint that this limner reads"):
        resumed(base, run, tmp_path)


def test_a_changed_bit_is_noticed(base: Any, run: Run, whole: Path, tmp_path: Path) -> None:
    data = bytearray(whole.read_bytes())
    data[-100] ^= 4
    (tmp_path / CHECKPOINT).write_bytes(data)
    with pytest.raises(FileError, match="changed or damaged since it was written"):
        resumed(base, run, tmp_path)


def test_other_versions_of_libraries_are_said(base: Any, run: Run, whole: Path, tmp_path: Path) -> None:
    versions = json.loads(metadata_of(whole)["limner"])["versions"]
    assert set(versions) == {"limner", "torch"}
    folder = by_stranger(whole, tmp_path, lambda h, _: h["versions"].update(torch="1.0"))
    with pytest.warns(UserWarning, match=r"made under torch 1\.0, now .*other bits"):
        resumed(base, run, folder)


def test_a_checkpoint_of_an_older_limner_goes_on_with_a_word(base: Any, run: Run, whole: Path, tmp_path: Path) -> None:
    header = json.loads(metadata_of(whole)["limner"])
    for key in ("format", "versions"):
        del header[key]
    save_file(load_file(whole), tmp_path / CHECKPOINT, metadata={"limner": json.dumps(header)})
    with pytest.warns(UserWarning, match="limner of an unknown version"):
        found, _ = resumed(base, run, tmp_path)
    assert same(found, run_to_end(base, run.adapter, run.recipe.tuning, 0, header=run.header)[0])


def test_one_made_after_the_last_update_ends_at_once(base: Any, run: Run, tmp_path: Path) -> None:
    losses: list[float] = []

    def keep(progress: Any) -> None:
        losses.append(progress.loss)
        save_checkpoint(tmp_path / CHECKPOINT, progress.snapshot(), {**run.header, "parts": 1}, losses)

    wanted, _ = run_to_end(base, run.adapter, run.recipe.tuning, 0, header=run.header, watch=keep)
    found, again = resumed(base, run, tmp_path)
    assert same(found, wanted)
    assert again == losses


def test_muon_keeps_no_second_moment_of_a_matrix() -> None:
    parameters = {"a": torch.zeros(2, 3), "b": torch.zeros(3)}
    moments = {"step.a": torch.zeros(()), "exp_avg.a": torch.zeros(2, 3)}
    check_moments(moments, parameters, {}, optimizer="muon")
    with pytest.raises(FileError, match="exp_avg_sq"):
        check_moments(moments, parameters, {}, optimizer="adamw")
    with pytest.raises(FileError, match="exp_avg_sq"):
        check_moments({"step.b": torch.zeros(()), "exp_avg.b": torch.zeros(3)}, parameters, {}, optimizer="muon")
