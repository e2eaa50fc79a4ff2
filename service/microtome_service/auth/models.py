"""The tables. Times are whole seconds since 1970, UTC; every change here needs a migration."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

METADATA = MetaData()

# Two names of 64 letters at most, and the stroke between them.
_PLACE = String(129)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("role", SmallInteger, nullable=False),
    Column("place", _PLACE, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("revoked", BigInteger),
    Column("used", BigInteger),
)

VISIBILITY = Table(
    "visibility",
    METADATA,
    Column("place", _PLACE, primary_key=True),
    Column("public", Boolean, nullable=False),
)

GRANTS = Table(
    "grants",
    METADATA,
    Column("place", _PLACE, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("subject", String(200), primary_key=True),
    Column("role", SmallInteger, nullable=False),
)

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("key_id", String(16), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    # Of users; empty for those of keys, whose id is empty for users.
    Column("issuer", Text, nullable=False, server_default=""),
    Column("subject", String(200), nullable=False, server_default=""),
    Column("subject_groups", Text, nullable=False, server_default=""),
)

LINKS = Table(
    "links",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("page", String(200), nullable=False),
    Column("state", Text, nullable=False),
    Column("used", BigInteger, nullable=False),
    Index("links_used", "used"),
)
