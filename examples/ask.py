"""Questions about your own documents, answered with quotes that have been checked against them.

    python examples/ask.py

Three notes go into a new workspace. Each answer comes with its quotes and where they stand; to the
last question there is no answer in the notes, and Moli says so. No language model is needed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import moli
from moli.records.answers import Answer

NOTES = {
    "backup.md": "# Backups\n\nA backup runs every night at 02:30. Backups are kept for 35 days.\n",
    "office.md": "# Office\n\n## Hours\n\nThe office opens at 8:30.\n\n## Travel\n\n"
    "Receipts are handed in within 30 days of a trip.\n",
    "充电.txt": "充满电需要两小时。请使用随附的充电器。\n",
}
QUESTIONS = (
    "How long are backups kept?",
    "When are receipts handed in?",
    "充满电需要多久？",
    "Who pays for the coffee?",
)


def main() -> None:
    """Add the notes, ask, and search."""
    parser = argparse.ArgumentParser(description="Ask your documents.")
    parser.add_argument("--folder", type=Path, default=Path("ask"))
    folder = parser.parse_args().folder
    notes = folder / "notes"
    notes.mkdir(parents=True, exist_ok=True)
    for name, text in NOTES.items():
        (notes / name).write_text(text, encoding="utf-8")

    with moli.init(folder) as workspace:
        for report in moli.add(notes, workspace=workspace):
            print(f"{report.outcome}: {Path(report.source).name}, {report.passages} passages")
        for question in QUESTIONS:
            show(moli.ask(question, workspace=workspace))
        print("\nSearch: when is data saved")
        for hit in moli.search("when is data saved", limit=2, workspace=workspace):
            print(f"  {hit.score:.3f} {Path(hit.source).name}: {' '.join(hit.text.split())}")


def show(answer: Answer) -> None:
    """Print an answer with its quotes."""
    print(f"\n{answer.question}\n  {answer.text} ({answer.confidence:.0%} sure)")
    for citation in (each for sentence in answer.sentences for each in sentence.citations):
        heading = f", {citation.heading}" if citation.heading else ""
        print(f'  [{Path(citation.source).name}{heading}] "{citation.quote}"')


if __name__ == "__main__":
    main()
