"""Of the index of search which generation it is, and the values of a dataset in one place.

What there was is looked at anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = ("search_datasets", "search_layers", "search_terms", "search_state", "search_words")


def upgrade() -> None:
    """Empty the index, and give it the form that it has now."""
    for table in _TABLES:
        op.execute(f"DELETE FROM {table}")  # noqa: S608 - names from above
    op.add_column(
        "search_datasets", sa.Column("facets", sa.Text, nullable=False, server_default="")
    )
    op.drop_column("search_terms", "label")
    op.create_table(
        "search_generations",
        sa.Column("root", sa.String(64), primary_key=True),
        sa.Column("generation", sa.String(32), nullable=False),
    )


def downgrade() -> None:
    """Empty the index, and give it the form that it had."""
    op.drop_table("search_generations")
    for table in _TABLES:
        op.execute(f"DELETE FROM {table}")  # noqa: S608 - names from above
    op.add_column(
        "search_terms", sa.Column("label", sa.String(200), nullable=False, server_default="")
    )
    op.drop_column("search_datasets", "facets")
