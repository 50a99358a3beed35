"""DreamBench++ (arXiv:2406.16855): 150 images of animals, people, things and styles with nine prompts each."""

from __future__ import annotations

from pathlib import Path

from limner.core.untrusted import inside, read_text
from limner.evaluation.datasets import Case, DataSet, Member, existing, loader, pictures_in

KINDS = {"animal": "pet", "human": "face", "object": "object", "style": "style"}


@loader("dreambench++")
def dreambench_plus(folder: Path | str) -> DataSet:
    """`data/images/**/NN.jpg`, and `data/captions/**/NN.txt` whose first line is the noun and the others prompts."""
    root = Path(folder)
    root = root / "data" if (root / "data").is_dir() else root
    images = existing(root / "images", "DreamBench++'s folder of images")
    cases, absent = [], []
    for place in sorted(p for p in images.rglob("*") if p.is_dir()):
        for picture in pictures_in(place):
            name = str(picture.relative_to(images).with_suffix(""))
            text = root / "captions" / f"{name}.txt"
            lines = _lines(inside(text, root)) if text.is_file() else []
            if len(lines) < 2:
                absent.append(f"{name}: no captions")
                continue
            noun, *prompts = lines
            kind = KINDS.get(name.split("/")[0], "object")
            templates = tuple(_handled(p, noun) for p in prompts)
            cases.append(Case(name, (Member(name, noun, kind, (picture,)),), templates))
    return DataSet("dreambench++", tuple(cases), "code and lists Apache 2.0; images of mixed rights", tuple(absent))


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def _handled(prompt: str, noun: str) -> str:
    """The noun's first place in the prompt becomes the handle's; prompts of styles that do not say it end with it."""
    at = prompt.lower().find(noun.lower())
    return prompt[:at] + "{}" + prompt[at + len(noun) :] if at >= 0 else f"{prompt}, in the style of {{}}"
