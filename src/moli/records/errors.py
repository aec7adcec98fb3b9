"""One error family. Every message says what happened, where, and what to do next."""


class MoliError(Exception):
    """An error that a person can act on.

    Args:
        what: the fact, as a sentence without its full stop.
        where: the file, field or address concerned; empty if there is none.
        fix: the next step, as a full sentence; empty if nothing can be done.
    """

    code = "error"

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what, where, fix)

    def __str__(self) -> str:
        located = f"{self.where}: {self.what}" if self.where else self.what
        return f"{located}. {self.fix}" if self.fix else located


class SettingsError(MoliError):
    """A setting is unknown or has a value that cannot be used."""

    code = "settings"


class WorkspaceError(MoliError):
    """A workspace is missing, in use or from another version."""

    code = "workspace"


class InputError(MoliError):
    """The caller's input cannot be used."""

    code = "input"


class NotFoundError(MoliError):
    """Nothing with that name or number is in the workspace."""

    code = "not_found"


class AccessError(MoliError):
    """The caller has no permission."""

    code = "access"


class BusyError(MoliError):
    """Too many requests are in progress.

    Args:
        seconds: time after which to try again.
    """

    code = "busy"

    def __init__(self, seconds: int, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.seconds = seconds
        self.args = (seconds, what, where, fix)


class ModelError(MoliError):
    """A model cannot be loaded or did not answer."""

    code = "model"


class DocumentError(MoliError):
    """A document cannot be read.

    `reason` is a code: broken, encrypted, too_large, bomb, misnamed, unsupported,
    empty, timeout, memory, missing.
    """

    code = "document"

    def __init__(self, reason: str, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.reason = reason
        self.args = (reason, what, where, fix)
