"""Alembic's entry: it runs the migrations on the connection that `database.upgrade` hands over."""

from __future__ import annotations

from alembic import context

from limner.apps.jobs.tables import Table

connection = context.config.attributes["connection"]
# SQLite changes a column by copying its table: `render_as_batch`
context.configure(connection=connection, target_metadata=Table.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
