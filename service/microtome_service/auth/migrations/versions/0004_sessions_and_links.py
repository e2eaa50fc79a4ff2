"""Sessions of browsers, and short links to what the viewer shows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make their tables."""
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "links",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("page", sa.String(200), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
    )
    op.create_index("links_used", "links", ["used"])


def downgrade() -> None:
    """Remove them: who is signed in by a browser signs in again, and short links are gone."""
    op.drop_index("links_used", "links")
    for table in ("links", "sessions"):
        op.drop_table(table)
