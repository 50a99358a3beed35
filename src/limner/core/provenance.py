"""The provenance in a picture's file: fields that other tools read, and a statement that a trained model made it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from limner.errors import FileError, MissingExtra

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media made by a trained model, in XMP and C2PA alike."""

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 Iptc4xmpExt:DigitalSourceType="{source}" xmp:CreatorTool="limner"/></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def png_fields(story: dict[str, Any], size: tuple[int, int]) -> dict[str, str]:
    """Text chunks of a PNG: limner's record as JSON, the line that AUTOMATIC1111, readers for ComfyUI and Civitai
    understand, and XMP."""
    return {
        "limner": json.dumps(story),
        "parameters": parameters(story, size),
        "Software": "limner",
        "XML:com.adobe.xmp": _XMP.format(source=SOURCE_TYPE),
    }


def exif_fields(text: str) -> bytes:
    """EXIF of a WebP: limner's record of the picture, and "limner" as the software."""
    from PIL import Image
    from PIL.ExifTags import Base

    fields = Image.Exif()
    fields[Base.ImageDescription], fields[Base.Software] = text, "limner"
    return fields.tobytes()


def parameters(story: dict[str, Any], size: tuple[int, int]) -> str:
    """The record in the format of AUTOMATIC1111: "prompt\\nNegative prompt: …\\nSteps: 25, Sampler: …, CFG scale: 4,
    Seed: 7, Size: 512x512, Model: …"."""
    settings = story["settings"]
    lines = [story["prompt"]]
    if settings.get("negative"):
        lines.append(f"Negative prompt: {settings['negative']}")
    names = {"": "Default", "ddim": "DDIM", "ddpm": "DDPM", "dpm": "DPM++ 2M", "euler": "Euler", "flow": "Euler"}
    fields = {
        "Steps": settings.get("steps"),
        "Sampler": names.get(settings.get("sampler", ""), settings.get("sampler")),
        "CFG scale": settings.get("guidance"),
        "Seed": story["seed"],
        "Size": f"{size[0]}x{size[1]}",
        "Model": story["base"],
        "Version": "limner",
    }
    return "\n".join([*lines, ", ".join(f"{key}: {value}" for key, value in fields.items() if value is not None)])


def signed(path: Path, *, certificate: Path, key: Path, to: Path, title: str = "", algorithm: str = "es256") -> Path:
    """Write a copy of a picture file with a signed C2PA manifest, which states that a trained model made the picture.
    The certificate chain and the private key are PEM files. Needs c2pa-python. Raises `FileError` when the file cannot
    be signed."""
    c2pa = _c2pa()
    manifest = {
        "claim_generator_info": [{"name": "limner"}],
        "title": title or path.name,
        "format": _format(path),
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {
                    "actions": [
                        {
                            "action": "c2pa.created",
                            "digitalSourceType": SOURCE_TYPE,
                            "softwareAgent": {"name": "limner"},
                        }
                    ]
                },
            }
        ],
    }
    about = c2pa.C2paSignerInfo(
        alg=algorithm.encode(), sign_cert=certificate.read_bytes(), private_key=key.read_bytes(), ta_url=None
    )
    try:
        with c2pa.Signer.from_info(about) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
            source, target = io.BytesIO(path.read_bytes()), io.BytesIO()
            builder.sign(signer, _format(path), source, target)
    except c2pa.C2paError as error:
        raise FileError(f"{path} could not be signed: {error}") from error
    from .files import atomic_write, check_ours

    if to.resolve() != path.resolve():
        check_ours(to)
    return atomic_write(to, lambda p: Path(p).write_bytes(target.getvalue()), overwrite=True)


def manifest_of(path: Path) -> dict[str, Any]:
    """The C2PA manifests of a picture file and their validation results, as c2pa-python reads them, without access to
    the network. Raises `FileError` for a file without a readable manifest."""
    c2pa = _c2pa()
    try:
        with c2pa.Reader(_format(path), io.BytesIO(path.read_bytes())) as reader:
            manifests: dict[str, Any] = json.loads(reader.json())
    except c2pa.C2paError as error:
        raise FileError(f"{path} has no C2PA manifest that can be read: {error}") from error
    return manifests


def _format(path: Path) -> str:
    return {"jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}.get(
        path.suffix.lstrip(".").lower(), "image/png"
    )


def _c2pa() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise MissingExtra("signing pictures needs c2pa-python: pip install limner[provenance]") from error
    return c2pa
