"""The fields of OpenAI's images API, those that other servers add, and reasons to refuse the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator
from starlette.datastructures import FormData, UploadFile

from ..errors import ApiError
from ..fields import Line, Prompt, Seed

Format = Literal["png", "jpeg", "webp"]
Quality = Literal["auto", "low", "medium", "high", "standard", "hd"]
STEPS: Mapping[str, int] = {"low": 12, "medium": 25, "standard": 25, "auto": 25, "high": 50, "hd": 50}
"""Sampling steps by quality, where a request names no number of steps."""
KEPT: Mapping[str, float] = {"low": 0.2, "high": 0.55}
"""Share of the sampling steps that an edit skips, by input_fidelity: a higher one keeps more of the picture."""
KEPT_BY_DEFAULT = 0.3
SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
LEAST_SIDE, MOST_SIDE = 16, 4096

PATHS = ("path", "lora_path", "local_path", "url", "lora_url", "source", "weights")
REFUSED: Mapping[str, str] = {
    "lora_path": "no path or URL that a client sends is opened; name a concept of yours, see GET /v1/models",
    "lora_weights": "no path or URL that a client sends is opened; name a concept of yours as lora.name",
    "url": "no URL that a client sends is opened; send the picture itself as a file in the field image",
    "image_url": "no URL that a client sends is opened; send the picture itself as a file in the field image",
    "mask_url": "no URL that a client sends is opened; send the mask itself as a file in the field mask",
    "reference_image": "a reference image is learned before it is painted: teach a subject from it (POST /api/subjects), "
    "and name its concept as model",
    "markup": "markup over a picture is not read; send a mask",
    "system_prompt": "the base reads one text, the prompt; write it all there",
    "true_cfg_scale": "the guidance is guidance_scale",
    "flow_shift": "the base's own noise schedule is used",
    "generator_device": "the seed gives the same picture on every device; leave it out",
    "layers": "a picture has one layer",
    "extra_params": "there are no further parameters; all fields are in GET /openapi.json",
    "style": "a style is a concept: teach it, and name it as model or lora",
    "complexity": "there is no planning before a picture; leave it out",
    "frame_count": "pictures alone are painted here; clips are jobs, POST /api/jobs",
    "frame_duration_ms": "pictures alone are painted here; clips are jobs, POST /api/jobs",
    "svg": "pictures are made of pixels; choose png, jpeg or webp",
}
"""Fields that other servers have, and the reason why they are refused here."""


class Lora(BaseModel):
    """A concept to paint with, by its name, and its strength."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: Line = ""
    lora_name: Line = ""
    adapter: Line = ""
    scale: Annotated[float, Field(ge=-5, le=5)] | None = None
    lora_scale: Annotated[float, Field(ge=-5, le=5)] | None = None
    int_id: int | None = None  # a number that other servers know an adapter by; names are enough here
    lora_int_id: int | None = None

    @property
    def concept(self) -> str:
        return self.name or self.lora_name or self.adapter

    @property
    def strength(self) -> float:
        scales = [scale for scale in (self.scale, self.lora_scale) if scale is not None]
        return scales[0] if scales else 1.0


class Generation(BaseModel):
    """A request to paint pictures of a prompt."""

    model_config = ConfigDict(extra="allow", strict=True)

    prompt: Annotated[Prompt, StringConstraints(min_length=1)]
    model: Line | None = Field(None, description="the base, or the name of a concept; see GET /v1/models")
    n: Annotated[int, Field(ge=1, le=10)] | None = 1
    size: Annotated[str, StringConstraints(max_length=20)] | None = Field(
        None, description="WIDTHxHEIGHT or auto; the base paints at its own size, and pictures are resized"
    )
    response_format: Literal["b64_json", "url", "file"] | None = "b64_json"
    user: Annotated[str, StringConstraints(max_length=256)] | None = None
    safety_identifier: Annotated[str, StringConstraints(max_length=256)] | None = None
    negative_prompt: Prompt | None = ""
    num_inference_steps: Annotated[int, Field(ge=1, le=200)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=20)] | None = None
    seed: Seed | None = Field(None, description="seed of the first picture; the next ones have the numbers after it")
    output_format: Format | None = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = 100
    quality: Quality | None = Field("auto", description="number of sampling steps")
    background: Literal["auto", "opaque"] | None = "auto"
    moderation: Literal["auto", "low"] | None = "auto"
    stream: bool | None = False
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = 0
    lora: Lora | list[Lora] | None = None

    @field_validator("background", mode="before")
    @classmethod
    def _not_transparent(cls, value: Any) -> Any:
        if value == "transparent":
            raise ValueError("bases paint opaque pictures; background is opaque or auto")
        return value

    @property
    def steps(self) -> int:
        return self.num_inference_steps or STEPS[self.quality or "auto"]

    @property
    def loras(self) -> list[Lora]:
        if self.lora is None:
            return []
        return self.lora if isinstance(self.lora, list) else [self.lora]

    @property
    def wanted_size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None: as it is painted. Raises `ApiError` for another form."""
        if self.size in (None, "", "auto"):
            return None
        match = SIZE.fullmatch(str(self.size))
        sides = (int(match[1]), int(match[2])) if match else (0, 0)
        if not all(LEAST_SIDE <= side <= MOST_SIDE for side in sides):
            text = f"size is WIDTHxHEIGHT, each from {LEAST_SIDE} to {MOST_SIDE} pixels, or auto, not {self.size!r}"
            raise ApiError(400, "invalid_field", text, param="size")
        return sides


class Edit(Generation):
    """A request to change a picture, beside its files."""

    input_fidelity: Literal["low", "high"] | None = Field(None, description="how much of the picture is kept")

    @property
    def start(self) -> float:
        """Share of the sampling steps to skip."""
        return KEPT.get(self.input_fidelity or "", KEPT_BY_DEFAULT)


def check_extra(fields: BaseModel, where: str = "") -> None:
    """Raise `ApiError` for a field that is not read, with the reason."""
    for name, value in (fields.model_extra or {}).items():
        if value is None:
            continue
        if where and name in PATHS:
            text = f"{where}.{name}: {REFUSED['lora_path']}"
            raise ApiError(400, "path_refused", text, param=f"{where}.{name}")
        reason = REFUSED.get(name, "there is no such field; all fields are in GET /openapi.json")
        code = "path_refused" if "opened" in reason else "unknown_field"
        shown = "".join(character for character in name[:60] if character.isprintable())
        raise ApiError(400, code, f"{where + '.' if where else ''}{shown}: {reason}", param=shown)


def check_fields(fields: Generation) -> None:
    """Raise `ApiError` for what the types do not say."""
    check_extra(fields)
    for lora in fields.loras:
        check_extra(lora, "lora")
        if not lora.concept:
            raise ApiError(400, "invalid_field", "lora needs a name, that of a concept", param="lora.name")
    if len(fields.loras) > 8:
        raise ApiError(400, "invalid_field", "at most 8 concepts are painted together", param="lora")
    if not fields.prompt.strip():
        raise ApiError(400, "invalid_field", "the prompt is empty; say what to paint", param="prompt")
    _ = fields.wanted_size


# ---------------------------------------------------------------------------------------------------------------- forms

WHOLE = ("n", "num_inference_steps", "seed", "output_compression", "partial_images")
NUMBERS = ("guidance_scale",)
FILES = ("image", "image[]", "mask", "mask_image")


def read_edit(form: FormData) -> Edit:
    """The fields of a multipart form, beside its files. Raises `ApiError`."""
    values: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in (*FILES, "form_token"):
            if isinstance(value, str) and name != "form_token" and value:
                text = f"{name} must be a file; no path or URL that a client sends is opened"
                raise ApiError(400, "path_refused", text, param=name)
            continue
        if isinstance(value, UploadFile):
            reason = REFUSED.get(name, "this field is a text, not a file")
            raise ApiError(400, "invalid_field", f"{name[:60]}: {reason}", param=name[:60])
        if value != "":
            values[name] = _read(name, value)
    try:
        return Edit.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        text = f"{place}: {str(first['msg']).removeprefix('Value error, ')}"
        raise ApiError(400, "invalid_field", text, param=place) from error


def _read(name: str, text: str) -> Any:
    """A form's text in the type of its field, where it has that form."""
    try:
        if name in WHOLE:
            return int(text[:20])
        if name in NUMBERS:
            return float(text)
        if name == "stream":
            return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
        if name == "lora":
            return json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text
