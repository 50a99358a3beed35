"""Users, tokens, access and shares, deletion, and the audit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from limner.apps.jobs import access, retention, users
from limner.apps.jobs.access import NotFound, find, may_read_file, visible
from limner.apps.jobs.database import Database
from limner.apps.jobs.files import Files
from limner.apps.jobs.queue import claim, finish, submit
from limner.apps.jobs.tables import Audit, Concept, File, Job, Picture, Reference, Subject, Token, User, now
from limner.apps.jobs.uploads import store, sweep
from limner.errors import InputError, UnknownName

Make = Callable[[str], User]
LATER = timedelta(seconds=-60)
"""Age of files that a sweep deletes: all of them."""


def concept(database: Database, owner: User, name: str = "rex", sha256: str = "0" * 64) -> Concept:
    with database.session() as session:
        row = Concept(owner_id=owner.id, name=name, handle=f"<{name}>", sha256=sha256)
        session.add(row)
    return row


def test_a_token_opens_its_user_and_is_kept_as_a_hash(database: Database, user: User) -> None:
    secret = users.create_token(database, user.id, label="laptop")
    found = users.user_of_token(database, secret)
    assert found is not None
    assert found[0].id == user.id
    with database.reading() as session:
        (row,) = session.scalars(select(Token)).all()
    assert found[1].id == row.id
    assert secret not in (row.sha256, row.label)
    assert len(secret) > 40
    assert row.last_used is not None
    assert users.user_of_token(database, secret + "x") is None


def test_revoked_tokens_and_disabled_users_open_nothing(database: Database, user: User) -> None:
    first, second = (users.create_token(database, user.id) for _ in range(2))
    with database.reading() as session:
        row = session.scalars(select(Token).where(Token.sha256 == users.hash_token(first))).one()
    users.revoke_token(database, row.id)
    assert users.user_of_token(database, first) is None
    assert users.user_of_token(database, second) is not None
    users.set_disabled(database, "ann", True)
    assert users.user_of_token(database, second) is None
    users.set_disabled(database, "ann", False)
    assert users.user_of_token(database, second) is not None


def test_a_browsers_login_ends_after_its_days(database: Database, user: User) -> None:
    secret = users.create_token(database, user.id, label=f"{users.SESSION}{'0' * 32}")
    token = users.create_token(database, user.id)
    assert users.user_of_token(database, secret) is not None
    with database.session() as session:
        session.execute(update(Token).values(created=now() - timedelta(days=users.SESSION_DAYS, minutes=1)))
    assert users.user_of_token(database, secret) is None
    assert users.user_of_token(database, token) is not None


def test_names_and_roles_are_checked(database: Database, user: User) -> None:
    for name in ("ann", "", "A", "../x", "a" * 65, "<b>"):
        with pytest.raises(InputError):
            users.create_user(database, name)
    with pytest.raises(UnknownName, match="role"):
        users.create_user(database, "bob", role="king")
    with pytest.raises(InputError, match="0 \\(no limit\\)"):
        users.create_user(database, "bob", most_jobs=-1)
    with pytest.raises(UnknownName, match="user"):
        users.set_disabled(database, "nobody", True)


def test_the_one_user_without_login_is_an_admin_and_one(database: Database) -> None:
    first, second = users.me(database), users.me(database)
    assert (first.id, first.role) == (second.id, "admin")


def test_owners_shares_and_admins(database: Database, users: Make) -> None:
    from limner.apps.jobs.users import create_user

    ann, bob, eve, admin = users("ann"), users("bob"), users("eve"), create_user(database, "root", role="admin")
    row = concept(database, ann)
    with database.session() as session:
        access.share(session, ann, row.id, "bob")
        access.share(session, ann, row.id, "bob")  # twice is once
        with pytest.raises(InputError, match="yours already"):
            access.share(session, ann, row.id, "ann")
        with pytest.raises(NotFound, match="no user"):
            access.share(session, ann, row.id, "nobody")
    with database.reading() as session:
        assert [len(session.scalars(visible(Concept, each)).all()) for each in (ann, bob, eve, admin)] == [1, 1, 0, 0]
        assert [access.may_change(each, row) for each in (ann, bob, eve, admin)] == [True, False, False, False]
        with pytest.raises(NotFound, match="there is no concept"):
            find(session, eve, Concept, row.id)
    with database.session() as session, pytest.raises(NotFound):
        access.share(session, bob, row.id, "eve")
    with database.session() as session:
        access.unshare(session, ann, row.id, "bob")
        with pytest.raises(NotFound, match="not shared with"):
            access.unshare(session, ann, row.id, "bob")
    with database.reading() as session:
        assert session.scalars(visible(Concept, bob)).all() == []
        actions = session.scalars(select(Audit.action).where(Audit.about == row.id).order_by(Audit.id)).all()
    assert actions == ["concept.share", "concept.unshare"]


def test_files_are_read_by_those_whose_things_name_them(database: Database, files: Files, users: Make) -> None:
    ann, bob = users("ann"), users("bob")
    sha256 = store(database, files, b"picture", owner=ann.id, media_type="image/png")
    with database.reading() as session:
        assert may_read_file(session, ann, sha256)
        assert not may_read_file(session, bob, sha256)
    with database.session() as session:
        session.add(Picture(owner_id=bob.id, sha256=sha256))
    with database.reading() as session:
        assert may_read_file(session, bob, sha256)


def test_deleting_removes_the_files_that_nobody_else_names(database: Database, files: Files, users: Make) -> None:
    ann = users("ann")
    face, shared, weights = (
        store(database, files, data, owner=ann.id, media_type="image/png") for data in (b"face", b"shared", b"weights")
    )
    with database.session() as session:
        photos = [Reference(sha256=face), Reference(sha256=shared)]
        subject = Subject(owner_id=ann.id, name="rex", noun="dog", pictures=photos)
        picture = Picture(owner_id=ann.id, sha256=shared)
        session.add_all([subject, picture])
    row = concept(database, ann, sha256=weights)
    with database.session() as session:
        retention.delete_subject(session, session.get_one(Subject, subject.id))
        retention.delete_concept(session, session.get_one(Concept, row.id))
    assert sorted(sweep(database, files, grace=LATER)) == sorted([face, weights])
    assert list(files.all()) == [shared]
    with database.session() as session:
        retention.delete_picture(session, session.get_one(Picture, picture.id))
    assert sweep(database, files, grace=LATER) == [shared]
    with database.reading() as session:
        assert session.scalars(select(File)).all() == []
        assert session.scalars(select(Reference)).all() == []
        assert session.scalars(visible(Concept, ann)).all() == []


def test_a_job_is_deleted_once_it_is_over(database: Database, files: Files, user: User) -> None:
    id = submit(database, owner=user.id, kind="export", payload={})
    with database.session() as session, pytest.raises(InputError, match="cancel it"):
        retention.delete_job(session, session.get_one(Job, id))
    assert claim(database, worker="w")
    sha256 = store(database, files, b"export", owner=user.id, media_type="application/octet-stream")
    result: dict[str, Any] = {"files": [{"name": "rex.safetensors", "sha256": sha256, "bytes": 6}]}
    finish(database, id, "w", "done", result=result)
    assert sweep(database, files, grace=LATER) == []
    with database.session() as session:
        retention.delete_job(session, session.get_one(Job, id))
    assert sweep(database, files, grace=LATER) == [sha256]
