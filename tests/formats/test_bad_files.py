"""Hostile and broken files: whatever is in them, a clear error before anything is changed. LIMNER_FUZZ says how many cases."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

import limner
from limner.bases.loading import load
from limner.errors import FileError, InputError, LimnerError
from limner.formats import export, import_file
from limner.formats.reading import read_tensors
from limner.subject import Subject

from ..bases.families import stable_diffusion as save_tiny
from ..helpers import same, state, untouched

CASES = int(os.environ.get("LIMNER_FUZZ", "200"))
QUICK = settings(
    max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


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
    "a header longer than the file": (written({}, size=10**12), "header is said to have"),
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
    "no offsets": (written({"a": {"dtype": "F32", "shape": [2]}}, b"\0" * 8), "not told"),
    "a tensor that is a number": (written({"a": 3}), "not told"),
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


@pytest.fixture(scope="module")
def spot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "case.safetensors"


@QUICK
@given(data=st.data())
def test_no_damage_gets_further_than_an_error(data: st.DataObject, tiny: Any, whole: bytes, spot: Path) -> None:
    """Bytes changed, cut, put in or left out at random: the file is read, or refused with one of our errors."""
    found = bytearray(whole)
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        top = data.draw(st.sampled_from([8, header, max(len(found), 1)]))
        at = data.draw(st.integers(0, max(min(top, len(found)) - 1, 0)))
        match data.draw(st.sampled_from(["change", "cut", "put in", "leave out", "zeros", "ones"])):
            case "change":
                found[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "cut":
                del found[at:]
            case "put in":
                found[at:at] = data.draw(st.binary(min_size=1, max_size=40))
            case "leave out":
                del found[at : at + data.draw(st.integers(1, 64))]
            case "zeros":
                found[at : at + 4] = b"\0" * 4
            case "ones":
                found[at : at + 4] = b"\xff" * 4
    spot.write_bytes(bytes(found))
    with contextlib.suppress(LimnerError):
        import_file(spot, tiny, name="rex", noun="dog")


@QUICK
@given(
    header=st.dictionaries(
        st.text(max_size=12) | st.sampled_from(["__metadata__", "lora_unet_conv_in.lora_down.weight", "emb_params"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), lambda s: st.lists(s, max_size=4) | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "x"]), s, max_size=4), max_leaves=8),
        max_size=4,
    ),
    data=st.binary(max_size=64),
)  # fmt: skip
def test_no_header_gets_further_than_an_error(header: dict[str, Any], data: bytes, tiny: Any, spot: Path) -> None:
    spot.write_bytes(written(header, data))
    with contextlib.suppress(LimnerError):
        import_file(spot, tiny, name="rex", noun="dog")


@QUICK
@given(data=st.binary(max_size=200), zipped=st.booleans())
def test_no_old_embedding_gets_further_than_an_error(data: bytes, zipped: bool, tiny: Any, spot: Path) -> None:
    path = spot.with_suffix(".pt")
    path.write_bytes((b"PK\x03\x04" if zipped else b"\x80\x02") + data)
    with pytest.raises(LimnerError):
        import_file(path, tiny, name="rex", noun="dog")


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


# ------------------------------------------------------------------------------------------------------------------ bases


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
