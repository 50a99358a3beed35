"""/api/boards: named collections of pictures."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from limner.apps.jobs.access import ID
from limner.apps.jobs.tables import Board, BoardPicture, Picture, User

from ..errors import ApiError, not_found
from ..fields import Fields, Name, Record
from .common import Me, Work, find_own
from .records import when

router = APIRouter(prefix="/api/boards", tags=["pictures"])


class NamedBoard(Fields):
    """A board's name."""

    name: Name


@router.get("")
def list_boards(work: Work, me: Me) -> Record:
    """The user's boards with their numbers of pictures."""
    # deleting a picture takes it off its boards
    count = select(func.count()).select_from(BoardPicture).where(BoardPicture.board_id == Board.id)
    wanted = select(Board, count.scalar_subquery()).where(Board.owner_id == me.id).order_by(Board.name)
    with work.database.reading() as session:
        return {"boards": [_record(row, number) for row, number in session.execute(wanted)]}


def _record(row: Board, pictures: int) -> Record:
    return {"id": row.id, "name": row.name, "pictures": pictures, "created": when(row.created)}


@router.post("", status_code=201)
def create_board(board: NamedBoard, work: Work, me: Me) -> Record:
    """Create a board."""
    with work.database.session() as session:
        _check_free(session, me, board.name)
        row = Board(owner_id=me.id, name=board.name)
        session.add(row)
        session.flush()
        return _record(row, 0)


def _find(session: Session, number: str, me: User) -> Board:
    row = session.get(Board, number) if ID.fullmatch(number) else None
    if row is None or row.owner_id != me.id:
        raise not_found("board")
    return row


def _check_free(session: Session, me: User, name: str) -> None:
    wanted = select(Board.id).where(Board.owner_id == me.id, Board.name == name)
    if session.scalar(wanted) is not None:
        raise ApiError(409, "name_taken", f"you have a board {name!r} already")


@router.patch("/{number}")
def rename_board(number: str, board: NamedBoard, work: Work, me: Me) -> Record:
    """Rename a board."""
    with work.database.session() as session:
        row = _find(session, number, me)
        if row.name != board.name:
            _check_free(session, me, board.name)
        row.name = board.name
        pictures = select(func.count()).select_from(BoardPicture).where(BoardPicture.board_id == number)
        return _record(row, session.scalar(pictures) or 0)


@router.delete("/{number}")
def delete_board(number: str, work: Work, me: Me) -> Record:
    """Delete a board; its pictures stay."""
    with work.database.session() as session:
        row = _find(session, number, me)
        session.execute(delete(BoardPicture).where(BoardPicture.board_id == number))
        session.delete(row)
        return {"deleted": number}


@router.put("/{number}/pictures/{picture}")
def add_picture(number: str, picture: str, work: Work, me: Me) -> Record:
    """Put a picture on a board."""
    with work.database.session() as session:
        _find(session, number, me)
        find_own(session, Picture, picture, me)
        session.merge(BoardPicture(board_id=number, picture_id=picture))
        return {"board": number, "picture": picture}


@router.delete("/{number}/pictures/{picture}")
def remove_picture(number: str, picture: str, work: Work, me: Me) -> Record:
    """Take a picture off a board."""
    with work.database.session() as session:
        _find(session, number, me)
        session.execute(delete(BoardPicture).where(BoardPicture.board_id == number, BoardPicture.picture_id == picture))
        return {"board": number, "picture": picture}
