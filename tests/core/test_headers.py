"""A concept's file is data: it names no code, no base, no place to write to, and says nothing that limner did not
write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import limner
from limner import methods as registry
from limner.apps.cli.main import main
from limner.core.concept import OPENS, RUNS, Concept
from limner.core.method import settings
from limner.core.subject import Subject
from limner.core.untrusted import HASH, content_hash
from limner.errors import FileError, InputError
from limner.library.opening import recipe_of
from limner.library.settings import LIMITS, check_setting, limits
from limner.methods import find, methods

OWN = '''
"""A method of one's own."""
from pathlib import Path
from limner.parts.objectives import denoising
from limner.parts.modifiers import new_word
from limner.parts.sources import photos
from limner.parts.parameters import words
from limner.core.recipe import Recipe, Stage
from limner.core.method import method

with (Path(__file__).parent / "ran.txt").open("a") as file:
    file.write("x")


@method(title="mine", scope=("object",), arxiv="2208.01618")
def mine(subject, *, steps: int = 1, lr: float = 1e-3, batch: int = 1) -> Recipe:
    """Mine.

    Settings:
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    word = new_word(subject.handle, like=subject.noun)
    stage = Stage(train=(words(word),), loss=(denoising(photos(subject, batch=batch)),), steps=steps, lr=lr)
    return Recipe(says=subject.handle, modifiers=(word,), stages=(stage,))
'''


@pytest.fixture
def forgetful() -> Iterator[None]:
    """As a new process: no method of a file was named yet."""
    registry._named.clear()
    registry._from_file.cache_clear()
    yield
    registry._named.clear()
    registry._from_file.cache_clear()


@pytest.fixture
def concept(rex: Subject) -> Concept:
    return Concept(
        handle="<rex>",
        method="textual_inversion",
        settings={"vectors": 3, "steps": 2, "lr": 0.02, "batch": 2},
        base={"name": "pocket", "family": "stable_diffusion", "fingerprint": "0123456789abcdef"},
        subject=rex.card(),
        seed=0,
        tensors={"word.<rex>": torch.zeros(3, 64)},
        losses=[0.5, 0.25],
        cost={"seconds": 1.0},
        versions={"limner": "0"},
    )


def stranger(path: Path, header: dict[str, Any], tensors: Any = None) -> Path:
    """A file whose hash is right, whatever is in it."""
    tensors, text = tensors or {"word.<rex>": torch.zeros(3, 64)}, json.dumps(header)
    save_file(tensors, path, metadata={"limner": text, HASH: content_hash(text, tensors)})
    return path


BAD: list[tuple[tuple[str, ...], Any, str]] = [
    (("handle",), "<../../escaped>", "handle"),
    (("handle",), "</etc/passwd>", "handle"),
    (("handle",), "rex", "must be written <rex>"),
    (("handle",), "<Rex>", "must be written <rex>"),
    (("handle",), 5, "handle"),
    (("method",), "pack/../../x.sh", "method"),
    (("method",), ["x"], "method"),
    (("settings",), [], "settings"),
    (("settings", "steps"), float("nan"), "finite"),
    (("settings", "steps"), {}, "finite"),
    (("settings", "a b"), 1, "name that no setting has"),
    (("base",), {"name": "pocket"}, "base"),
    (("base", "name"), 7, "base name"),
    (("base", "path"), "/x", "limner does not write"),
    (("subject", "handle"), "<tom>", "subject handle"),
    (("subject", "noun"), "dog\n<script>", "noun"),
    (("subject", "kind"), "virus", "kind"),
    (("subject", "pictures"), [{"name": "a"}], "pictures"),
    (("subject", "pictures"), {}, "list of tables"),
    (("seed",), 1.5, "seed"),
    (("seed",), 10**40, "seed"),
    (("losses",), [float("inf")], "losses"),
    (("losses",), "many", "losses"),
    (("cost",), {"seconds": "x"}, "cost"),
    (("scores",), 3, "scores"),
    (("versions",), {"limner": 3}, "versions"),
    (("trusted",), True, "does not write"),
    (("tensors",), {}, "does not write"),
    (("sha256",), "", "does not write"),
]


@pytest.mark.parametrize(("place", "value", "said"), BAD, ids=lambda v: str(v)[:40])
def test_each_field_of_a_header_is_looked_at(
    concept: Concept, tmp_path: Path, place: tuple[str, ...], value: Any, said: str
) -> None:
    header = json.loads(json.dumps(concept.header))
    holder = header
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    with pytest.raises(FileError, match=said):
        Concept.load(stranger(tmp_path / "a.safetensors", header))


@pytest.mark.parametrize(
    "name", ["word.<../../escaped>", "word.</etc/x>", "word.<Rex>", "a/b", "x" * 600, "a b", "word.rex"]
)
def test_names_of_tensors_are_looked_at(concept: Concept, tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match="name that limner does not give"):
        Concept.load(stranger(tmp_path / "a.safetensors", concept.header, {name: torch.zeros(1)}))


def test_a_changed_bit_or_a_tensor_gone_is_noticed(concept: Concept, tmp_path: Path) -> None:
    path = concept.save(tmp_path / "rex.safetensors")
    assert Concept.load(path).sha256
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError, match="changed or damaged since it was written"):
        Concept.load(path)
    text = json.dumps(concept.header)
    metadata = {"limner": text, HASH: content_hash(text, {**concept.tensors, "more": torch.zeros(1)})}
    save_file(dict(concept.tensors), path, metadata=metadata)
    with pytest.raises(FileError, match="changed or damaged"):
        Concept.load(path)
    save_file(dict(concept.tensors), path, metadata={"limner": text})
    with pytest.raises(FileError, match="the hash of its content is missing"):
        Concept.load(path)


def test_a_file_of_an_older_limner_is_still_read(concept: Concept, tmp_path: Path) -> None:
    old = {k: v for k, v in concept.header.items() if k != "method_sha256"} | {"format": 1}
    path = tmp_path / "old.safetensors"
    save_file(dict(concept.tensors), path, metadata={"limner": json.dumps(old)})
    found = Concept.load(path)
    assert not found.sha256
    assert found.handle == "<rex>"


def test_check_says_whether_a_concept_is_as_it_was_written(concept: Concept, base: Any, tmp_path: Path) -> None:
    from limner.workflows.certify import certify

    loaded = Concept.load(concept.save(tmp_path / "rex.safetensors"))
    moved = replace(loaded, tensors={"word.<rex>": torch.ones(3, 64)})
    found = certify(base, moved)
    assert not found.ok
    assert found.checks[-1].what == "it is as it was written"
    assert f"not {loaded.sha256[:16]}" in found.checks[-1].finding


# --------------------------------------------------------------------------------------------------- code that is named


@pytest.mark.usefixtures("forgetful")
def test_a_header_never_names_code_to_run(concept: Concept, base: Any, tmp_path: Path) -> None:
    own = tmp_path / "pack" / "mine.py"
    own.parent.mkdir()
    own.write_text(OWN)
    header = {**concept.header, "method": f"{own}:mine", "settings": {}}
    path = stranger(tmp_path / "pack" / "rex.safetensors", header)
    with pytest.raises(FileError, match="a file never names code to run"):
        recipe_of(Concept.load(path))
    for command in ("check", "score"):
        assert main([command, str(path), "--base", "pocket", "--device", "cpu"]) == 1
    assert not (own.parent / "ran.txt").exists()
    assert recipe_of(Concept.load(path, trust=True)).says == "<rex>"
    assert (own.parent / "ran.txt").read_text() == "x"


@pytest.mark.usefixtures("forgetful")
def test_ones_own_method_is_kept_by_place_and_hash_and_named_to_paint(
    base: Any, rex: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "mine.py"
    own.write_text(OWN)
    monkeypatch.chdir(tmp_path)
    learned = limner.learn(base, rex, method="mine.py:mine")
    assert learned.method == f"{own.resolve()}:mine"
    assert len(learned.method_sha256) == 64
    path = learned.save(tmp_path / "rex.safetensors")
    assert recipe_of(Concept.load(path))  # named in this process
    registry._named.clear()
    with pytest.raises(FileError, match="--method FILE.py:function"):
        recipe_of(Concept.load(path))
    (tmp_path / "elsewhere").mkdir()
    moved = own.rename(tmp_path / "elsewhere" / "mine.py")
    find(f"{moved}:mine")
    assert recipe_of(Concept.load(path))
    moved.write_text(OWN + "\n# another version\n")
    with pytest.warns(UserWarning, match="another version of .*mine"):
        assert recipe_of(Concept.load(path))


def test_a_function_of_ones_own_is_used_as_it_is(base: Any, rex: Subject, tmp_path: Path) -> None:
    space: dict[str, Any] = {"__file__": str(tmp_path / "here.py"), "__name__": "here"}
    exec(compile(OWN, str(tmp_path / "here.py"), "exec"), space)  # as a cell of a notebook does
    learned = limner.learn(base, rex, method=space["mine"])
    assert recipe_of(replace(learned, trusted=False))
    assert (tmp_path / "ran.txt").read_text() == "x"


def test_every_setting_that_names_something_to_open_or_run_is_known() -> None:
    words = {"whole", "box", "template", "near", "far", "layers", "keep", "names", "concept", "host", "term"}
    words |= {"style", "faults", "distance", "edited_blocks", "facts", "masks", "mixing", "quality", "similarity"}
    words |= {
        "start",
        "axis",
        "attributes",
        "strengths",
        "variant",
        "reference",
        "inversion",
        "source_noun",
        "source_prompt",
        "sees",
    }
    words |= {"choose"}  # a folder of the user's, in training alone
    named = {s.name for m in methods().values() for s in settings(m) if s.type is str}
    assert named == words | set(OPENS) | set(RUNS)


@pytest.mark.usefixtures("forgetful")
def test_a_header_opens_no_network_and_runs_no_reward(concept: Concept, tmp_path: Path) -> None:
    header = {**concept.header, "method": "kosmos_g", "settings": {"model": "someone/network"}}
    with pytest.raises(FileError, match="wants to open 'someone/network'"):
        recipe_of(Concept.load(stranger(tmp_path / "a.safetensors", header)))
    reward = tmp_path / "reward.py"
    reward.write_text(f"open({str(tmp_path / 'ran.txt')!r}, 'w')\ndef worth(*_): return 0\n")
    header = {**concept.header, "method": "instructbooth", "settings": {"judge": f"{reward}:worth"}}
    assert recipe_of(Concept.load(stranger(tmp_path / "b.safetensors", header)))
    assert not (tmp_path / "ran.txt").exists()


def test_a_header_names_no_base_to_open(
    concept: Concept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[object] = []
    monkeypatch.setattr("limner.bases.common.loading.load", lambda name, **_: opened.append(name))
    header = {**concept.header, "base": {"name": "someone/base", "family": "sdxl", "fingerprint": "0"}}
    path = str(stranger(tmp_path / "a.safetensors", header))
    for words in (
        ["paint", "<rex>", "--with", path],
        ["check", path],
        ["score", path],
        ["export", path, "--to", "kohya"],
        ["publish", path, "--to", "a/b"],
    ):
        assert main(words) == 1
        assert "opens no folder or hub id only because a file names it" in capsys.readouterr().err
    assert not opened


# ------------------------------------------------------------------------------------------------------------- settings


def test_settings_of_a_header_are_within_limits(concept: Concept) -> None:
    for bad in ({"steps": 10**9}, {"vectors": 0}, {"steps": "many"}, {"nothing": 1}, {"lr": 5e8}):
        with pytest.raises(FileError, match="another version of"):
            recipe_of(replace(concept, settings={**concept.settings, **bad}))


def test_every_whole_number_has_limits() -> None:
    for name, function in methods().items():
        for setting in settings(function):
            if setting.type is int:
                assert setting.name in LIMITS or setting.name.endswith("_steps"), (
                    f"{setting.name} of {name} has no limits"
                )
            if setting.type in (int, float):
                low, high = limits(setting.name)
                assert low <= setting.default <= high


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, 10**400])
def test_no_setting_is_infinite(value: Any) -> None:
    with pytest.raises(InputError, match="context_rate must be"):
        check_setting("context_rate", value, float)


def test_a_template_says_noun_and_prompt_alone(rex: Subject) -> None:
    make = find("diptych_prompting")
    for template in ("{noun.__class__}", "{prompt:>9999999999}", "{", "{other}", "{noun!r}", "{}"):
        with pytest.raises(InputError, match="template"):
            make(rex, template=template)
