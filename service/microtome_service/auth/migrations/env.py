"""Run by Alembic: migrates over the connection that `Database.upgrade` hands in."""

from alembic import context

from microtome_service.auth.models import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
