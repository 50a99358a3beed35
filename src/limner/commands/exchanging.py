"""`limner export`, `import`, `check`, `data` and `publish`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import base_of, opened, out, read_concept, say


def export(given: argparse.Namespace) -> None:
    from limner.files import check_folder
    from limner.formats import export as write
    from limner.formats.exporting import export_adapter
    from limner.interrupts import standing
    from limner.weights import shipped

    given.out = given.out or Path("out/export") / given.to
    check_folder(given.out)
    standing(lambda: "no file is half written; the same command with --overwrite writes all of them")
    if str(given.concept) == "ip_adapter":
        base = opened(given, given.base or "pocket")
        path = given.out / f"ip-adapter-{base.name.replace('/', '-')}.safetensors"
        path = export_adapter(base, shipped("ip_adapter", base), path, overwrite=given.overwrite)
        out(given, {"files": [str(path)]}, str(path))
        return
    concept = read_concept(given, given.concept)
    base = opened(given, base_of(given, concept))
    done = write(concept, base, given.out, to=given.to, rank=given.rank, overwrite=given.overwrite)
    for note in done.notes:
        say(f"note: {note}")
    out(given, {"files": [str(p) for p in done.files], "notes": done.notes}, "\n".join(map(str, done.files)))


def import_(given: argparse.Namespace) -> None:
    from dataclasses import asdict

    from limner.files import check_folder
    from limner.formats import import_file

    check_folder(given.out)
    base = opened(given, given.base)
    found = import_file(
        given.file,
        base,
        name=given.name,
        noun=given.noun,
        says=given.says,
        partial=given.partial,
        overwrite=given.overwrite,
    )
    say(str(found.report))
    if found.concept is None:
        out(given, {"what": found.what, "weights": str(found.weights)}, str(found.weights))
        return
    path = given.out / f"{found.concept.handle.strip('<>')}.safetensors"
    if path.resolve() == given.file.resolve():
        path = path.with_name(f"{path.stem}-limner.safetensors")
    found.concept.save(path, overwrite=given.overwrite)
    out(given, {"what": found.what, "concept": str(path), "report": asdict(found.report)}, str(path))


def check(given: argparse.Namespace) -> None:
    from limner.checking import certify

    concept = read_concept(given, given.concept)
    base = opened(given, base_of(given, concept))
    found = certify(base, concept, steps=given.steps, seed=given.seed, any_base=given.any_base)
    rows = [{"what": c.what, "ok": c.ok, "found": c.found} for c in found.checks]
    out(given, {"ok": found.ok, "dtype": found.dtype, "checks": rows}, str(found))
    found.demand()


def data(given: argparse.Namespace) -> None:
    from limner.files import check_place
    from limner.formats.datasets import recognised, write_page

    if given.page:
        check_place(given.page, overwrite=True)
    found = recognised(given.folder)
    if given.page:
        write_page(given.page, found)
    out(given, found.record, str(found))


def publish(given: argparse.Namespace) -> None:
    from limner.files import check_folder
    from limner.formats.publishing import check_account
    from limner.formats.publishing import publish as put
    from limner.interrupts import standing

    concept = read_concept(given, given.concept)
    if not given.dry_run:
        check_account(given.to)
    base = opened(given, base_of(given, concept))
    folder = given.out or Path("out/publish") / concept.handle.strip("<>")
    check_folder(folder)
    standing(lambda: f"what was written is in {folder}; delete that folder, and the same command begins anew")
    where = put(
        concept,
        base,
        given.to,
        folder,
        formats=given.formats,
        licence=given.licence,
        pictures=given.pictures,
        upload=not given.dry_run,
        private=given.private,
        say=say,
    )
    out(given, {"folder": str(folder), "address": where}, where or str(folder))
