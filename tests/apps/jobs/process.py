"""A worker with the quick workflows, as a process: URL FILES DATA NAME LEASE."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from limner.apps.jobs.database import open_database
from limner.apps.jobs.files import open_files
from limner.apps.jobs.worker import Worker

from .workflows import mixed

if __name__ == "__main__":
    url, place, data, name, lease = sys.argv[1:]
    until = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: until.set())
    worker = Worker(
        open_database(url), open_files(place), name=name, data=Path(data), lease=float(lease), run_workflow=mixed
    )
    worker.run(until)
