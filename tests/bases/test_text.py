"""Prompts as the base reads them."""

from __future__ import annotations

import pytest

from limner.bases.common.text import literal_syntax


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a (red:1.4) dog", ["(red:1.4)"]),
        ("a ((red)) dog", ["((red))"]),
        ("a red dog BREAK on grass", ["BREAK"]),
        ("a __color__ dog", ["__color__"]),
        ("a [red|blue] dog, [day:night:0.5]", ["[red|blue]", "[day:night:0.5]"]),
        ("a {red|blue} dog++", ["{red|blue}", "++"]),
        ("<rex> (my dog) on the beach, well-lit; 1:2 scale [sic]", []),
        ("a break and a band", []),
    ],
)
def test_other_tools_syntax_is_found(prompt: str, found: list[str]) -> None:
    assert literal_syntax([prompt, prompt]) == found
