"""The command line, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from limner.apps.cli.main import main
from tests.helpers import open_image, ship_weights_in

FAST = ["--method", "lora_dreambooth", "--steps", "2", "--num-class-pictures", "2", "--batch", "1"]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_learn_then_paint(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "readme.txt").write_text("not a picture")
    assert (
        run("learn", photos, "--class", "dog", "--name", "rex", "--out", tmp_path, "--preview", 1, "--no-score", *FAST)
        == 0
    )
    said = capsys.readouterr()
    assert "knows toys" in said.err
    assert "--base" in said.err
    assert "not read: readme.txt" in said.err
    concept, page = tmp_path / "rex.safetensors", tmp_path / "rex" / "index.html"
    assert said.out.split() == [str(concept), str(page)]
    text = page.read_text()
    assert "<img" in text
    assert 'src="data:' in text
    assert "http" not in text.replace("http://www.w3.org", "")
    out = tmp_path / "painted"
    assert run("paint", "<rex> on the beach", "--with", concept, "-n", 2, "--steps", 2, "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == [str(out / "000.png"), str(out / "001.png")]
    assert run("paint", "a dog", "--steps", 4, "--guide-between", 0, 0.5, "--out", out, "--overwrite") == 0
    assert json.loads(open_image(out / "000.png").info["limner"])["settings"]["guide_between"] == [0.0, 0.5]
    capsys.readouterr()
    assert run("paint", "a dog", "--guide-between", 0.5, 0.2) == 1
    assert run("paint", "a dog", "--subject-from", 1) == 1
    assert run("paint", "a dog", "--scale", 1, 0.5) == 1
    assert "two rising shares" in capsys.readouterr().err


def test_without_a_method_or_a_name_both_are_chosen_and_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["learn", photos, "--class", "dog", "--out", tmp_path, "--preview", 0, "--no-score", "--no-check"]
    assert run(*words, "--steps", 1, "--goal", "fast", "--budget", "10h") == 0
    assert "method: " in capsys.readouterr().err
    assert (tmp_path / "mydog.safetensors").exists()


def test_a_budget_ends_learning_and_is_said(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["learn", photos, "--class", "dog", "--out", tmp_path, "--preview", 0, "--no-score", "--no-check"]
    assert run(*words, "--method", "textual_inversion", "--budget", "1s") == 0
    assert "the budget of 1 s is used up after" in capsys.readouterr().err
    assert (tmp_path / "mydog.safetensors").exists()


def test_paint_into_a_picture(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = Image.new("L", (200, 150))
    mask.paste(255, (0, 0, 100, 150))
    mask.save(tmp_path / "mask.png")
    words = ["paint", "a cat on the beach", "--onto", photos / "0.jpg", "--steps", 4, "--out", tmp_path / "painted"]
    assert run(*words, "--where", tmp_path / "mask.png") == 0
    painted = open_image(tmp_path / "painted" / "000.png")
    before = open_image(photos / "0.jpg").convert("RGB")
    assert painted.size == before.size == (200, 150)
    assert painted.crop((100, 0, 200, 150)).tobytes() == before.crop((100, 0, 200, 150)).tobytes()
    assert painted.crop((0, 0, 100, 150)).tobytes() != before.crop((0, 0, 100, 150)).tobytes()
    capsys.readouterr()
    assert run("paint", "a cat", "--where", tmp_path / "mask.png") == 1
    assert "--onto" in capsys.readouterr().err


def test_an_existing_concept_is_not_overwritten(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rex.safetensors").write_text("precious")
    assert run("learn", photos, "--class", "dog", "--name", "rex", "--out", tmp_path) == 1
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "rex.safetensors").read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("learn", "nowhere", "--class", "dog", "--name", "rex"), "no file or folder nowhere"),
        (("paint", "a dog", "--with", "nowhere.safetensors"), "there is no concept file"),
        (("paint", "<rex> on the beach", "--steps", "1"), "nothing answers to <rex>"),
        (("paint", "", "--steps", "1"), "empty"),
        (("paint", "a dog", "--base", "nobody/nothing"), "there is no base"),
        (("pretrain", "dreambooth"), "has nothing to pre-train"),
    ],
)
def test_errors_are_one_clear_line(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_an_unknown_method_suggests_the_nearest(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("learn", photos, "--class", "dog", "--name", "rex", "--method", "dreamboth") == 1
    assert "did you mean 'dreambooth'" in capsys.readouterr().err


def test_a_prompt_must_name_the_concept(
    base: Any, rex: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import limner

    path = limner.learn(base, rex, method="stylealigned").save(tmp_path / "rex.safetensors")
    assert run("paint", "a dog on the beach", "--with", path) == 1
    assert "does not name <rex>" in capsys.readouterr().err


def test_lists_speak_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("methods", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["dreambooth"]["framework"] == "test-time fine-tuning"
    assert rows["dreambooth"]["settings"]["prior_weight"]["default"] == 0.1
    assert run("bases", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "pocket"
    assert run("doctor", "--json") == 0
    assert all(check["ok"] for check in json.loads(capsys.readouterr().out))
    assert run("doctor") == 0
    assert "limner[heic]" in capsys.readouterr().out
    for command in ("methods", "bases", "doctor"):
        assert run(command) == 0
        assert capsys.readouterr().out


def test_doctor_lists_every_extra_with_its_install_line() -> None:
    import tomllib

    from limner.workflows.doctor import EXTRAS, _extra

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"]) - {"dev"}
    missing = _extra("limner[heic]", ("no_such_module",), "photographs")
    assert missing["found"] == "not installed; for photographs: pip install 'limner[heic]'"
    assert missing["ok"]  # nothing is wrong
    assert not missing["installed"]
    assert _extra("limner[heic]", ("json",), "photographs")["found"] == "installed"


def test_flags_come_from_the_signature(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("learn", "--method", "custom_diffusion", "--help")
    said = capsys.readouterr().out
    assert "--prior-weight" in said
    assert "class images" in said
    assert "untouched base paints first" in said
    with pytest.raises(SystemExit):
        run("learn", "--method=textual_inversion", "--help")
    assert "--prior-weight" not in capsys.readouterr().out


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = "import sys, limner, limner.apps.cli.main\ntry:\n limner.apps.cli.main.main(['--help'])\nexcept SystemExit: pass\nprint(sorted({'torch','diffusers','transformers','numpy'} & set(sys.modules)))"
    began = time.monotonic()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip().endswith("[]")
    assert time.monotonic() - began < 20


def test_pretraining_makes_weights_for_a_base(base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole path of `limner pretrain`, into a folder of its own."""
    import limner.core.weights
    from limner.pocket import corpus as toys
    from limner.workflows.pretrain import pretrain

    ship_weights_in(tmp_path, base, monkeypatch)
    monkeypatch.setattr(toys, "INDIVIDUALS", 4)
    path = pretrain("ip_adapter", steps=2, batch=2, device="cpu")
    found = limner.core.weights.shipped("ip_adapter", base)
    assert path == tmp_path / "ip_adapter.safetensors"
    assert "image.features" not in found
    assert any(name.endswith(".key") for name in found)


def test_weights_that_are_missing_say_how_to_make_them(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import limner.core.weights
    from limner.errors import FileError

    ship_weights_in(tmp_path, base, monkeypatch)
    with pytest.raises(FileError, match="limner pretrain ip_adapter"):
        limner.core.weights.shipped("ip_adapter", base)


def test_learn_scores_and_keeps_the_best_state(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["learn", photos, "--class", "dog", "--name", "rex", "--out", tmp_path, "--method", "dreambooth"]
    more = ["--steps", "2", "--prior-weight", "0", "--hold-out", "1", "--keep", "best", "--preview", "0", "--json"]
    assert run(*words, *more) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)["scores"]
    assert found["kept_after"] in (1, 2)
    assert {"F", "T", "H", "diagnosis"} <= found["with it"].keys()
    assert "2 pictures of rex" not in err  # told before one is held out
    assert "after 2 updates" in err
    page = (tmp_path / "rex" / "index.html").read_text()
    assert "Diagnosis" in page
    assert not list((tmp_path / "rex").glob("kept-*"))

    words = ["score", tmp_path / "rex.safetensors", "--photos", photos, "--prompts", "<rex> in the snow", "-n", "2"]
    assert run(*words, "--out", tmp_path / "sheets", "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["metrics"]["identity"]["references"].startswith("training")
    assert card["metrics"]["pickscore"]["gap"]
    assert sorted(p.name for p in (tmp_path / "sheets").iterdir()) == ["base-alone.png", "with-it.png"]


def test_more_pictures_cannot_be_held_out_than_there_are(photos: Path, tmp_path: Path) -> None:
    words = ["learn", photos, "--class", "dog", "--name", "rex", "--out", tmp_path, "--hold-out", "3"]
    assert run(*words) == 1


def test_bench_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--methods", "base alone", "dreambooth:steps=1,prior_weight=0", "--results", tmp_path / "r.json"]
    small = ["--folder", tmp_path / "run", "--cases", "1", "--prompts", "2", "--seeds", "1"]
    assert run(*words, *small) == 0
    assert "dreambooth (steps=1, prior_weight=0.0)" in capsys.readouterr().out
    words = ["report", tmp_path / "r.json", "--out", tmp_path / "page.html", "--pictures", tmp_path / "run"]
    assert run(*words) == 0
    assert (tmp_path / "page.csv").exists()
    assert main(["bench", "--methods", "dreambooth:stepz=1", "--results", str(tmp_path / "r.json")]) == 1
    assert "did you mean 'steps'" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none.json")]) == 1


def test_masks_that_a_method_does_not_use_are_told(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for photo in photos.glob("*.jpg"):
        Image.new("L", (200, 150), 255).save(photo.with_name(f"{photo.stem}-masklabel.png"))
    about = ["--class", "dog", "--name", "rex", "--no-score", "--no-check", "--preview", 0, "--overwrite"]
    note = "the masks of rex were not used: lora_dreambooth"
    assert run("learn", photos, *about, "--out", tmp_path, *FAST) == 0
    assert capsys.readouterr().err.count(note) == 1
    infusion = ["--method", "infusion", "--steps", 1, "--batch", 1]
    assert run("learn", photos, *about, "--out", tmp_path, *infusion) == 0
    assert "were not used" not in capsys.readouterr().err


def test_files_without_a_trigger_and_words_for_the_negative_prompt(
    base: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import save_file

    stem, layer = next((n.replace(".", "_"), m) for n, m in base.projections("attention").items() if n.endswith("to_q"))
    stem = stem.replace("denoiser_", "lora_unet_", 1)
    wide, high = layer.in_features, layer.out_features
    save_file(
        {f"{stem}.lora_down.weight": torch.zeros(2, wide), f"{stem}.lora_up.weight": torch.zeros(high, 2)},
        tmp_path / "contrast.safetensors",
    )
    save_file({"emb_params": torch.zeros(2, sum(base.word_widths))}, tmp_path / "badhands.safetensors")
    for name in ("contrast", "badhands"):
        assert run("import", tmp_path / f"{name}.safetensors", "--out", tmp_path / "in") == 0
    how = ["--steps", 1, "--out", tmp_path / "out"]
    word = tmp_path / "in" / "badhands.safetensors"
    assert run("paint", "a dog", "--with", tmp_path / "in" / "contrast.safetensors", *how) == 0
    assert run("paint", "a dog", "--with", word, "--negative", "<badhands>", *how) == 0
    assert run("paint", "a dog", "--with", word, *how) == 1
    assert "does not name <badhands>" in capsys.readouterr().err
    with pytest.warns(UserWarning, match=r"'\(red:1.4\)' is read as written"):
        assert run("paint", "a (red:1.4) dog", *how) == 0
