"""API keys of a server's users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["admin", "use"]


@dataclass(frozen=True, slots=True)
class Key:
    """An API key and its permissions, without its secret: only a hash of that is stored.

    Attributes:
        scope: `use` may send requests; `admin` may also see the server's state.
        tenant: the tenant whose answers, feedback and caches the bearer shares.
        groups: access groups that the bearer belongs to.
        created_at: seconds since 1970.
        revoked_at: seconds since 1970; None while the key is valid.
    """

    name: str
    scope: Scope
    tenant: str
    groups: tuple[str, ...]
    created_at: float
    revoked_at: float | None = None
