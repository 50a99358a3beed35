"""DreamBench's list of subjects and prompts, prompts_and_classes.txt."""

from __future__ import annotations

import re
from pathlib import Path

from limner.core.untrusted import read_text
from limner.errors import FileError


def prompts_and_classes(path: Path) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Read (subject -> class noun, prompts for things, prompts for living beings); "{}" stands for the subject.

    The file holds a table and two Python lists in prose, which are parsed and never run. Raises `FileError` for another
    file.
    """
    text = read_text(path)
    table, _, rest = text.partition("Prompts")
    nouns = dict(re.findall(r"^(\w+),([^\n,]+?)\s*$", table, re.MULTILINE))
    nouns.pop("subject_name", None)
    lists = [
        tuple(p.replace("{0} {1}", "{}") for p in re.findall(r"'([^'\n]*\{0\} \{1\}[^'\n]*)'", part))
        for part in rest.split("prompt_list")[1:]
    ]
    if not nouns or len(lists) != 2 or not all(lists):
        raise FileError(
            f"{path} is not DreamBench's prompts_and_classes.txt: expected a table and two lists of prompts"
        )
    return nouns, lists[0], lists[1]
