"""Peak memory of learning on the pocket base, method by method: training at the default batch, scores and previews.

    python benchmarks/memory.py --out results/memory.json                every method that the bench has measured
    python benchmarks/memory.py --out results/memory.json --methods svdiff

Each method is learned in a process of its own, from reading the photos to the page. Updates and sampling steps are few,
since memory does not depend on their number. Methods that the file has are skipped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from limner.core.files import write_text
from limner.core.method import settings
from limner.methods import methods
from limner.workflows.choose_method import OF_MEANINGS, measured

FEW = {"steps": 2, "num_class_pictures": 4, "num_fisher_pictures": 2, "captions": 20, "cycles": 2, "population": 4}
"""Settings that make a method quick and leave its batches as they are."""
ONE = """
import json, resource, sys
from pathlib import Path
from limner.engine.sample import PaintSettings
from limner.workflows.requests import LearnRequest
from limner.workflows.run import run
PaintSettings.__init__.__defaults__ = (2, *PaintSettings.__init__.__defaults__[1:])
about = json.loads(sys.argv[1])
request = LearnRequest(pictures=(Path(about["photos"]),), noun="dog", name="rex", method=about["method"],
    settings=about["settings"], out=Path(about["out"]), preview=1, check=False, encoders={})
for event in run(request):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak(name: str, photos: Path) -> int:
    """Peak resident memory of a process that learns by a method, in bytes."""
    known = {setting.name: setting for setting in settings(methods()[name])}
    few = {key: value for key, value in FEW.items() if key in known}
    few |= {key: 2 for key in known if key.endswith("_steps")}
    with tempfile.TemporaryDirectory() as out:
        about = json.dumps({"method": name, "settings": few, "photos": str(photos), "out": out})
        done = subprocess.run([sys.executable, "-c", ONE, about], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/memory.json"))
    parser.add_argument("--methods", nargs="+", default=[])
    given = parser.parse_args()
    from limner.pocket.subjects import toy

    peaks = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    wanted = given.methods or [name for name in measured() if name not in OF_MEANINGS.values()]
    with tempfile.TemporaryDirectory() as folder:
        for k, picture in enumerate(toy("dog", 2_000_012).pictures):
            assert picture.image is not None
            picture.image.save(Path(folder, f"{k}.png"))
        for name in wanted:
            if name not in peaks:
                peaks[name] = peak(name, Path(folder))
                print(f"{name}: {peaks[name] / 1e6:.0f} MB", flush=True)
                write_text(given.out, json.dumps(dict(sorted(peaks.items())), indent=1) + "\n", overwrite=True)


if __name__ == "__main__":
    main()
