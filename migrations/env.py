"""Runs migrations over the connection that `sora_search.index.migration` hands in."""

from alembic import context

from sora_search.index.tables import Table

connection = context.config.attributes["connection"]
# SQLite changes tables only by copying them (batch), and can roll that back like all else.
context.configure(
    connection=connection,
    target_metadata=Table.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
