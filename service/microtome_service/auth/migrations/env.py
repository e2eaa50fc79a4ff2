"""Run by Alembic: migrates over the connection that `Database.upgrade` hands in."""

from alembic import context

from microtome_service.auth.models import METADATA


def migrate() -> None:
    """Do what Alembic was asked to do, in one transaction."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


# Without it nobody migrates: the module is only being looked at.
if hasattr(context, "config"):
    migrate()
