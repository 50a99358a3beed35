"""English in messages."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
from PIL import Image

from limner.core import escaping, wording
from limner.core.wording import counted, first_of, listed, shortened, with_article


def test_the_examples_are_true() -> None:
    assert doctest.testmod(wording).attempted >= 4
    assert doctest.testmod(wording).failed == 0
    assert doctest.testmod(escaping).failed == 0


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [(1, "picture", "1 picture"), (0, "picture", "0 pictures"), (2, "likeness", "2 likenesses"), (2, "copy", "2 copies"),
     (2, "key", "2 keys"), (3, "class", "3 classes")],
)  # fmt: skip
def test_nouns_are_counted(count: int, noun: str, said: str) -> None:
    assert counted(count, noun) == said
    assert counted(2, "child", "children") == "2 children"


@pytest.mark.parametrize(
    "said",
    ["an action", "an object", "a dog", "a unicorn", "a european bison", "an umbrella", "an hourglass", "an elephant"],
)
def test_articles(said: str) -> None:
    assert with_article(said.partition(" ")[2]) == said


def test_long_texts_and_lists_are_cut_and_say_so() -> None:
    prompt = " ".join(["word"] * 500)
    assert len(shortened(prompt)) < 130
    assert f"{len(prompt) - 2 * 52} more" in shortened(prompt)
    assert shortened("short") == "short"
    assert listed(range(7), 3) == "0, 1, 2 and 4 more"
    assert first_of("abcdefghijkl", 8) == [*"abcdefgh", "… and 4 more like these"]
    assert first_of("abc", 2) == [*"abc"]  # no line is left out for the sake of one


def test_a_long_prompt_is_not_printed_back_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from limner.apps.cli.main import main

    assert main(["paint", " ".join(["dog"] * 500), "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "shorten" in said
    assert len(said) < 400


def test_near_alike_pictures_are_told_in_groups(tmp_path: Path) -> None:
    from limner.data.layouts import recognised
    from limner.data.layouts.contents import alike_lines

    assert alike_lines([("a", "b"), ("c", "d"), ("b", "e")]) == ["near-duplicates: c and d", "3 nearly alike: a, b, e"]
    for k in range(60):
        Image.linear_gradient("L").rotate(90).resize((64 + k, 64)).convert("RGB").save(tmp_path / f"{k:02}.png")
    told = str(recognised(tmp_path)).splitlines()
    assert len(told) < 8
    assert "60 nearly alike: 00.png, 01.png, 02.png, 03.png and 56 more" in told


def test_loading_bars_of_libraries_are_off_while_networks_are_read() -> None:
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    from limner.core.quiet import quiet

    before = [log.is_progress_bar_enabled() for log in (diffusers_log, transformers_log)]
    with quiet():
        assert not diffusers_log.is_progress_bar_enabled()
        assert not transformers_log.is_progress_bar_enabled()
    assert before == [log.is_progress_bar_enabled() for log in (diffusers_log, transformers_log)]
