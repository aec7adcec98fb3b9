"""Keys of a server's users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["admin", "use"]


@dataclass(frozen=True, slots=True)
class Key:
    """What a key lets its bearer do. Its secret is not here: only a hash of it is kept.

    Attributes:
        scope: `use` may ask; `admin` may also see how the server does.
        tenant: whose answers, feedback and caches the bearer shares; never another tenant's.
        groups: the bearer sees documents as a member of these.
        created_at, revoked_at: in seconds since 1970; None while the key is good.
    """

    name: str
    scope: Scope
    tenant: str
    groups: tuple[str, ...]
    created_at: float
    revoked_at: float | None = None
