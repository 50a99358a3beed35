"""Published layouts, built small; what is absent is told, what is broken is an error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.data.duplicates import doubles, split
from limner.errors import FileError, InputError
from limner.evaluation.datasets import fill_prompt, loaders
from tests.helpers import open_image

LIST = """Classes

subject_name,class
vase,vase
dog6,dog
bear_plushie,stuffed animal

Prompts

Object Prompts

prompt_list = [
'a {0} {1} in the jungle'.format(unique_token, class_token),
'a red {0} {1}'.format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} wearing a red hat'.format(unique_token, class_token)
]
"""


def picture(seed: int = 0, size: int = 64) -> Image.Image:
    """A photograph of nothing: smooth noise with edges."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
    return small.resize((size, size), Image.Resampling.BICUBIC)


def put(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path)
    return path


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.fixture
def dreambench(tmp_path: Path) -> Path:
    root = tmp_path / "dreambooth"
    write(root / "dataset/prompts_and_classes.txt", LIST)
    for k in range(3):
        put(root / f"dataset/vase/0{k}.jpg", k)
        put(root / f"dataset/dog6/0{k}.jpg", 10 + k)
    put(root / "dataset/vase/00_mask.jpg")
    return root


def test_dreambench_reads_its_list_and_tells_what_is_absent(dreambench: Path) -> None:
    found = loaders()["dreambench"](dreambench)
    assert [c.name for c in found.cases] == ["vase", "dog6"]
    assert found.absent == ("bear_plushie",)
    vase, dog = found.cases
    assert vase.prompts == ("a {} in the jungle", "a red {}")
    assert dog.prompts == ("a {} wearing a red hat",)
    assert dog.member.kind == "pet"
    assert len(vase.member.load()) == 3  # not the mask
    assert vase.canonical(vase.prompts[0]) == "a vase in the jungle"
    subject = dog.member.subject("<rex>")
    assert (subject.noun, len(subject.pictures)) == ("dog", 3)
    assert "CC BY" in found.licence


def test_dreambench_v2_takes_its_prompts_from_a_file(dreambench: Path, tmp_path: Path) -> None:
    own = write(tmp_path / "v2.json", {"vase": ["{} on the moon"]})
    found = loaders()["dreambench-v2"](dreambench, own)
    assert [c.prompts for c in found.cases] == [("{} on the moon",)]
    assert found.absent == ("dog6", "bear_plushie")
    with pytest.raises(FileError, match="object"):
        loaders()["dreambench-v2"](dreambench, write(tmp_path / "bad.json", [1]))


def test_another_file_is_not_taken_for_dreambench(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected DreamBench"):
        loaders()["dreambench"](tmp_path)
    write(tmp_path / "prompts_and_classes.txt", "hello")
    with pytest.raises(FileError, match="not DreamBench"):
        loaders()["dreambench"](tmp_path)


def test_custom_10_has_singles_and_pairs(tmp_path: Path) -> None:
    write(tmp_path / "prompts/cat.txt", "photo of a <new1> cat on the moon\n\n<new1> cat swimming\n")
    write(tmp_path / "prompts/wooden_pot.txt", "a <new1> wooden_pot\n")
    write(tmp_path / "prompts/wooden_pot_cat.txt", "The <new1> wooden_pot and <new2> cat\n")
    write(tmp_path / "prompts/dog.txt", "a <new1> dog\n")
    put(tmp_path / "data/cat/1.jpg")
    put(tmp_path / "data/wooden_pot/1.jpg")
    found = loaders()["custom-10"](tmp_path)
    cases = {c.name: c for c in found.cases}
    assert cases["cat"].prompts == ("photo of a {} on the moon", "{} swimming")
    assert cases["cat"].canonical(cases["cat"].prompts[1]) == "a cat swimming"
    assert [m.noun for m in cases["wooden_pot_cat"].members] == ["wooden pot", "cat"]
    assert cases["wooden_pot_cat"].prompts == ("The {0} and {1}",)
    assert found.absent == ("dog: no pictures of dog",)
    with pytest.raises(InputError, match="2 subjects"):
        _ = cases["wooden_pot_cat"].member


def test_customconcept101_single_and_multi(tmp_path: Path) -> None:
    row = {
        "instance_prompt": "photo of a <new1> barn",
        "class_prompt": "barn",
        "instance_data_dir": "./benchmark_dataset/scene_barn",
        "prompt_filename": "prompts/scene.txt",
    }
    other = row | {"class_prompt": "cat", "instance_data_dir": "./benchmark_dataset/pet_cat1"}
    write(tmp_path / "dataset.json", [row, other])
    write(tmp_path / "dataset_multiconcept.json", [[row, other, {"prompt_filename_compose": "prompts/pair.txt"}]])
    write(tmp_path / "prompts/scene.txt", "{} in snowy ice\n{} at a beach\n")
    write(tmp_path / "prompts/pair.txt", "{} next to {}\n")
    put(tmp_path / "benchmark_dataset/scene_barn/1.jpg")
    single = loaders()["customconcept101"](tmp_path)
    assert [(c.name, c.prompts[0]) for c in single.cases] == [("scene_barn", "{} in snowy ice")]
    assert single.absent == ("pet_cat1: no pictures of pet_cat1",)
    assert not loaders()["customconcept101-multi"](tmp_path).cases
    put(tmp_path / "benchmark_dataset/pet_cat1/1.jpg")
    (multi,) = loaders()["customconcept101-multi"](tmp_path).cases
    assert multi.canonical(multi.prompts[0]) == "a barn next to a cat"


def test_dreambench_plus_finds_the_noun_in_the_prompt(tmp_path: Path) -> None:
    put(tmp_path / "data/images/animal/00.jpg")
    put(tmp_path / "data/images/style/07.jpg")
    put(tmp_path / "data/images/object/01.jpg")
    write(tmp_path / "data/captions/animal/00.txt", "cat\nA photo of a cat by the sea.\nThe cat asleep\n")
    write(tmp_path / "data/captions/style/07.txt", "ink drawing\nA bridge in rain\n")
    found = loaders()["dreambench++"](tmp_path)
    cases = {c.name: c for c in found.cases}
    assert cases["animal/00"].prompts == ("A photo of a {} by the sea.", "The {} asleep")
    assert cases["animal/00"].member.kind == "pet"
    assert cases["style/07"].prompts == ("A bridge in rain, in the style of {}",)
    assert found.absent == ("object/01: no captions",)


def test_stellar_and_persona(tmp_path: Path) -> None:
    put(tmp_path / "STELLAR/000/0.jpg")
    put(tmp_path / "STELLAR/000/1.jpg", 1)
    write(tmp_path / "STELLAR/000/0_attributes.json", {"Male": 1})
    write(tmp_path / "STELLAR/000/prompts_h.json", {"prompts": ["{} as a clown skiing"], "detectables": [["clown"]]})
    put(tmp_path / "STELLAR/001/0.jpg")
    found = loaders()["stellar"](tmp_path)
    (case,) = found.cases
    assert (case.member.noun, len(case.member.pictures)) == ("man", 2)
    assert case.canonical(case.prompts[0]) == "a man as a clown skiing"
    assert found.absent == ("001: no prompts_h.json",)
    info = {
        "subjects": {
            "subject_with_cls": {"cat2": "cat", "can": "can"},
            "prompt_live": ["a {0} {1} in a hat"],
            "prompt_object": ["a {0} {1} in snow"],
        },
        "face": {"id_with_gender": {"000001": "man"}, **{f"prompt_{k}": [f"a {{0}} {{1}}, {k}"] for k in ("accessory", "context", "action", "style")}},
    }  # fmt: skip
    write(tmp_path / "pcs_dataset/info.json", info)
    put(tmp_path / "pcs_dataset/subjects/cat2/00.jpg")
    put(tmp_path / "pcs_dataset/face/000001/face.jpg")
    found = loaders()["persona"](tmp_path)
    assert [(c.name, len(c.prompts)) for c in found.cases] == [("cat2", 1), ("000001", 4)]
    assert found.cases[0].prompts == ("a {} in a hat",)
    assert found.absent == ("can",)
    write(tmp_path / "pcs_dataset/info.json", {"subjects": {}})
    with pytest.raises(FileError, match="lacks"):
        loaders()["persona"](tmp_path)


def test_uno_lists_over_dreambench(dreambench: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "a vase in the jungle", "image_paths": ["./dreambooth/dataset/vase/02.jpg"]},
        {"prompt": "a vase on a rug", "image_paths": ["./dreambooth/dataset/vase/02.jpg"]},
        {"prompt": "a stuffed animal", "image_paths": ["./dreambooth/dataset/bear_plushie/00.jpg"]},
    ]
    found = loaders()["uno-single"](dreambench, write(tmp_path / "single.json", rows))
    assert [(c.name, c.prompts) for c in found.cases] == [("vase", ("a {} in the jungle", "a {} on a rug"))]
    assert len(found.absent) == 1
    pair = [{"prompt": "a vase and a dog in snow", "image_paths": ["x/vase/00.jpg", "x/dog6/01.jpg"]}]
    (case,) = loaders()["uno-multi"](dreambench, write(tmp_path / "multi.json", pair)).cases
    assert case.prompts == ("a {0} and a {1} in snow",)
    assert case.canonical(case.prompts[0]) == "a vase and a dog in snow"
    with pytest.raises(FileError, match="2 pictures each"):
        loaders()["uno-multi"](dreambench, write(tmp_path / "bad.json", rows))


def test_toys_are_held_out_and_know_their_truth() -> None:
    from limner.pocket.world import SPLITS

    found = loaders()["toys"](count=1, prompts=3)
    (case,) = found.cases
    assert len(case.member.images) == len(case.member.held_out) == 4
    assert [t.scene for t in case.truth] == ["beach", "snow", "jungle"]
    assert case.member.noun in case.member.looks
    assert SPLITS["held-out"].start > SPLITS["train"].stop
    with pytest.raises(InputError, match="not 'train'"):
        loaders()["toys"](split="train")
    with pytest.raises(InputError, match="standard toys"):
        loaders()["toys"](count=99)


def test_doubles_are_found_mirrored_shifted_and_saved_anew(tmp_path: Path) -> None:
    large = picture(1, 200)
    first = large.crop((0, 0, 160, 160))
    shifted, mirrored = large.crop((30, 10, 190, 170)), first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    first.save(tmp_path / "again.jpg", quality=60)
    again = open_image(tmp_path / "again.jpg")
    assert doubles([first, picture(2, 160), shifted, picture(3, 160), mirrored, again]) == [[0, 2, 4, 5], [1], [3]]


def test_no_picture_has_its_double_on_the_other_side() -> None:
    one, two, three = picture(1), picture(2), picture(3)
    mirrored = three.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    kept, out = split([one, two, three, mirrored])
    assert (kept, out) == ([0, 1], [2, 3])
    assert split([one, one.copy()]) == ([0, 1], [])


@pytest.mark.parametrize(
    ("prompt", "nouns", "text"),
    [
        ("{} on the beach", ["dog"], "a dog on the beach"),
        ("a {} on the beach", ["dog"], "a dog on the beach"),
        ("a red {}", ["dog"], "a red dog"),
        ("a photo of {}", ["elephant"], "a photo of an elephant"),
        ("{0} on {1}", ["dog", "car"], "a dog on a car"),
        ("{1} under a {0}", ["dog", "car"], "a car under a dog"),
    ],
)
def test_articles(prompt: str, nouns: list[str], text: str) -> None:
    assert fill_prompt(prompt, nouns) == text
