"""The log of what people decided: lines are added to it, never changed or deleted."""

import getpass
from typing import get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from sora_search.datatypes import Decision
from sora_search.errors import ConfigError, VerdictNotFoundError
from sora_search.index.catalog import MAX_ID, Catalog
from sora_search.index.records import Verdict
from sora_search.index.rows import now, to_text, to_verdicts
from sora_search.index.tables import ContentRow, FileRow, VerdictRow


class VerdictLog:
    """The log of one index. It lies in the catalog and is about contents, not about videos."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def add(
        self,
        decision: Decision,
        *,
        query_content_id: str,
        query_uri: str,
        video_content_id: str,
        video_uri: str,
        by: str | None,
    ) -> Verdict:
        """Add a line that decides; it stands from now on.

        Raises:
            ConfigError: If `by` is None and the user has no name.
            ValueError: If `decision` is another word or `by` is empty.
        """
        if decision not in get_args(Decision):
            raise ValueError(f"need one of {', '.join(get_args(Decision))}, got {decision=}")
        decided_by = _name_of(by)
        with self._catalog.writing() as session:
            session.add(
                VerdictRow(
                    query_content_id=query_content_id,
                    query_uri=query_uri,
                    video_content_id=video_content_id,
                    video_uri=video_uri,
                    decision=decision,
                    decided_by=to_text(decided_by),
                    decided_at=now(),
                )
            )
            return _select_lines(session, query_content_id)[-1]

    def undo(self, verdict_id: int, *, by: str | None) -> Verdict:
        """Add a line that takes back another.

        Raises:
            VerdictNotFoundError: If there is no such verdict, or it is undone already.
            ConfigError: If `by` is None and the user has no name.
            ValueError: If `by` is empty.
        """
        decided_by = _name_of(by)
        with self._catalog.writing() as session:
            row = session.get(VerdictRow, verdict_id) if 0 <= verdict_id <= MAX_ID else None
            if row is None:
                raise VerdictNotFoundError(
                    f"no verdict has the id {verdict_id}: `sora-search verdict list` shows them"
                )
            if row.decision is None:
                raise VerdictNotFoundError(
                    f"{verdict_id} is no verdict, it undoes {row.undoes}: "
                    "decide again with `sora-search verdict add`"
                )
            undo = select(VerdictRow.id).where(VerdictRow.undoes == verdict_id)
            if session.scalars(undo).one_or_none() is not None:
                raise VerdictNotFoundError(
                    f"verdict {verdict_id} is undone already: "
                    "`sora-search verdict list` shows what stands"
                )
            session.add(
                VerdictRow(
                    query_content_id=row.query_content_id,
                    query_uri=row.query_uri,
                    video_content_id=row.video_content_id,
                    video_uri=row.video_uri,
                    undoes=verdict_id,
                    decided_by=to_text(decided_by),
                    decided_at=now(),
                )
            )
            return _select_lines(session, row.query_content_id)[-1]

    def lines(self, query_content_id: str | None = None) -> list[Verdict]:
        """All of it, or what of it is about one query, oldest first."""
        with self._catalog.reading() as session:
            return _select_lines(session, query_content_id)

    def is_empty(self) -> bool:
        """Whether nobody ever decided anything."""
        with self._catalog.reading() as session:
            return session.scalars(select(VerdictRow.id).limit(1)).one_or_none() is None


def _select_lines(session: Session, query_content_id: str | None) -> list[Verdict]:
    uri = (
        select(FileRow.uri)
        .where(FileRow.content == ContentRow.id)
        .order_by(FileRow.missing, FileRow.id)
        .limit(1)
        .scalar_subquery()
    )
    statement = (
        select(VerdictRow, ContentRow.id, uri)
        .outerjoin(ContentRow, ContentRow.content_id == VerdictRow.video_content_id)
        .order_by(VerdictRow.id)
    )
    if query_content_id is not None:
        statement = statement.where(VerdictRow.query_content_id == query_content_id)
    return to_verdicts([tuple(found) for found in session.execute(statement)])


def _name_of(by: str | None) -> str:
    """Who decides: `by`, or the user of this process."""
    if by is not None:
        if not by.strip():
            raise ValueError(f"need a name, got {by=}")
        return by
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError) as error:  # as the version of Python has it
        raise ConfigError("your user has no name: say who decides with --by NAME") from error
