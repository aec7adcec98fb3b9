"""The files at paths, folders and glob patterns, and a report on each that is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from moli.parsing import SUFFIXES
from moli.parsing.formats import AUDIO, SET_SPEECH, advice_on_suffix
from moli.records.file_names import file_name_text, has_utf8_name, path_of_argument
from moli.records.ingestion import FileOutcome, FileReport


def discover(
    paths: Sequence[str], *, recordings: bool = False
) -> tuple[list[Path], list[FileReport]]:
    """Files at `paths` (files, folders, glob patterns), and a report on each path that is left out.

    In folders, and in folders that are linked there, files with an unknown suffix are reported as
    skipped, and hidden files are ignored. A file that is named itself is returned whatever its
    name.

    Args:
        recordings: whether recordings in folders can be read, or are to be reported as skipped.
    """
    files: dict[Path, None] = {}
    reports: list[FileReport] = []
    for text in paths:
        try:
            path = absolute_path(text)
            matches = [path] if path.exists() else _glob_matches(path)
        except (OSError, RuntimeError, ValueError):  # too long, no such user, or a NUL
            matches = []
        if not matches:
            reports.append(_report(text, "missing", "no such file or folder. Check the path"))
        for path in matches:
            for entry in _Folder(path, recordings) if path.is_dir() else [_named_file(path)]:
                if isinstance(entry, FileReport):
                    reports.append(entry)
                else:
                    files[entry] = None
    return list(files), reports


def _named_file(path: Path) -> Path | FileReport:
    """A file that is named itself, or a report that it is none."""
    if not path.is_file():
        return _report(path, "unsupported", "neither a file nor a folder")
    return _with_utf8_name(path)


def _with_utf8_name(path: Path) -> Path | FileReport:
    """The file, or a report that its name cannot be stored."""
    if not has_utf8_name(path):
        return _report(path, "unsupported", "its name is not UTF-8. Rename it")
    return path


class _Folder:
    """The files below a folder in order of name, then those below folders that are linked there.

    Files and links that are left out become reports, but hidden ones. A linked folder is read once.
    """

    def __init__(self, folder: Path, recordings: bool) -> None:
        self._folder, self._recordings = folder, recordings
        self._links: list[Path] = []
        self._read: set[str] = set()

    def __iter__(self) -> Iterator[Path | FileReport]:
        yield from self._files_below(self._folder)
        while self._links:
            link = self._links.pop(0)
            target = os.path.realpath(link)
            is_around = os.path.realpath(self._folder).startswith(target.rstrip("/") + "/")
            if target in self._read or is_around:
                yield _report(link, "unsupported", "a link to a folder that is read already",
                              outcome="skipped")  # fmt: skip
            else:
                yield from self._files_below(link)

    def _files_below(self, top: Path) -> Iterator[Path | FileReport]:
        """Files and reports below a folder; links to folders are kept for later."""
        for root, folders, names in os.walk(top):
            self._read.add(os.path.realpath(root))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            self._links += [Path(root, name) for name in folders if Path(root, name).is_symlink()]
            for name in sorted(names):
                if not name.startswith("."):
                    yield from _listed_file(Path(root, name), self._recordings)


def _listed_file(path: Path, recordings: bool) -> Iterator[Path | FileReport]:
    """A file in a folder, a report that it is left out, or nothing for a pipe or device."""
    suffix = path.suffix.lower()
    if not path.exists():
        yield _report(path, "missing", "a link to what is not there. Mend or remove it",
                      outcome="skipped")  # fmt: skip
    elif not path.is_file():
        return
    elif suffix not in SUFFIXES:
        kind = f"{suffix} files are" if suffix else "a file without a suffix is"
        advice = advice_on_suffix(suffix).rstrip(".")
        yield _report(path, "unsupported", f"{kind} not read from a folder. {advice}",
                      outcome="skipped")  # fmt: skip
    elif SUFFIXES[suffix] == AUDIO and not recordings:
        fix = SET_SPEECH.rstrip(".")
        yield _report(path, "missing_tool", f"recordings need a speech model. {fix}",
                      outcome="skipped")  # fmt: skip
    else:
        yield _with_utf8_name(path)


def absolute_path(text: str) -> Path:
    """The absolute path without `~` and `..`, so that each file has one spelling."""
    path = path_of_argument(text).expanduser().absolute()
    return path.resolve() if ".." in path.parts else path


def _report(
    path: Path | str, reason: str, what: str, outcome: FileOutcome = "failed"
) -> FileReport:
    """A report that a path was not added, for the reason in words `what`."""
    name = file_name_text(path)
    return FileReport(name, outcome, reason=reason, message=f"{name}: {what}.")


def _glob_matches(pattern: Path) -> list[Path]:
    """The paths that match a glob pattern, sorted; none if it has no wildcard."""
    parts = pattern.parts
    fixed = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    if fixed == len(parts):
        return []
    return sorted(Path(*parts[:fixed]).glob(str(Path(*parts[fixed:]))))
