"""What Alembic runs for every command: migrate over the connection that `database.upgrade` made."""

from alembic import context

from gateway.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can undo a CREATE TABLE as well, and changes a column only by copying the table.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
