"""Sessions of users whom an issuer vouches for."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_COLUMNS = (("issuer", sa.Text), ("subject", sa.String(200)), ("subject_groups", sa.Text))


def upgrade() -> None:
    """Say whose they are."""
    for name, kind in _COLUMNS:
        op.add_column("sessions", sa.Column(name, kind, nullable=False, server_default=""))


def downgrade() -> None:
    """End them; those of keys stay."""
    op.execute("DELETE FROM sessions WHERE subject <> ''")
    for name, _ in _COLUMNS:
        op.drop_column("sessions", name)
