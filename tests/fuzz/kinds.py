"""Kinds of input: for each, how a whole one is made, how it is damaged, and how it is read."""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load, save
from torch import Tensor

import limner
from limner.core.concept import Concept
from limner.core.method import settings
from limner.core.subject import Subject, read_mask, read_picture
from limner.core.untrusted import HASH, content_hash
from limner.data import layouts as datasets
from limner.data.corpora import corpus
from limner.engine.attach import attach
from limner.engine.checkpoint import CHECKPOINT, run_to_end
from limner.formats import export, import_file
from limner.library.opening import adapter_of
from limner.library.settings import checked_settings
from limner.methods import methods
from limner.workflows.learn import prepared_run
from tests.bases.families import stable_diffusion as save_tiny

from .counting import Case, Outcome
from .mutators import damaged_bytes, damaged_text, damaged_value, odd

METHOD = "textual_inversion"
STEPS = 3


class Place:
    """Values that the kinds share: a folder, the pocket base, a tiny base in another tool's layout, a subject and its
    concepts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def pocket(self) -> Any:
        return limner.load("pocket", device="cpu")

    @cached_property
    def tiny(self) -> Any:
        return limner.load(save_tiny(self.folder / "sd", "1.5"), device="cpu")

    @cached_property
    def subject(self) -> Subject:
        return Subject.of([noise(0), noise(1)], noun="dog", handle="rex")

    @cached_property
    def concepts(self) -> list[Concept]:
        """Concepts with a learned word, and with changes of layers."""
        word = limner.learn(self.pocket, self.subject, method=METHOD, steps=2, batch=1)
        layers = limner.learn(
            self.pocket, self.subject, method="lora_dreambooth", steps=1, rank=1, prior_weight=0.0, batch=1
        )
        return [word, layers]

    @cached_property
    def saved(self) -> list[bytes]:
        return [c.save(self.folder / f"whole-{k}.safetensors").read_bytes() for k, c in enumerate(self.concepts)]

    @cached_property
    def lora(self) -> bytes:
        concept = limner.learn(
            self.tiny, self.subject, method="lora_dreambooth", steps=1, rank=1, prior_weight=0.0, batch=1
        )
        return export(concept, self.tiny, self.folder / "kohya", to="kohya").files[0].read_bytes()

    @cached_property
    def run(self) -> Any:
        return prepared_run(self.pocket, self.subject, METHOD, {"steps": STEPS, "batch": 1}, 0)

    @cached_property
    def checkpoint(self) -> bytes:
        """The checkpoint of a run that was stopped after its first update."""
        place = self.folder / "run"

        class Stop(Exception):
            pass

        def stop(progress: Any) -> None:
            from limner.engine.checkpoint import save_checkpoint

            save_checkpoint(place / CHECKPOINT, progress.snapshot(), self.run.header, [progress.loss])
            raise Stop

        try:
            run_to_end(self.pocket, self.run.adapter, self.run.recipe.tuning, 0, header=self.run.header, watch=stop)
        except Stop:
            return (place / CHECKPOINT).read_bytes()
        raise AssertionError("the run was not stopped")

    @cached_property
    def finished(self) -> dict[str, Tensor]:
        """The concept at the end of the run."""
        return run_to_end(self.pocket, self.run.adapter, self.run.recipe.tuning, 0, header=self.run.header)[0]


def noise(seed: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Image.fromarray(values)


# ---------------------------------------------------------------------------------------------------------- safetensors


def parts(data: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]).get("__metadata__", {}), load(data)


def header_length(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def sealed(header: Any, tensors: Mapping[str, Tensor]) -> bytes:
    """A file as a stranger makes it: its hash is right."""
    text = json.dumps(header)
    return save(dict(tensors), metadata={"limner": text, HASH: content_hash(text, tensors)})


def damaged_tensors(tensors: Mapping[str, Tensor], rng: random.Random) -> dict[str, Tensor]:
    """Tensors left out, renamed, exchanged, of another shape or data type, or added."""
    found = dict(tensors)
    for _ in range(rng.randint(1, 2)):
        name = rng.choice(sorted(found)) if found else "a"
        tensor = found.pop(name, torch.zeros(2))
        match rng.randrange(8):
            case 0:
                pass
            case 1:
                found[name.replace(rng.choice("aeiou."), rng.choice(("x", "", "..", "/", "<../x>")), 1)] = tensor
            case 2:
                found[name] = tensor.reshape(-1)[: max(tensor.numel() // 2, 1)].clone()
            case 3:
                found[name] = tensor.reshape(1, *tensor.shape).clone()
            case 4:
                found[name] = tensor.to(
                    rng.choice((torch.float64, torch.int64, torch.bool, torch.uint8, torch.bfloat16))
                )
            case 5:
                other = rng.choice(sorted(found)) if found else name
                found[name], found[other] = found.get(other, tensor).clone(), tensor.clone()
            case 6:
                found[name], found["denoiser.conv_in.bias"] = tensor, torch.zeros(rng.choice((1, 3, 32, 64)))
            case _:
                found[name] = torch.zeros(rng.choice(((0,), (0, 4), (1, 0), ())))
    return found


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def concept_bytes(place: Place) -> Case:
    """A concept's file with damaged bytes, which its hash tells."""
    path, whole = (
        place.folder / "concept.safetensors",
        [(data, c) for data, c in zip(place.saved, place.concepts, strict=True)],
    )

    def case(rng: random.Random) -> Outcome:
        data, concept = whole[rng.randrange(2)]
        path.write_bytes(damaged_bytes(data, rng, head=header_length(data)) if rng.random() < 0.95 else data)
        found = Concept.load(path)
        return "equal" if found.header == concept.header and same(found.tensors, concept.tensors) else "silent change"

    return case


def concept_headers(place: Place) -> Case:
    """A concept by a stranger: another header or other tensors under the right hash. It is loaded, its recipe is made,
    and its adapter attached."""
    path, whole = place.folder / "stranger.safetensors", [parts(data) for data in place.saved]

    def case(rng: random.Random) -> Outcome:
        metadata, tensors = whole[rng.randrange(2)]
        header, own = json.loads(metadata["limner"]), tensors
        if rng.random() < 0.7:
            header = damaged_value(header, rng)
            if isinstance(header, dict) and rng.random() < 0.2:
                header["method"] = rng.choice([*methods(), "imported", "x.py:x"])
        if rng.random() < 0.4:
            own = damaged_tensors(own, rng)
        path.write_bytes(sealed(header, own))
        found = Concept.load(path)
        assert "/" not in found.handle
        with attach(place.pocket, (adapter_of(found, place.pocket),)):
            return "accepted"

    return case


def weights(place: Place) -> Case:
    """Another tool's file: bytes damaged, or tensors of another shape, name or data type."""
    path, data = place.folder / "weights.safetensors", place.lora
    metadata, tensors = parts(data)

    def case(rng: random.Random) -> Outcome:
        whole = rng.random() < 0.5
        path.write_bytes(
            damaged_bytes(data, rng, head=header_length(data))
            if whole
            else save(damaged_tensors(tensors, rng), metadata=metadata)
        )
        import_file(path, place.tiny, name="rex", noun="dog", partial=rng.random() < 0.5)
        return "accepted"

    return case


def tensor_headers(place: Place) -> Case:
    """A safetensors header that says something else than what follows, and old embeddings of any bytes."""
    path = place.folder / "header.safetensors"
    about = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    old = place.folder / "old.pt"
    torch.save({"string_to_param": {"*": torch.zeros(2, 32)}}, old)
    pickled = old.read_bytes()

    def case(rng: random.Random) -> Outcome:
        if rng.random() < 0.3:
            old.write_bytes(damaged_bytes(pickled, rng, head=100))
            import_file(old, place.tiny, name="rex", noun="dog")
            return "accepted"
        header = damaged_value({"__metadata__": {"limner": "{}"}, "emb_params": dict(about)}, rng)
        text = json.dumps(header).encode()
        path.write_bytes(
            struct.pack("<Q", rng.choice((len(text), len(text), len(text), 2**40, 0)))
            + text
            + rng.randbytes(rng.choice((8, 8, 0, 16)))
        )
        import_file(path, place.tiny, name="rex", noun="dog")
        return "accepted"

    return case


def checkpoints(place: Place) -> Case:
    """A checkpoint with damaged bytes, which its hash tells; or by a stranger, under the right hash."""
    place.folder.joinpath("resumed").mkdir(exist_ok=True)
    path, data, run = place.folder / "resumed" / CHECKPOINT, place.checkpoint, place.run
    metadata, tensors = parts(data)

    def case(rng: random.Random) -> Outcome:
        stranger = rng.random() < 0.5
        if rng.random() < 0.02:
            path.write_bytes(data)
        elif stranger:
            header = json.loads(metadata["limner"])
            header = damaged_value(header, rng) if rng.random() < 0.5 else header
            path.write_bytes(sealed(header, damaged_tensors(tensors, rng)))
        else:
            path.write_bytes(damaged_bytes(data, rng, head=header_length(data)))
        found, _ = run_to_end(
            place.pocket, run.adapter, run.recipe.tuning, 0, header=run.header, checkpoints=path.parent, resume=True
        )
        if same(found, place.finished):
            return "equal"
        return "accepted" if stranger else "silent change"

    return case


# ------------------------------------------------------------------------------------------------------------- pictures


def pictures(place: Place) -> Case:
    """Picture files of every format, and masks, with damaged bytes."""
    whole = list(encoded().values())

    def case(rng: random.Random) -> Outcome:
        path = place.folder / f"picture{rng.choice(('.png', '.jpg', '.tif', '.webp'))}"
        path.write_bytes(damaged_bytes(rng.choice(whole), rng, head=120))
        if rng.random() < 0.3:
            assert read_mask(path).mode == "L"
        else:
            image = read_picture(path)[0].image
            assert image is not None
            assert image.mode == "RGB"
        return "accepted"

    return case


def encoded() -> dict[str, bytes]:
    """A small picture in every format and in many modes."""
    plain, found = noise(3), {}
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a dog"
    modes = {
        "RGB": plain,
        "L": plain.convert("L"),
        "P": plain.convert("P"),
        "RGBA": plain.convert("RGBA"),
        "1": plain.convert("1"),
    }
    deep = {
        "I;16": Image.fromarray(np.arange(576, dtype=np.uint16).reshape(24, 24) * 100),
        "F": Image.fromarray(np.random.default_rng(0).random((24, 24)).astype(np.float32)),
    }
    for mode, image in (
        modes | deep | {"CMYK": plain.convert("CMYK"), "LAB": plain.convert("LAB"), "LA": plain.convert("LA")}
    ).items():
        for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"):
            file = io.BytesIO()
            try:
                image.save(file, form, exif=exif) if form in ("PNG", "JPEG", "WEBP", "TIFF") else image.save(file, form)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # a format that has not this mode
            found[f"{form} {mode}"] = file.getvalue()
    for form in ("GIF", "PNG", "TIFF", "WEBP", "MPO"):
        file = io.BytesIO()
        plain.save(file, form, save_all=True, append_images=[noise(4)])
        found[f"{form} of two"] = file.getvalue()
    return found


# ------------------------------------------------------------------------------------------------------------ data sets


def data_sets(place: Place) -> Case:
    """Folders in every layout, one of whose texts is damaged, read as a subject's and as a corpus."""
    png = png_bytes()

    def case(rng: random.Random) -> Outcome:
        folder = place.folder / "set"
        shutil.rmtree(folder, ignore_errors=True)
        files = dict(rng.choice(layouts()))
        name = rng.choice(sorted(files))
        text = files[name]
        if name.endswith(("json", "jsonl")) and rng.random() < 0.6:
            lines = [json.loads(line) for line in (text.splitlines() if name.endswith("jsonl") else [text])]
            text = "\n".join(json.dumps(damaged_value(line, rng)) for line in lines)
        data = text.encode("utf-8", "surrogatepass")
        data = rng.choice(
            (
                damaged_bytes(data, rng),
                damaged_text(text, rng).encode("utf-8", "surrogatepass"),
                text.encode("utf-16"),
                text.encode("latin-1", "replace"),
                data,
            )
        )
        damaged = {k: v.encode() for k, v in files.items()} | {name: data}
        for place_of, what in {**damaged, "0.png": png, "1.png": png[:-1] + b"x", "img/3_sks dog/2.png": png}.items():
            (folder / place_of).parent.mkdir(parents=True, exist_ok=True)
            (folder / place_of).write_bytes(what)
        if rng.random() < 0.5:
            found = datasets.recognised(folder)
            found.subject(noun="dog", name="rex")
            json.dumps(found.record)
        else:
            corpus(str(folder), noun="dog")
        return "accepted"

    return case


def layouts() -> list[dict[str, str]]:
    """The texts of each layout, by their places."""
    row = {"file_name": "0.png", "text": "sks dog on grass"}
    about = {
        "instance_data_dir": ".",
        "instance_prompt": "photo of sks dog",
        "class_prompt": "dog",
        "class_data_dir": "img",
    }
    toml = '[general]\ncaption_extension = ".txt"\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = "."\nclass_tokens = "sks dog"\nnum_repeats = 3\n'
    tags = {"0": {"caption": "sks dog", "tags": "grass"}}
    return [
        {"0.txt": "sks dog on grass", "1.caption": "sks dog, sitting"},
        {"metadata.jsonl": json.dumps(row) + "\n" + json.dumps({**row, "file_name": "1.png"})},
        {"metadata.csv": 'file_name,text\n0.png,sks dog on grass\n1.png,"sks dog, sitting"\n'},
        {"metadata.csv": "image,prompt\n0.png,sks dog\n"},
        {"concepts_list.json": json.dumps([about])},
        {"d.toml": toml, "0.txt": "sks dog"},
        {"d.toml": toml + 'metadata_file = "meta.json"\n', "meta.json": json.dumps(tags)},
        {"img/3_sks dog/2.txt": "sks dog on grass"},
    ]


def png_bytes(seed: int = 0) -> bytes:
    file = io.BytesIO()
    noise(seed).save(file, "PNG")
    return file.getvalue()


def shards(place: Place) -> Case:
    """Tar files with damaged bytes, half of them in the headers of members."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in {
            "0.png": png_bytes(),
            "0.txt": b"a dog",
            "0.json": b'{"caption": "a dog", "identity": 3, "class": "dog"}',
            "0.mask.png": png_bytes(1),
            "\u00e9/1.png": png_bytes(2),
            "\u00e9/1.txt": b"a cat",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    data = whole.getvalue()

    def case(rng: random.Random) -> Outcome:
        path = place.folder / "shard.tar"
        found = data
        for _ in range(rng.randint(1, 3)):
            start = 512 * rng.randrange(len(data) // 512)
            found = found[:start] + mended(damaged_bytes(found[start : start + 512], rng), rng) + found[start + 512 :]
        path.write_bytes(found)
        read = corpus(str(path), noun="dog")
        read.drawn([0], 16)
        return "accepted"

    return case


def mended(block: bytes, rng: random.Random) -> bytes:
    """A header's block with the checksum that it should have, often: a stranger writes it right."""
    if len(block) != 512 or rng.random() < 0.3:
        return block
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + f"{total:06o}\0 ".encode() + block[156:]


@dataclass(frozen=True)
class Published:
    """A published set: its loader and the texts it reads."""

    loader: str
    texts: Mapping[str, str]
    given: Callable[[Path], Mapping[str, Any]]


def published(place: Place) -> Case:
    """Lists of published sets of subjects and prompts, damaged."""
    from limner.evaluation.datasets import loaders

    sets, png = published_sets(), png_bytes()

    def case(rng: random.Random) -> Outcome:
        folder = place.folder / "published"
        shutil.rmtree(folder, ignore_errors=True)
        chosen = rng.choice(sets)
        name = rng.choice(sorted(chosen.texts))
        text = chosen.texts[name]
        bad = (
            json.dumps(damaged_value(json.loads(text), rng))
            if name.endswith("json") and rng.random() < 0.7
            else damaged_text(text, rng)
        )
        for place_of, what in {**chosen.texts, name: bad}.items():
            (folder / place_of).parent.mkdir(parents=True, exist_ok=True)
            (folder / place_of).write_bytes(what.encode("utf-8", "surrogatepass"))
        for picture in (
            "dog/00.jpg",
            "dataset/dog/00.jpg",
            "subjects/dog/0.png",
            "face/1/face.jpg",
            "data/dog/0.png",
            "0/0.jpg",
            "images/animal/0.png",
        ):
            (folder / picture).parent.mkdir(parents=True, exist_ok=True)
            (folder / picture).write_bytes(png)
        found = loaders()[chosen.loader](**chosen.given(folder))
        for member in (m for c in found.cases for m in c.members):
            assert all(folder.resolve() in picture.resolve().parents for picture in member.pictures)
        return "accepted"

    return case


def published_sets() -> list[Published]:
    def here(folder: Path) -> Mapping[str, Any]:
        return {"folder": folder}

    dream = "subject_name,class\ndog,dog\n\nPrompts\nprompt_list = [\n'a {0} {1} in the snow'.format(unique_token, class_token),\n]\nprompt_list = [\n'a {0} {1} running'.format(unique_token, class_token),\n]\n"
    concept = {
        "instance_prompt": "photo of a <new1> dog",
        "class_prompt": "dog",
        "instance_data_dir": "./data/dog",
        "prompt_filename": "prompts/dog.txt",
    }
    faces = {f"prompt_{k}": ["a {0} {1}"] for k in ("accessory", "context", "action", "style")}
    persona = {
        "subjects": {"subject_with_cls": {"dog": "dog"}, "prompt_live": ["{0} {1} runs"], "prompt_object": ["{0} {1}"]},
        "face": {"id_with_gender": {"1": "man"}, **faces},
    }
    return [
        Published("dreambench", {"dataset/prompts_and_classes.txt": dream}, here),
        Published("dreambench-v2", {"dataset/prompts_and_classes.txt": dream, "own.json": json.dumps({"dog": ["{} on the moon"]})}, lambda f: {"folder": f, "prompts": f / "own.json"}),
        Published("custom-10", {"prompts/dog.txt": "photo of a <new1> dog\n"}, here),
        Published("customconcept101", {"dataset.json": json.dumps([concept]), "prompts/dog.txt": "a {} on grass"}, here),
        Published("customconcept101-multi", {"dataset_multiconcept.json": json.dumps([[concept, concept, {"prompt_filename_compose": "prompts/dog.txt"}]]), "prompts/dog.txt": "<new1> dog and <new2> dog"}, here),
        Published("uno-single", {"dataset/prompts_and_classes.txt": dream, "one.json": json.dumps([{"prompt": "a dog", "image_paths": ["../dataset/dog/00.jpg"]}])}, lambda f: {"folder": f, "listing": f / "one.json"}),
        Published("persona", {"info.json": json.dumps(persona)}, here),
        Published("stellar", {"0/prompts_h.json": json.dumps({"prompts": ["a photo of a man"]}), "0/0_attributes.json": json.dumps({"Male": 1})}, here),
        Published("dreambench++", {"captions/animal/0.txt": "dog\na dog on grass\n"}, here),
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------- texts and values


def prompts(place: Place) -> Case:
    """Prompts, names, class nouns and captions, as typed by somebody who means no good."""
    said = ("a photo of <rex> on the beach", "<rex> and (<rex>:1.3), a [red] dog", "a dog")
    how = limner.PaintSettings(steps=1)

    def case(rng: random.Random) -> Outcome:
        text = damaged_text(rng.choice(said), rng)
        match rng.randrange(4):
            case 0:
                limner.paint(
                    place.pocket,
                    text,
                    concepts=[place.concepts[0]],
                    settings=replace(how, negative=damaged_text("blurry", rng)),
                )
            case 1:
                limner.paint(place.pocket, [text], settings=how)
            case 2:
                found = Subject.of([noise(0)], noun=damaged_text("dog", rng), handle=damaged_text("rex", rng))
                assert "/" not in found.handle
                assert "\n" not in found.noun
            case _:
                Subject.of([noise(0)], noun="dog", handle="rex", captions=[text])
        return "accepted"

    return case


def method_settings(place: Place) -> Case:
    """Settings of every method, of any type and size."""
    every = list(methods().values())

    def case(rng: random.Random) -> Outcome:
        function = rng.choice(every)
        known = settings(function)
        given = {}
        for setting in rng.sample(known, min(len(known), rng.randint(1, 3))):
            usual = setting.default
            number = isinstance(usual, (int, float)) and not isinstance(usual, bool)
            given[setting.name] = (
                rng.choice((usual * 2, -usual, usual * 10**9, 0)) if number and rng.random() < 0.4 else odd(rng)
            )
        chosen = checked_settings(function, given)
        assert all(abs(v) <= 1e6 for v in chosen.values() if isinstance(v, (int, float)))
        return "accepted"

    return case


KINDS: dict[str, Callable[[Place], Case]] = {
    "concepts, bytes": concept_bytes,
    "concepts, headers and tensors": concept_headers,
    "weights of other tools": weights,
    "safetensors headers and pickles": tensor_headers,
    "checkpoints": checkpoints,
    "pictures and masks": pictures,
    "data sets": data_sets,
    "shards": shards,
    "published sets": published,
    "prompts, names and captions": prompts,
    "settings": method_settings,
}
