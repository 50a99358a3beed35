"""The state of this machine: processor, memory, disk and GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

FIELDS = ("name", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu", "power.draw")
PATIENCE = 3.0  # seconds for nvidia-smi
MOMENT = 0.2
"""Seconds over which the processor is measured. Without them psutil answers 0 to a thread that asks for the first time,
and a server has many threads."""


def hardware(folder: Path) -> dict[str, Any]:
    """Use of processor, memory, the disk of a folder, and GPUs. torch is asked only where it is loaded already.

    Bytes are in bytes, shares in percent, `load` is the mean number of programs that had or wanted
    a core in the last minute.
    """
    import psutil

    memory, own = psutil.virtual_memory(), psutil.Process()
    disk = psutil.disk_usage(str(folder))
    return {
        "cpu": {
            "cores": psutil.cpu_count() or 1,
            "percent": psutil.cpu_percent(interval=MOMENT),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        },
        "memory": {"total": memory.total, "available": memory.available, "process": own.memory_info().rss},
        "disk": {"total": disk.total, "free": disk.free},
        "gpus": gpus(),
    }


def gpus() -> list[dict[str, Any]]:
    """Each GPU with its memory, and where nvidia-smi tells it, its use, temperature and power."""
    return _by_nvidia_smi() or _by_torch()


def _by_nvidia_smi() -> list[dict[str, Any]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [read_gpu(line) for line in done.stdout.splitlines() if line.count(",") >= len(FIELDS) - 1]


def read_gpu(line: str) -> dict[str, Any]:
    """A line of nvidia-smi: its names are in `FIELDS`, its memory in MiB."""
    name, *rest = (part.strip() for part in line.rsplit(",", len(FIELDS) - 1))
    percent, used, total, celsius, watts = (_number(part) for part in rest)
    mebibyte = 1 << 20
    return {
        "name": name,
        "percent": percent,
        "used": None if used is None else int(used * mebibyte),
        "total": None if total is None else int(total * mebibyte),
        "celsius": celsius,
        "watts": watts,
    }


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "[N/A]"
        return None


def _by_torch() -> list[dict[str, Any]]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    rows = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        rows.append({"name": torch.cuda.get_device_name(number), "used": total - free, "total": total})
    return rows
