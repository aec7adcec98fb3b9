"""The title of a document: its own if it is a good one, its first heading, or its file's name."""

import re
from pathlib import Path

from moli.parsing import SUFFIXES
from moli.records.documents import ParsedDocument

# Titles that programs give by default, and their names for what has none.
_DEFAULT = re.compile(
    r"\W*(?:untitled|unnamed|anonymous|unspecified|unknown|none|null|no title|title|new|"
    r"document|dokument|documento|presentation|präsentation|ohne titel|unbenannt|sans titre|"
    r"sin título|senza titolo|无标题|未命名|無標題|无题|新建|文档|演示文稿|無題|제목 없음|"
    r"word document|"
    r"powerpoint[- ](?:presentation|präsentation)|powerpoint 演示文稿|microsoft \w+ - .*|"
    r"slide|sheet|幻灯片|工作表)?[\s_-]*"
    r"(?:document|presentation|slide|page|文档|演示文稿|文件)?[\s\W\d]*",
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(r"\W*(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{16,})\W*",
                         re.IGNORECASE)  # fmt: skip
_OLD_SUFFIXES = {".doc", ".ppt", ".dot", ".pages", ".key", ".numbers", ".wpd", ".indd", ".pub",
                 ".dvi", ".ps", ".tmp"}  # fmt: skip
_MAX_TITLE = 300
# Formats whose first heading is the name of one part among others.
_FORMATS_OF_PARTS = {"xlsx", "xls", "ods", "zip"}


def title_of(parsed: ParsedDocument, path: Path, file_format: str) -> str:
    """The title of the document in a file.

    Args:
        parsed: the parsed document, with the title that the file states.
        file_format: name of its format, as in `SUFFIXES`.
    """
    has_parts = file_format in _FORMATS_OF_PARTS
    headings = (each.text for each in parsed.headings if each.level == 1 and not has_parts)
    candidates = (parsed.title, next(headings, ""))
    return next(filter(is_good_title, candidates), "") or path.stem.replace("_", " ")


def is_good_title(text: str) -> bool:
    """Whether a title says something: it is no default, identifier or name of a file."""
    if not text or len(text) > _MAX_TITLE or not any(map(str.isalpha, text)):
        return False
    suffix = Path(text.replace("\\", "/")).suffix.lower()
    is_file_name = suffix in SUFFIXES or suffix in _OLD_SUFFIXES
    return not (is_file_name or _DEFAULT.fullmatch(text) or _IDENTIFIER.fullmatch(text))
