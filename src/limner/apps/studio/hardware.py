"""Hardware: processor, memory, disk and GPUs of the server, live."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from limner.apps.api.hardware import hardware

from .view import render
from .words import size

router = APIRouter(include_in_schema=False)


@router.get("/hardware")
def show(request: Request) -> Response:
    return render(request, "hardware.html", title="Hardware", parts=parts_of(request))


@router.get("/hardware/now")
def show_now(request: Request) -> Response:
    return render(request, "hardware_now.html", parts=parts_of(request))


def parts_of(request: Request) -> list[dict[str, Any]]:
    """A part with its use in percent and in words."""
    state = hardware(request.app.state.services.config.data)
    cpu, memory, disk = state["cpu"], state["memory"], state["disk"]
    used = memory["total"] - memory["available"]
    load = "" if cpu["load"] is None else f", load {cpu['load']:.1f} in the last minute"
    parts = [
        _part("Processor", cpu["percent"], f"{cpu['cores']} cores{load}"),
        _part(
            "Memory",
            100 * used / memory["total"],
            f"{size(used)} of {size(memory['total'])}; {size(memory['process'])} by limner",
        ),
        _part("Disk", 100 * (1 - disk["free"] / disk["total"]), f"{size(disk['free'])} free of {size(disk['total'])}"),
    ]
    for gpu in state["gpus"]:
        known, total = gpu.get("used"), gpu.get("total")
        share = 100 * known / total if known is not None and total else None
        more = [
            f"{gpu[key]:.0f} {unit}"
            for key, unit in (("percent", "% busy"), ("celsius", "°C"), ("watts", "W"))
            if gpu.get(key)
        ]
        parts.append(_part(gpu["name"], share, ", ".join([f"{size(known)} of {size(total)}", *more])))
    if not state["gpus"]:
        parts.append(_part("GPU", None, "none; work runs on the processor"))
    return parts


def _part(name: str, percent: float | None, words: str) -> dict[str, Any]:
    return {"name": name, "percent": None if percent is None else round(percent, 1), "words": words}
