"""Hostile and broken files: whatever is in them, a clear error before anything is changed. Thousands more in
tests/fuzz."""

from __future__ import annotations

import json
import resource
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import limner
from limner.bases.common.loading import load
from limner.core.subject import Subject
from limner.core.tensor_files import read_tensors
from limner.errors import FileError, InputError
from limner.formats import export, import_file
from limner.library.opening import adapter_of
from tests.bases.families import stable_diffusion as save_tiny
from tests.helpers import same, state, untouched


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(save_tiny(tmp_path_factory.mktemp("bad") / "sd", "1.5"), device="cpu")


@pytest.fixture(scope="module")
def whole(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file that is good: a LoRA in kohya's keys."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    rex = Subject.of([Image.fromarray(noise)], noun="dog", handle="rex")
    concept = limner.learn(tiny, rex, method="lora_dreambooth", steps=1, rank=1, prior_weight=0.0, batch=1)
    return export(concept, tiny, tmp_path_factory.mktemp("good"), to="kohya").files[0].read_bytes()


def written(header: Any, data: bytes = b"", *, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def about(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


BAD = {
    "nothing": (b"", "empty"),
    "seven bytes": (b"\0" * 7, "less than 8"),
    "a header longer than the file": (written({}, size=10**12), "header claims"),
    "a header that is no JSON": (written(b"{'a': 1}"), "not JSON"),
    "a header that is a list": (written([1, 2]), "no table"),
    "metadata that is a list": (written({"__metadata__": [1]}), "metadata is no table"),
    "overlapping tensors": (written({"a": about(), "b": about(offsets=(4, 12))}, b"\0" * 12), "overlap"),
    "a gap": (written({"a": about(offsets=(4, 12))}, b"\0" * 12), "gap"),
    "bytes left over": (written({"a": about()}, b"\0" * 12), "12 follow"),
    "a place beyond the end": (written({"a": about(offsets=(0, 80), shape=(20,))}, b"\0" * 8), "does not fit"),
    "a huge shape": (written({"a": about(shape=(2**40, 2**40))}, b"\0" * 8), "does not fit"),
    "a negative shape": (written({"a": about(shape=(-2,))}, b"\0" * 8), "cannot be"),
    "a shape of fractions": (written({"a": about(shape=(2.0,))}, b"\0" * 8), "cannot be"),
    "an unknown data type": (written({"a": about(dtype="F12")}, b"\0" * 8), "cannot be"),
    "no offsets": (written({"a": {"dtype": "F32", "shape": [2]}}, b"\0" * 8), "is missing"),
    "a tensor that is a number": (written({"a": 3}), "is missing"),
    "a deep header": (written(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"), "damaged"),
    "not a number": (written({"a": about()}, struct.pack("<2f", 1.0, float("nan"))), "not finite"),
    "infinity": (written({"a": about()}, struct.pack("<2f", 1.0, float("inf"))), "not finite"),
    "a zip": (b"PK\x03\x04" + b"\0" * 50, "pickle"),
    "a pickle": (b"\x80\x04\x95" + b"\0" * 50, "pickle"),
    "a web page": (b"<!DOCTYPE html><html>404</html>", "web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc", "Git LFS"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said(tmp_path: Path, case: str) -> None:
    data, said = BAD[case]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(FileError, match=said):
        read_tensors(path)
    with pytest.raises(FileError):
        limner.Concept.load(path)


def test_nothing_of_the_base_is_changed_by_a_bad_file(tiny: Any, whole: bytes, tmp_path: Path) -> None:
    before = state(tiny)
    tensors = {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight": torch.zeros(2, 7)}
    tensors["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight"] = torch.zeros(9, 2)
    save_file(tensors, tmp_path / "odd.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    for name in ("odd", "cut"):
        with pytest.raises(FileError):
            import_file(tmp_path / f"{name}.safetensors", tiny, name="rex")
    assert same(state(tiny), before)
    assert untouched(tiny)


def test_ranks_that_disagree(tiny: Any, tmp_path: Path) -> None:
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file(
        {f"{stem}.lora_down.weight": torch.ones(3, 32), f"{stem}.lora_up.weight": torch.ones(32, 2)},
        tmp_path / "a.safetensors",
    )
    with pytest.raises(FileError, match="rank"):
        import_file(tmp_path / "a.safetensors", tiny, name="rex")


# ---------------------------------------------------------------------------------------------------------------- bases


def test_a_hub_id_that_is_not_in_the_cache_is_said_to_be_so() -> None:
    with pytest.raises(FileError, match="network is switched off"):
        load("nobody/nothing-at-all", offline=True)


def test_a_base_with_a_damaged_part_is_said_to_be_damaged(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "sd", "1.5")
    file = next((folder / "unet").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(FileError, match="unet of .* cannot be read"):
        load(folder, device="cpu")
    (folder / "model_index.json").write_text("{")
    with pytest.raises(FileError, match="not JSON"):
        load(folder, device="cpu")


def test_a_base_whose_weights_are_pickles_is_not_opened(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "sd", "1.5")
    file = next((folder / "unet").glob("*.safetensors"))
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(FileError, match="unet of"):
        load(folder, device="cpu")
    (tmp_path / "model.ckpt").write_bytes(b"PK")
    with pytest.raises(InputError, match="never opened"):
        load(tmp_path / "model.ckpt")


# ------------------------------------------------------------------------------------------------ read before looked at


def test_a_huge_file_is_looked_at_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.safetensors"
    with path.open("wb") as file:
        file.truncate(3 * 10**9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FileError, match="not JSON"):
        limner.Concept.load(path)
    with path.open("r+b") as file:
        file.write(struct.pack("<Q", 2 * 10**9))
    with pytest.raises(FileError, match="at most 32,000,000 are read"):
        limner.Concept.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_pickle_that_unpacks_to_more_than_it_is(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"string_to_param": {"*": torch.zeros(1).expand(100_000, 32)}}, path)
    with pytest.raises(FileError, match="larger than the file"):
        import_file(path, tiny, name="rex", noun="dog")
    torch.save({"string_to_param": {"*": torch.zeros(100_000, 32)}}, path)
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(FileError, match="compressed"):
        import_file(tmp_path / "packed.pt", tiny, name="rex", noun="dog")


def test_import_replaces_no_weights_of_limners_own_or_of_anybody(
    tiny: Any, base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.core.weights import save_weights, shipped, weights_path
    from limner.formats.exporting import export_adapter

    shipped_file = weights_path("ip_adapter", base).read_bytes()
    path = export_adapter(base, shipped("ip_adapter", base), tmp_path / "ip.safetensors")
    for overwrite in (False, True):
        with pytest.raises(FileError, match="are part of limner"):
            import_file(path, base, overwrite=overwrite)
    assert weights_path("ip_adapter", base).read_bytes() == shipped_file
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    own = save_weights("ip_adapter", tiny, {"a": torch.ones(2)}, about={"days": 3}).read_bytes()
    with pytest.raises(FileError, match="give --overwrite"):
        import_file(path, tiny, partial=True)
    assert weights_path("ip_adapter", tiny).read_bytes() == own


@pytest.mark.parametrize("case", ["layer", "factor", "alpha", "one dimension", "nothing"])
def test_changes_that_are_none(tiny: Any, tmp_path: Path, case: str) -> None:
    """The concept's hash is valid, as in a stranger's file."""
    from limner.engine.attach import attach

    layer = "low_rank.denoiser.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    down, up = torch.zeros(1, 32), torch.zeros(32, 1)
    bad = {
        "layer": {"low_rank.denoiser.nowhere.down": down, "low_rank.denoiser.nowhere.up": up},
        "factor": {f"{layer}.down": down, f"{layer}.sideways": up},
        "alpha": {f"{layer}.down": down, f"{layer}.up": up, f"{layer}.alpha": torch.zeros(3)},
        "one dimension": {f"{layer}.down": torch.zeros(32), f"{layer}.up": up},
        "nothing": {f"{layer}.down": torch.zeros(0, 32), f"{layer}.up": torch.zeros(32, 0)},
    }[case]
    concept = limner.Concept(
        "<rex>", "imported", {"says": "sks", "words": 0}, {"name": tiny.name, "family": tiny.family, "fingerprint": tiny.fingerprint},
        {"handle": "<rex>", "noun": "dog", "kind": "object", "pictures": []}, 0, bad,
    )  # fmt: skip
    with pytest.raises(FileError), attach(tiny, (adapter_of(concept, tiny),)):
        pass
    assert untouched(tiny)
