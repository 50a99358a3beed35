"""The certificate: each of its checks can fail, and says what it found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from limner.apps.cli.main import main
from limner.core.subject import Subject
from limner.errors import CheckError, WrongBase
from limner.workflows.certify import certify


@pytest.fixture(scope="module")
def word(base: Any, rex: Subject) -> limner.Concept:
    return limner.learn(base, rex, method="textual_inversion", steps=8, lr=0.05, batch=2)


def failed(certificate: Any) -> list[str]:
    return [check.what for check in certificate.checks if not check.ok]


def test_a_good_concept_passes_every_check(base: Any, word: limner.Concept) -> None:
    found = certify(base, word, steps=4)
    assert found.ok
    assert len(found.checks) == 5
    assert "changed by 0.0" in str(found)
    assert str(found).endswith("in float32")
    found.demand()


def test_one_that_changes_nothing_fails(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="lora_dreambooth", steps=1, lr=1e-9, num_class_pictures=2, batch=1)
    nothing = replace(concept, tensors={n: torch.zeros_like(t) for n, t in concept.tensors.items()})
    found = certify(base, nothing, steps=2)
    assert failed(found) == ["prompts that name it change"]
    with pytest.raises(CheckError, match="prompts that name it change: by 0.0 of 255"):
        found.demand()


def test_one_that_ruins_the_base_fails(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="lora_dreambooth", steps=1, num_class_pictures=2, batch=1)
    wild = {
        n: t + 0.5 * torch.randn(t.shape, generator=torch.Generator().manual_seed(0))
        for n, t in concept.tensors.items()
    }
    assert "prompts of other things stay" in failed(certify(base, replace(concept, tensors=wild), steps=2))


def test_one_that_is_not_of_numbers_fails_before_it_is_worn(base: Any, word: limner.Concept) -> None:
    broken = {n: t * float("nan") for n, t in word.tensors.items()}
    found = certify(base, replace(word, tensors=broken))
    assert failed(found) == ["its tensors are finite numbers"]
    assert len(found.checks) == 1


def test_one_whose_pictures_overflow_fails(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="lora_dreambooth", steps=1, num_class_pictures=2, batch=1)
    huge = {n: torch.full_like(t, 1e18) for n, t in concept.tensors.items()}
    assert "its pictures are finite numbers" in failed(certify(base, replace(concept, tensors=huge), steps=2))


def test_what_acts_on_everything_is_not_held_to_other_prompts(base: Any, rex: Subject) -> None:
    found = certify(base, limner.learn(base, rex, method="ip_adapter"), steps=2)
    assert any("may act on all" in check.finding for check in found.checks)


@pytest.mark.sweep
def test_the_command_fails_loudly_in_the_precision_asked_for(
    word: limner.Concept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = word.save(tmp_path / "rex.safetensors")
    assert main(["check", str(file), "--steps", "2", "--dtype", "bfloat16"]) == 0
    assert "in bfloat16" in capsys.readouterr().out
    broken = replace(word, tensors={n: t * 0 for n, t in word.tensors.items()}, method="lora_dreambooth")
    with pytest.raises(limner.errors.LimnerError):
        certify(limner.load(), broken)


def test_another_base_of_the_family_may_wear_it_when_asked(base: Any, word: limner.Concept) -> None:
    other = replace(word, base=word.base | {"fingerprint": "0" * 16})
    with pytest.raises(WrongBase, match="--any-base"):
        limner.paint(base, "<rex>", concepts=[other])
    assert limner.paint(base, "<rex>", concepts=[other], any_base=True, settings=limner.PaintSettings(steps=2))
    with pytest.raises(WrongBase):
        limner.paint(base, "<rex>", concepts=[replace(other, base=other.base | {"family": "flux"})], any_base=True)
