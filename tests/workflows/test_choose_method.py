"""Which method, for whom asks for none; and other tools' flags."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from limner.apps.cli.aliases import translated
from limner.apps.cli.main import _parser
from limner.core.subject import Subject
from limner.errors import InputError
from limner.methods import DEFAULT
from limner.workflows import choose_method
from limner.workflows.choose_method import choose, seconds, within

ROWS = {
    "prospect": {"H": 1.0, "F": 1.0, "T": 1.0, "seconds": 1.0, "toys": 1},
    "textual_inversion": {"H": 0.7, "F": 0.6, "T": 0.9, "seconds": 20.0, "toys": 3},
    "custom_diffusion": {"H": 0.88, "F": 0.9, "T": 0.9, "seconds": 30.0, "toys": 3},
    "dreambooth": {"H": 0.9, "F": 0.95, "T": 0.9, "seconds": 90.0, "toys": 3},
    "stylealigned": {"H": 0.99, "F": 0.9, "T": 0.9, "seconds": 1.0, "toys": 3},
}


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_method, "measured", lambda base="pocket": ROWS)


@pytest.mark.parametrize(
    ("goal", "budget", "name"),
    [
        ("best", None, "dreambooth"),
        ("balanced", None, "custom_diffusion"),
        ("fast", None, "custom_diffusion"),
        ("best", 60.0, "custom_diffusion"),
        ("fast", 25.0, "textual_inversion"),
    ],
)
def test_the_choice_follows_what_was_measured(goal: str, budget: float | None, name: str) -> None:
    found = choose(base="pocket", goal=goal, budget=budget)
    assert found.method == name
    assert f"{ROWS[name]['H']:.2f}" in found.why


def test_what_is_not_for_the_kind_is_not_chosen() -> None:
    assert choose(base="pocket", kind="style", goal="best").method in ("stylealigned", "textual_inversion")
    assert choose(base="pocket", kind="relation").method == "reversion"
    assert choose(base="pocket", kind="action", photographs=True).method == "adi"


def test_a_base_where_nothing_was_measured_gets_the_fields_way() -> None:
    found = choose(base="runwayml/stable-diffusion-v1-5")
    assert found.method == DEFAULT
    assert "there are no results" in found.why


def test_a_budget_that_nothing_fits_says_what_would() -> None:
    with pytest.raises(InputError, match="took less than 20 s"):
        choose(base="pocket", budget=5)


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("3m", 180), ("1.5h", 5400), (" 2 m ", 120)])
def test_times(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "0", "-3m", "3 days"])
def test_no_times(text: str) -> None:
    with pytest.raises(InputError, match="90s, 3m or 1h"):
        seconds(text)


def test_a_budget_ends_the_teaching(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [0.0], cast("list[str]", [])
    monkeypatch.setattr("limner.workflows.choose_method.time.monotonic", lambda: now[0])
    watch = within(10, said.append)
    progress: Any = SimpleNamespace(last=False, done=7, total=20)
    assert watch(progress) is False
    now[0] = 10.0
    assert watch(progress) is True
    assert "7 of 20" in said[0]


def test_no_method_named_means_the_flags_of_the_chosen_one() -> None:
    given = _parser(["learn", "x", "--class", "dog", "--name", "rex", "--goal", "best"])
    assert (
        given.parse_args(["learn", "x", "--class", "dog", "--name", "rex", "--prior-weight", "0.5"]).prior_weight == 0.5
    )


# --------------------------------------------------------------------------------------------------------- other tools


def test_the_everyday_command_of_diffusers_is_understood() -> None:
    said: list[str] = []
    words = ["learn", "--method", "lora_dreambooth", "--pretrained_model_name_or_path", "base/", "--instance_data_dir=photos/",
             "--instance_prompt", "a photo of sks dog", "--class_prompt", "a photo of dog", "--with_prior_preservation",
             "--prior_loss_weight=1.0", "--num_class_images", "200", "--rank", "8", "--learning_rate", "1e-4",
             "--max_train_steps", "400", "--train_batch_size", "2", "--output_dir", "out/", "--mixed_precision", "bf16", "--seed", "3"]  # fmt: skip
    found = translated(words, said.append)
    given = _parser(found).parse_args(found)
    assert [str(p) for p in given.photos] == ["photos"]
    assert (given.base, given.noun, given.name, given.rank, given.lr) == ("base/", "dog", "sks", 8, 1e-4)
    assert (given.steps, given.batch, given.prior_weight, given.num_class_pictures) == (400, 2, 1.0, 200)
    assert (str(given.out), given.dtype, given.seed) == ("out", "bfloat16", 3)
    assert said[0].startswith("read as: limner learn")


@pytest.mark.parametrize(
    ("prompt", "plain", "name", "noun"),
    [
        ("a photo of sks dog", "", "sks", "dog"),
        ("a photo of sks dog", "a photo of a dog", "sks", "dog"),
        ("sks teapot", "", "sks", "teapot"),
        ("a photo of a dog", "a photo of a dog", "", "dog"),
    ],
)
def test_names_and_nouns_from_prompts(prompt: str, plain: str, name: str, noun: str) -> None:
    words = ["learn", "photos", "--instance_prompt", prompt, *(["--class_prompt", plain] if plain else [])]
    found = translated(words, print)
    assert found[found.index("--class") + 1] == noun
    assert (found[found.index("--name") + 1] if "--name" in found else "") == name


def test_ours_go_before_theirs_and_other_commands_are_left_alone() -> None:
    words = ["learn", "photos", "--name", "fido", "--instance_prompt", "a photo of sks dog"]
    assert translated(words, print).count("--name") == 1
    plain = ["paint", "a --rank dog", "--learning_rate"]
    assert translated(plain, print) == plain
    own = ["learn", "photos", "--class", "dog", "--name", "rex", "--lr=1"]
    assert translated(own, print) == own


def test_a_flag_without_its_value_is_said() -> None:
    with pytest.raises(InputError, match="needs a value"):
        translated(["learn", "photos", "--learning_rate"], print)


def test_photographs_get_a_method_that_paints_pictures_of_them(rex: Subject) -> None:
    from limner.pocket.subjects import toy

    for goal in ("fast", "balanced", "best"):
        found = choose(base="pocket", goal=goal, photographs=True)
        assert found.method == "instantbooth"
        assert "photographs, which pocket does not know" in found.why
        assert choose(base="real", goal=goal, photographs=True) == choose(base="real", goal=goal)
    assert not choose_method.are_photographs(rex)
    assert not choose_method.are_photographs(toy("teapot", 2_000_013, count=2))
    noise = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert choose_method.are_photographs(Subject.of(noise, noun="dog", handle="rex"))
