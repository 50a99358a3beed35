"""The file of a concept: whole or not at all, and clear about what it is not."""

from __future__ import annotations

import errno
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import limner
from limner.core.files import atomic_write
from limner.core.subject import Subject
from limner.errors import FileError


@pytest.fixture(scope="module")
def concept(base: Any, rex: Subject) -> limner.Concept:
    return limner.learn(base, rex, method="textual_inversion", steps=2, batch=2)


def test_the_header_tells_the_whole_story(concept: limner.Concept, base: Any, rex: Subject, tmp_path: Path) -> None:
    loaded = limner.Concept.load(concept.save(tmp_path / "rex.safetensors"))
    assert loaded.method == "textual_inversion"
    assert loaded.settings == {"vectors": 3, "steps": 2, "lr": 0.02, "batch": 2}
    assert loaded.base["fingerprint"] == base.fingerprint
    assert [p["sha256"] for p in loaded.subject["pictures"]] == [p.sha256 for p in rex.pictures]
    assert len(loaded.losses) == loaded.cost["steps"] == 2
    assert set(loaded.versions) >= {"limner", "torch"}
    json.dumps(loaded.header)


def test_an_output_that_exists_is_kept(concept: limner.Concept, tmp_path: Path) -> None:
    path = tmp_path / "rex.safetensors"
    path.write_text("precious")
    with pytest.raises(FileError, match="exists already"):
        concept.save(path)
    with pytest.raises(FileError, match="not written by limner"):
        concept.save(path, overwrite=True)
    assert path.read_text() == "precious"
    own = concept.save(tmp_path / "own.safetensors")
    with pytest.raises(FileError, match="exists already"):
        concept.save(own)
    concept.save(own, overwrite=True)
    assert limner.Concept.load(own).handle == "<rex>"


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rex.safetensors"
    path.write_text("precious")

    def full(part: Path) -> None:
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError, match="the disk is full"):
        atomic_write(path, full, overwrite=True)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["rex.safetensors"]


def test_a_damaged_file_is_said_to_be_damaged(concept: limner.Concept, tmp_path: Path) -> None:
    path = concept.save(tmp_path / "rex.safetensors")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(FileError, match="damaged or cut short"):
        limner.Concept.load(path)
    path.write_bytes(b"")
    with pytest.raises(FileError, match="empty"):
        limner.Concept.load(path)


class Evil:
    def __reduce__(self) -> Any:
        return (Path("/tmp/limner-was-here").touch, ())


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "rex.safetensors"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(FileError, match="pickle, which can run code"):
        limner.Concept.load(path)
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(FileError, match="pickle, which can run code"):
        limner.Concept.load(path)
    assert not Path("/tmp/limner-was-here").exists()


def test_other_safetensors_and_other_formats_are_told_apart(concept: limner.Concept, tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(FileError, match="no limner header"):
        limner.Concept.load(path)
    save_file({"a": torch.zeros(2)}, path, metadata={"limner": json.dumps({**concept.header, "format": 99})})
    with pytest.raises(FileError, match="format 99"):
        limner.Concept.load(path)
    save_file({"a": torch.zeros(2)}, path, metadata={"limner": json.dumps({"format": 1})})
    with pytest.raises(FileError, match="lacks parts"):
        limner.Concept.load(path)
    with pytest.raises(FileError, match="there is no concept file"):
        limner.Concept.load(tmp_path / "nowhere.safetensors")


def test_a_tensor_nothing_reads_is_an_error(concept: limner.Concept, base: Any) -> None:
    from dataclasses import replace

    strange = replace(concept, tensors={**concept.tensors, "word.<tom>": torch.zeros(1, 4)})
    with pytest.raises(FileError, match="nothing reads"):
        limner.paint(base, "<rex>", concepts=[strange], settings=limner.PaintSettings(steps=1))


def test_a_tensor_of_another_shape_is_an_error(concept: limner.Concept, base: Any) -> None:
    from dataclasses import replace

    strange = replace(concept, tensors={"word.<rex>": torch.zeros(1, 7)})
    with pytest.raises(FileError, match=r"\(1, 7\)"):
        limner.paint(base, "<rex>", concepts=[strange], settings=limner.PaintSettings(steps=1))
