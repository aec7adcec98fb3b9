"""The tables of the workspace's database, from which search indexes are derived."""

import re

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
)

metadata = MetaData()


class CleanText(TypeDecorator[str]):
    """Text that every database can store: NUL and lone surrogates are replaced one for one."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: object) -> str | None:
        """The text with characters replaced that a database cannot store."""
        return None if value is None else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

# SQLite numbers rows itself only for INTEGER; PostgreSQL needs the wider type spelled out.
_Id = BigInteger().with_variant(Integer, "sqlite")


def _document_id(primary_key: bool = False, index: bool = False) -> Column[int]:
    """A column with the id of a document; a row is deleted with its document."""
    return Column(
        "document_id",
        _Id,
        ForeignKey("documents.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
        index=index,
    )


# One row. Derived files are stored under this name and never confused with another database's.
identity = Table("identity", metadata, Column("name", String(32), primary_key=True))

documents = Table(
    "documents",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("source", CleanText, nullable=False, unique=True),
    Column("title", CleanText, nullable=False),
    Column("format", String(16), nullable=False),
    Column("language", String(8), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("characters", BigInteger, nullable=False),
    Column("pages", JSON, nullable=False),  # offset at which each page begins
    Column("headings", JSON, nullable=False),  # [offset, level, text] of each
    Column("warnings", JSON, nullable=False),
    Column("added_at", Float, nullable=False),  # seconds since the epoch
    Column("times", JSON, nullable=False, server_default="[]"),  # [offset, seconds] of each
    sqlite_autoincrement=True,
)

access = Table(
    "access",
    metadata,
    _document_id(primary_key=True),
    Column("group", CleanText, primary_key=True),
    Index("ix_access_group", "group", "document_id"),
)

attributes = Table(
    "attributes",
    metadata,
    _document_id(primary_key=True),
    Column("key", CleanText, primary_key=True),
    Column("value", CleanText, primary_key=True),
    # Whether a user gave it, instead of the file; then it is kept when the file changes.
    Column("given", Boolean, nullable=False, server_default=false()),
    Index("ix_attributes_value", "key", "value", "document_id"),
)

# The texts of a document's passages, in order, concatenate to the document's text.
passages = Table(
    "passages",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    _document_id(index=True),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("heading", CleanText, nullable=False),
    Column("text", CleanText, nullable=False),
)

vectors = Table(
    "vectors",
    metadata,
    Column("passage_id", _Id, ForeignKey("passages.id", ondelete="CASCADE"), primary_key=True),
    Column("encoder", CleanText, primary_key=True),
    Column("vector", LargeBinary, nullable=False),  # float16, little endian
)

# One row for each range of passages that was added or removed. Passage numbers are never reused, so
# the log alone tells an index which passages to add and to remove, even after their rows are gone.
changes = Table(
    "changes",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=True),
    Column("kind", String(8), nullable=False),  # "add" or "remove"
    Column("document_id", _Id, nullable=False),
    Column("first_passage", _Id, nullable=False),
    Column("last_passage", _Id, nullable=False),
    sqlite_autoincrement=True,
)

traces = Table(
    "traces",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_at", Float, nullable=False, index=True),
    Column("payload", JSON, nullable=False),
    Column("tenant", CleanText, nullable=False, server_default=text("''")),
)

# By source, not by id: a trace quotes one version, and is redacted with any version's removal.
trace_sources = Table(
    "trace_sources",
    metadata,
    Column("trace_id", String(32), ForeignKey("traces.id", ondelete="CASCADE"), primary_key=True),
    Column("source", CleanText, primary_key=True, index=True),
)

# Requests to language models by name, and their answers.
exchanges = Table(
    "exchanges",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("tenant", CleanText, nullable=False),
    Column("adapter", String(64), nullable=False),  # hash of its content; empty: the base alone
    Column("shadow_of", String(32), nullable=False),  # the exchange that was shown; empty: this one
    Column("payload", JSON, nullable=False),
    Index("ix_exchanges_tenant", "tenant", "created_at"),
    Index("ix_exchanges_adapter", "adapter", "created_at"),
    Index("ix_exchanges_shadow", "shadow_of"),
)

# Feedback on answers, whether from documents (traces) or from models alone (exchanges).
feedback = Table(
    "feedback",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("answer_id", String(32), nullable=False, index=True),
    Column("choice", Integer, nullable=False),
    Column("rating", String(4), nullable=False),  # "up", "down" or empty
    Column("comment", CleanText, nullable=False),
    Column("correction", CleanText, nullable=False),
    Column("tenant", CleanText, nullable=False, index=True),
    Column("key", CleanText, nullable=False),  # name of the key
    Column("created_at", Float, nullable=False),
)

# Only the hash of a key's secret is stored. It has 256 random bits, so a salt would not help.
keys = Table(
    "keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("scope", String(8), nullable=False),  # "admin" or "use"
    Column("tenant", CleanText, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
)

# The model that answers the same requests as an alias, unseen, and how often. As with aliases, the
# newest row counts.
shadows = Table(
    "shadows",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("alias", String(64), nullable=False, index=True),
    Column("hash", String(64), nullable=False),  # hash of the model; empty: no shadow any more
    Column("share", Float, nullable=False),  # share of the requests, 0 to 1
    Column("set_at", Float, nullable=False),
)

tunings = Table(
    "tunings",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("encoder", CleanText, nullable=False, server_default=text("''")),
    Column("language", String(8), nullable=False),  # of queries
    Column("passage_language", String(8), nullable=False, server_default=text("''")),
    Column("method", String(16), nullable=False),
    Column("weight", Float, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
)

# The models that each alias has pointed at; the newest row counts. Rows are added and never
# changed, so that an alias can be moved back.
aliases = Table(
    "aliases",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False),
    Column("hash", String(64), nullable=False),  # hash of the model's content; empty: none any more
    Column("set_at", Float, nullable=False),  # seconds since the epoch
    Index("ix_aliases_name", "name", "id"),
)
