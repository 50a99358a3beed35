"""Gallery: search, favourites and boards; each picture with its settings."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import delete, select
from starlette.responses import Response

from limner.apps.api.errors import not_found
from limner.apps.api.routes.common import find_own, note
from limner.apps.jobs import retention
from limner.apps.jobs.access import ID
from limner.apps.jobs.tables import Board, BoardPicture, Picture, User
from limner.errors import InputError

from .rows import boards_of, pictures_of, visible_picture
from .view import Form, go, is_fragment, reading, render, text, user_of, writing
from .words import nested_rows, picture_scores
from .words import number as short

router = APIRouter(include_in_schema=False)
PAGE = 48
ALL_PURPOSES = ("gallery", "sample", "preview", "compare", "state")


@router.get("/gallery")
def show(
    request: Request, q: str = "", board: str = "", favourites: bool = False, every: bool = False, page: int = 0
) -> Response:
    """The user's pictures. every: samples, previews and comparisons as well."""
    page = min(max(page, 0), 10_000)
    with reading(request) as session:
        user = user_of(request)
        if board:
            own_board(session, board, user)
        purposes = ALL_PURPOSES if every or board else ("gallery",)
        pictures = pictures_of(
            session,
            user,
            search=q[:200],
            board=board,
            favourites=favourites,
            purposes=purposes,
            limit=PAGE + 1,
            offset=page * PAGE,
        )
        boards = boards_of(session, user)
    more = len(pictures) > PAGE
    chosen: dict[str, Any] = {"q": q[:200], "board": board, "favourites": favourites, "every": every}
    return render(
        request,
        "gallery.html",
        title="Gallery",
        pictures=pictures[:PAGE],
        boards=boards,
        page=page,
        more=more,
        **chosen,
    )


@router.post("/boards")
def add_board(request: Request, form: Form) -> Response:
    name = text(form, "name", most=64)
    if not name:
        raise InputError("a board needs a name")
    with writing(request) as session:
        board = _board_named(session, user_of(request), name)
    return go(request, f"/gallery?board={board.id}")


def own_board(session: Any, board_id: str, user: User) -> Board:
    board: Board | None = session.get(Board, board_id) if ID.fullmatch(board_id) else None
    if board is None or board.owner_id != user.id:
        raise not_found("board")
    return board


def _board_named(session: Any, user: User, name: str) -> Board:
    """The user's board of that name, made where there is none."""
    board: Board | None = session.scalar(select(Board).where(Board.owner_id == user.id, Board.name == name))
    if board is None:
        board = Board(owner_id=user.id, name=name)
        session.add(board)
        session.flush()
    return board


@router.post("/boards/{board_id}/delete")
def delete_board(request: Request, board_id: str) -> Response:
    """Delete a board; its pictures stay."""
    with writing(request) as session:
        board = own_board(session, board_id, user_of(request))
        session.execute(delete(BoardPicture).where(BoardPicture.board_id == board.id))
        session.delete(board)
    return go(request, "/gallery", "deleted")


# ---------------------------------------------------------------------------------------------------------- one picture


@router.get("/pictures/{picture_id}")
def show_picture(request: Request, picture_id: str) -> Response:
    """A picture with its settings: a page, or the content of the lightbox."""
    return _picture(request, picture_id)


def _picture(request: Request, picture_id: str) -> Response:
    with reading(request) as session:
        user = user_of(request)
        picture = visible_picture(session, picture_id, user)
        boards = boards_of(session, user) if picture.owner_id == user.id else []
        on = set(session.scalars(select(BoardPicture.board_id).where(BoardPicture.picture_id == picture.id)))
    return render(
        request,
        "look.html" if is_fragment(request) else "picture.html",
        title=picture.prompt[:60] or "Picture",
        p=picture,
        own=picture.owner_id == user.id,
        scores=picture_scores(picture.scores),
        facts=facts_of(picture),
        boards=[(board, board.id in on) for board, _ in boards],
    )


def facts_of(picture: Picture) -> list[tuple[str, str]]:
    """The settings that a picture was painted with."""
    rows = [("Seed", str(picture.seed)), ("Base", picture.base)]
    rows += [(f"Strength of {each.get('name', '')}", short(each.get("scale", 1.0))) for each in picture.concepts]
    for name, value in picture.settings.items():
        if isinstance(value, dict):
            rows += nested_rows(name, value)
        elif value not in ("", None, []) and not isinstance(value, list):
            rows.append((name, short(value)))
    # each concept has a strength of its own
    return [row for row in rows if row[1] and not (row[0] == "scale" and picture.concepts)]


@router.post("/pictures/{picture_id}/favourite")
def favour(request: Request, picture_id: str) -> Response:
    with writing(request) as session:
        picture = find_own(session, Picture, picture_id, user_of(request))
        picture.favourite = not picture.favourite
    return _picture(request, picture_id) if is_fragment(request) else go(request, f"/pictures/{picture_id}")


@router.post("/pictures/{picture_id}/board")
def put_on_board(request: Request, picture_id: str, form: Form) -> Response:
    """Put a picture on a board, old or new, or take it off."""
    with writing(request) as session:
        user = user_of(request)
        picture = find_own(session, Picture, picture_id, user)
        if name := text(form, "name", most=64):
            board = _board_named(session, user, name)
        else:
            board = own_board(session, text(form, "board", most=32), user)
        known = session.get(BoardPicture, (board.id, picture.id))
        if known is None:
            session.add(BoardPicture(board_id=board.id, picture_id=picture.id))
        elif not text(form, "name"):
            session.delete(known)
    return _picture(request, picture_id) if is_fragment(request) else go(request, f"/pictures/{picture_id}", "saved")


@router.post("/pictures/{picture_id}/delete")
def delete_picture(request: Request, picture_id: str) -> Response:
    with writing(request) as session:
        picture = find_own(session, Picture, picture_id, user_of(request))
        retention.delete_picture(session, picture)
        note(session, request, "picture.delete", picture.id)
    return go(request, "/gallery", "deleted")
