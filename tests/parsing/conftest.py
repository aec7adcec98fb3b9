"""Files to parse: real ones from an archive beside the repository, and small ones made here."""

import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from parsing.pdf_writer import Text, write_pdf

ARCHIVE = Path(__file__).parents[3] / "shared/data/documents/fixtures.tar.gz"


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of real files."""
    if not ARCHIVE.exists():
        pytest.skip(f"no archive of real files at {ARCHIVE}")
    folder = tmp_path_factory.mktemp("fixtures")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def make_pdf(tmp_path: Path) -> Callable[[Sequence[Sequence[Text]]], Path]:
    """Writes pages of positioned texts to a PDF."""

    def make(pages: Sequence[Sequence[Text]]) -> Path:
        path = tmp_path / "made.pdf"
        path.write_bytes(write_pdf(pages))
        return path

    return make


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """A page nested so deep that its parser, which is quadratic in depth, takes minutes."""
    path = tmp_path / "deep.html"
    path.write_text("<html><body>" + "<div>" * 600_000 + "deep")
    return path
