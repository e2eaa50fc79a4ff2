"""Sessions of users whom an issuer vouches for."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Say whose they are."""
    for name, kind in (
        ("issuer", sa.Text),
        ("subject", sa.String(200)),
        ("subject_groups", sa.Text),
    ):
        op.add_column("sessions", sa.Column(name, kind, nullable=False, server_default=""))
