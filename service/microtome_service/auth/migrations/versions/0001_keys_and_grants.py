"""Keys, visibility and grants."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_PLACE = sa.String(129)


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "keys",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("place", _PLACE, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("used", sa.BigInteger),
    )
    op.create_table(
        "visibility",
        sa.Column("place", _PLACE, primary_key=True),
        sa.Column("public", sa.Boolean, nullable=False),
    )
    op.create_table(
        "grants",
        sa.Column("place", _PLACE, primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("subject", sa.String(200), primary_key=True),
        sa.Column("role", sa.SmallInteger, nullable=False),
    )


def downgrade() -> None:
    """Remove them, with all keys and grants."""
    for table in ("grants", "visibility", "keys"):
        op.drop_table(table)
