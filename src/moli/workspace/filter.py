"""A filter of documents by access groups, attributes and language, as an SQL condition."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from moli.records.documents import EVERYONE
from moli.workspace import schema


@dataclass(frozen=True, slots=True)
class Filter:
    """The documents that a search may return.

    A document without groups, or a search without groups, matches nothing: access fails closed.

    Attributes:
        groups: the document must be open to one of these groups.
        where: the document must have all of these attributes.
        language: the document must be in this language; None for any.
        everything: ignore groups; for the owner's work on the store, never for answering.
    """

    groups: frozenset[str] = frozenset((EVERYONE,))
    where: Mapping[str, str] = field(default_factory=dict)
    everything: bool = False
    language: str | None = None

    def condition(self) -> sa.ColumnElement[bool]:
        """The filter as an SQL condition on `documents`."""
        access, attributes = schema.access, schema.attributes
        # Each subquery is tied to `documents` alone, whatever else the query around it reads.
        has_access = (
            sa.exists()
            .where(access.c.document_id == schema.documents.c.id, access.c.group.in_(self.groups))
            .correlate(schema.documents)
        )
        has_attributes = (
            sa.exists()
            .where(
                attributes.c.document_id == schema.documents.c.id,
                attributes.c.key == key,
                attributes.c.value == value,
            )
            .correlate(schema.documents)
            for key, value in self.where.items()
        )
        has_language = schema.documents.c.language == self.language if self.language else sa.true()
        return sa.and_(sa.true() if self.everything else has_access, has_language, *has_attributes)
