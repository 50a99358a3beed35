"""Publishing a concept on the hub: its files, model card and gallery."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.concept import Concept
from limner.core.decoding import text_of
from limner.core.escaping import markdown_code, markdown_text, python_literal, shell_word, yaml_value
from limner.core.files import write_text
from limner.core.picture import Picture
from limner.core.untrusted import parse_json, plain_text, table
from limner.core.wording import counted, with_article
from limner.engine.sample import PaintSettings
from limner.errors import FileError, InputError
from limner.formats.exporting import CUSTOM_DIFFUSION, export

from .paint import paint

if TYPE_CHECKING:
    from limner.core.base import Base

GALLERY = ("a photo of {}", "{} on the beach", "{} in the snow", "{} at night")


def publish(
    concept: Concept,
    base: Base,
    repo: str,
    folder: Path,
    *,
    formats: Sequence[str] = ("diffusers",),
    licence: str = "",
    pictures: Path | None = None,
    upload: bool = True,
    private: bool = False,
    say: Callable[[str], Any] = lambda _: None,
) -> str:
    """Write a repository into `folder` (the concept, files for other tools, a model card with a gallery) and upload it.
    Returns its address; empty without the upload. Raises `InputError` for a name that is not USER/REPO."""
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise InputError(f"the repository must be USER/REPO, as the hub names repositories, not {repo!r}")
    if folder.exists() and any(folder.iterdir()):
        raise FileError(f"{folder} is not empty; name another with --out, or empty it")
    name = concept.handle.strip("<>")
    concept.save(folder / f"{name}.limner.safetensors")
    trigger, files = concept.handle, []
    for to in formats:
        try:
            done = export(concept, base, folder / ("" if to == "diffusers" else to), to=to)
        except InputError as error:
            say(f"note: no files are written for {to}: {error}")
            continue
        files += done.files
        trigger = next(
            (n.removeprefix("in prompts, write: ") for n in done.notes if n.startswith("in prompts")), trigger
        )
    gallery = _gallery(concept, base, folder, pictures, trigger)
    card = model_card(
        concept, base, trigger=trigger, gallery=gallery, files=[f.relative_to(folder) for f in files], licence=licence
    )
    write_text(folder / "README.md", card)
    if not upload:
        return ""
    return _uploaded(repo, folder, private)


def _gallery(concept: Concept, base: Base, folder: Path, pictures: Path | None, trigger: str) -> list[tuple[str, str]]:
    """File and prompt of each picture in the gallery: the given pictures with the prompts in their metadata, or newly
    painted ones."""
    gallery = []
    if pictures is not None:
        for file in sorted(pictures.glob("*.png")):
            prompt = _prompt_of(file) or concept.handle
            (folder / "images").mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / "images" / file.name)
            gallery.append((f"images/{file.name}", prompt.replace(concept.handle, trigger)))
        if not gallery:
            raise InputError(f"there are no PNG pictures in {pictures}")
        return gallery
    prompts = [prompt.format(concept.handle) for prompt in GALLERY]
    for number, picture in enumerate(paint(base, prompts, concepts=[concept], settings=PaintSettings())):
        shown: Picture = picture
        shown.save(folder / "images" / f"{number:03}.png")
        gallery.append((f"images/{number:03}.png", shown.prompt.replace(concept.handle, trigger)))
    return gallery


def _prompt_of(file: Path) -> str:
    """The prompt in a picture's metadata; empty where there is none."""
    text = text_of(file, "limner")
    story = parse_json(text, f"the story in {file}") if text else {}
    return plain_text(table(story, f"the story in {file}").get("prompt", ""), f"the prompt in {file}")


def model_card(
    concept: Concept,
    base: Base,
    *,
    trigger: str,
    gallery: Sequence[tuple[str, str]],
    files: Sequence[Path],
    licence: str,
) -> str:
    """README.md as the hub reads it: base, trigger words, gallery, scores and licence."""
    name = concept.handle.strip("<>")
    word = any(key.startswith("word.") for key in concept.tensors)
    lora = any(key.startswith(("low_rank.", "weight.")) for key in concept.tensors)
    tags = [
        "text-to-image",
        "limner",
        *(["diffusers", "lora", "template:sd-lora"] if lora else []),
        *(["textual-inversion"] if word else []),
    ]
    xl = {"sdxl": ["stable-diffusion-xl"], "stable_diffusion": ["stable-diffusion"], "flux": ["flux"], "sd3": ["sd3"]}
    about: dict[str, Any] = {
        "license": licence or "other",
        "base_model": concept.base["name"],
        "tags": [*tags, *xl.get(base.family, [])],
        "instance_prompt": trigger,
        "widget": [{"text": prompt, "output": {"url": file}} for file, prompt in gallery],
        "library_name": "diffusers" if lora or word else "limner",
    }
    noun, method = with_article(concept.subject["noun"]), concept.method.replace("_", " ")
    lines = [
        *("---", *_yaml(about), "---", "", f"# {markdown_text(name)}", ""),
        f"{markdown_text(noun[0].upper() + noun[1:])}, learned on {markdown_code(concept.base['name'])} by "
        f"{markdown_text(method)} in "
        f"{counted(len(concept.losses), 'update')} from {counted(len(concept.subject['pictures']), 'picture')}.",
        *("", "<Gallery />", "", "## Trigger words", ""),
        *(f"Write {markdown_code(trigger)} where the subject is to be.", ""),
    ]
    if concept.scores:
        lines += ["## Scores", "", *_scores(concept.scores), ""]
    lines += ["## Use", "", "```python", *_use(concept, base, trigger, files, lora), "```", ""]
    prompt = shell_word(f"{concept.handle} on the beach")
    command = f"limner paint {prompt} --with {shell_word(f'{name}.limner.safetensors')}"
    lines += ["With limner:", "", "```sh", command, "```", ""]
    if not licence:
        lines += ["## Licence", "", "The author names none; the licence of the base applies as well.", ""]
    lines += ["Pictures made with it come from a trained algorithm, and their metadata says so.", ""]
    return "\n".join(lines)


def _use(concept: Concept, base: Base, trigger: str, files: Sequence[Path], lora: bool) -> list[str]:
    own = [file for file in files if len(file.parts) == 1]
    # no file that diffusers could load
    if not own:
        name = python_literal(f"{concept.handle.strip('<>')}.limner.safetensors")
        return [
            "import limner",
            "",
            f"base = limner.load({python_literal(concept.base['name'])})",
            f"limner.paint(base, {python_literal(f'{concept.handle} on the beach')}, concepts=[{name}])[0].image",
        ]
    lines = [
        "from diffusers import DiffusionPipeline",
        "",
        f"pipeline = DiffusionPipeline.from_pretrained({python_literal(concept.base['name'])})",
    ]
    for file in own:
        if file.name == CUSTOM_DIFFUSION:
            lines.append(f'pipeline.unet.load_attn_procs(".", weight_name={python_literal(file)})')
        elif lora and "word" not in file.name:
            lines.append(f'pipeline.load_lora_weights(".", weight_name={python_literal(file)})')
        else:
            word = python_literal(concept.handle)
            lines.append(f"pipeline.load_textual_inversion({python_literal(file)}, token={word})")
    return [*lines, f"pipeline({python_literal(f'{trigger} on the beach')}).images[0]"]


def _scores(scores: dict[str, Any]) -> list[str]:
    rows = [
        (f"{part}: {key}" if isinstance(value, dict) else part, value)
        for part, value in scores.items()
        for key, value in (value.items() if isinstance(value, dict) else [("", value)])
    ]
    return [
        "| | |",
        "|---|---|",
        *(
            f"| {markdown_text(what)} | {markdown_text(value if not isinstance(value, float) else round(value, 3))} |"
            for what, value in rows
        ),
    ]


def _yaml(about: dict[str, Any]) -> list[str]:
    """The lines of a YAML mapping of plain values and lists of them."""
    lines = []
    for key, value in about.items():
        if isinstance(value, list):
            lines.append(f"{key}:")
            lines += [f"- {yaml_value(item)}" for item in value]
        else:
            lines.append(f"{key}: {yaml_value(value)}")
    return lines


def check_account(repo: str) -> None:
    """Raise `InputError` where the hub cannot be reached or the user is not logged in, before anything is painted or
    written."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    only = "; --dry-run writes the folder and uploads nothing"
    if constants.HF_HUB_OFFLINE:
        raise InputError(f"publishing to {repo} needs the network, which is switched off{only}")
    try:
        HfApi().whoami()
    except (LocalTokenNotFoundError, HfHubHTTPError) as error:
        raise InputError(
            f"publishing to {repo} needs an account on the hub: log in with `hf auth login`{only}"
        ) from error
    # without a network, the exception depends on the version of the hub's library
    except Exception as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith("httpx"):
            raise
        raise InputError(f"publishing to {repo} needs the network, and the hub cannot be reached{only}") from error


def _uploaded(repo: str, folder: Path, private: bool) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        api = HfApi()
        address = str(api.create_repo(repo, private=private, exist_ok=True))
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="A concept learned with limner")
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError, ValueError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileError(
            f"{folder} was written, but not uploaded to {repo}: {line}. Log in with `hf auth login` and publish again"
        ) from error
    return address
