"""The index of search, which is made anew from the stores."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NAME = sa.String(64)


def upgrade() -> None:
    """Make the tables of the index."""
    op.create_table(
        "search_datasets",
        sa.Column("key", sa.Integer, primary_key=True),
        sa.Column("root", _NAME, nullable=False),
        sa.Column("collection", _NAME, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("place", sa.String(129), nullable=False),
        sa.Column("digest", _NAME, nullable=False),
        sa.Column("nbytes", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.String(32), nullable=False),
        sa.Column("annotations", sa.Text, nullable=False),
    )
    place = ["root", "collection", "name"]
    op.create_index("search_datasets_place", "search_datasets", place, unique=True)
    op.create_table(
        "search_layers",
        sa.Column("dataset", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("nbytes", sa.BigInteger, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
    )
    op.create_table(
        "search_terms",
        sa.Column("dataset", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("field", sa.String(16), primary_key=True),
        sa.Column("term", sa.String(200), primary_key=True),
        sa.Column("label", sa.String(200), nullable=False),
    )
    op.create_index("search_terms_term", "search_terms", ["field", "term", "dataset", "number"])
    op.create_table(
        "search_state",
        sa.Column("root", _NAME, primary_key=True),
        sa.Column("looked", sa.Float(53), nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("datasets", sa.Integer, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE search_words USING "
            "fts5(words, tokenize = \"unicode61 remove_diacritics 0\", prefix = '2 3')"
        )
    else:
        op.execute("CREATE TABLE search_words (key integer PRIMARY KEY, words tsvector NOT NULL)")
        op.execute("CREATE INDEX search_words_words ON search_words USING gin (words)")


def downgrade() -> None:
    """Remove the index; a later version makes it anew."""
    for table in (
        "search_words", "search_state", "search_terms", "search_layers", "search_datasets",
    ):  # fmt: skip
        op.drop_table(table)
