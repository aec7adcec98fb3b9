"""What a search may see, as a condition on the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from moli.records.documents import EVERYONE
from moli.workspace import schema


@dataclass(frozen=True, slots=True)
class Filter:
    """What a search may see: documents open to one of `groups` that have all attributes in `where`.

    A document without groups, or a search without groups, matches nothing: access fails closed.
    `everything` sets groups aside; it is for the owner's work on the store, never for answering.
    """

    groups: frozenset[str] = frozenset((EVERYONE,))
    where: Mapping[str, str] = field(default_factory=dict)
    everything: bool = False

    def condition(self) -> sa.ColumnElement[bool]:
        """The filter as SQL over `documents`."""
        access, attributes = schema.access, schema.attributes
        # Each subquery is tied to `documents` alone, whatever else the query around it reads.
        opened = (
            sa.exists()
            .where(access.c.document_id == schema.documents.c.id, access.c.group.in_(self.groups))
            .correlate(schema.documents)
        )
        labelled = (
            sa.exists()
            .where(
                attributes.c.document_id == schema.documents.c.id,
                attributes.c.key == key,
                attributes.c.value == value,
            )
            .correlate(schema.documents)
            for key, value in self.where.items()
        )
        return sa.and_(sa.true() if self.everything else opened, *labelled)
