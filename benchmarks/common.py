"""Shared by benchmarks: writing a figure down."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("limner", "torch", "diffusers", "transformers", "peft", "accelerate")


def write(name: str, **about: Any) -> Path:
    """benchmarks/results/NAME.json: the figures, the machine, the versions and the command."""
    RESULTS.mkdir(exist_ok=True)
    record = {
        **about,
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(_plain, sys.argv[1:])]),
        "machine": machine(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(about, indent=1))
    return path


def _plain(argument: str) -> str:
    return Path(argument).name if "/" in argument else argument


def cpu() -> str:
    """Name of the processor."""
    cpu_info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = (line.partition(":")[2].strip() for line in cpu_info.splitlines() if line.startswith("model name"))
    return next(models, platform.processor())


def machine() -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu}


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return "none"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"median": round(middle, 4), "low": round(low, 4), "high": round(high, 4), "of": len(values)}


def timed_script(script: Path, arguments: Sequence[str], *, threads: int) -> dict[str, Any]:
    """Another project's script run by `timed.py`: when its updates ended, its wall time and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        runner = Path(__file__).parent / "timed.py"
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, str(runner), str(out), str(script), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if not out.exists():
            raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
        measurements: dict[str, Any] = json.loads(out.read_text())
        return measurements


def steady(times: Sequence[float], *, skip: int = 3) -> list[float]:
    """Seconds of each update, without the first few."""
    return [b - a for a, b in zip(times[skip:], times[skip + 1 :], strict=False)]
