"""Bringing the schema of a catalog up to date, with Alembic.

Only writers migrate: a reader that finds another schema says so (`connecting.check_schema`).
"""

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from sora_search.index.catalog import CATALOG_NAME, Catalog, check_not_lost
from sora_search.index.connecting import REVISIONS, check_schema, schema_revision
from sora_search.index.locking import LOCK_NAME, IndexLock


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Which schema a catalog has, and which is the newest this program knows."""

    revision: str | None
    newest: str

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to upgrade."""
        return self.revision == self.newest


def current(path: Path | str) -> SchemaState:
    """The schema of the index at `path`; changes nothing.

    Raises:
        IndexNotFoundError: If there is no index.
        IndexDamagedError: If the catalog cannot be read, or was lost.
    """
    check_not_lost(Path(path))
    with Catalog.open(Path(path) / CATALOG_NAME, writable=False, any_schema=True) as catalog:
        return SchemaState(revision=catalog.revision(), newest=REVISIONS[-1])


def upgrade(path: Path | str, *, wait: bool = False) -> SchemaState:
    """Bring the schema of the index at `path` up to date; what it was before.

    Raises:
        IndexNotFoundError: If there is no index.
        IndexLockedError: If another process is writing and `wait` is False.
        IndexSchemaError: If a newer version of the program made it.
        IndexDamagedError: If the catalog cannot be read, or was lost.
    """
    before = current(path)
    with (
        IndexLock(Path(path) / LOCK_NAME, wait=wait),
        Catalog.open(Path(path) / CATALOG_NAME, writable=True, any_schema=True) as catalog,
    ):
        migrate(catalog)
    return before


def migrate(catalog: Catalog) -> None:
    """Run the migrations that a catalog open for writing lacks, all in one transaction.

    Raises:
        IndexSchemaError: If a newer version of the program made it.
    """
    with catalog.changing_schema() as connection:
        revision = schema_revision(connection)
        if revision is not None and revision not in REVISIONS:
            check_schema(revision, catalog.path)
        if revision != REVISIONS[-1]:
            _run(connection)


def _run(connection: Connection) -> None:
    config = Config()
    # Alembic reads settings as configparser does, where a `%` starts a variable.
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def migrations_folder() -> Path:
    """Where the migrations are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"
