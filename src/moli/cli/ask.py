"""`moli ask`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from moli.cli.output import (
    GroupOption,
    JsonOption,
    ModelOption,
    WhereOption,
    WorkspaceOption,
    format_place,
    make_console,
    make_filter,
    open_workspace,
    print_json,
    recover_text,
    warn_of_missing_vectors,
)
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from moli.records.answers import Answer, Citation


def ask(
    question: Annotated[str, typer.Argument(help="What to answer.")],
    model: ModelOption = None,
    group: GroupOption = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Answer from the documents, every sentence with its verified quote.

    Example: moli ask "Which port does the server use?"
    """
    from moli.models.encoders.load import load_workspace_encoder
    from moli.retrieval.answer import Answerer
    from moli.retrieval.search import Retriever
    from moli.training.trained.names import load_named_chat

    with open_workspace(workspace) as opened:
        settings = opened.settings
        reference = settings.model if model is None else model
        chat = load_named_chat(reference, opened) if reference else None
        retriever = Retriever(opened, load_workspace_encoder(opened))
        visible = make_filter(opened, group, where)
        answer = Answerer(opened, retriever, chat).ask(recover_text(question), visible)
        warn_of_missing_vectors(retriever)
    if as_json:
        print_json(answer)
    else:
        _print_answer(answer)


def _print_answer(answer: Answer) -> None:
    """Print the sentences with numbers of citations, and then the citations."""
    from moli.retrieval.absence import heading_of, missing_note
    from moli.retrieval.tokens import language_of

    out = make_console()
    numbers: dict[Citation, int] = {}
    shown = answer.sentences
    language = language_of(answer.question)
    if answer.closest:
        shown = (answer.closest,)
    if heading := heading_of(answer, language):
        out.print(translate(heading), style="yellow")
    elif not answer.answered:
        out.print(translate(answer.text))
    for sentence in shown:
        for citation in sentence.citations:
            numbers.setdefault(citation, len(numbers) + 1)
        marks = "".join(f"[{numbers[each]}]" for each in sentence.citations)
        style = "" if sentence.supported else "dim"
        suffix = marks if sentence.supported else marks + translate(" (unsupported)")
        out.print(f"{sentence.text} {suffix}", style=style)
    if answer.closest and answer.missing:
        out.print(translate(missing_note(answer.missing, language)))
    quoted = {sentence.text for sentence in shown}
    if numbers:
        out.print()
    for citation, number in numbers.items():
        place = format_place(citation)
        heading = f", {citation.heading}" if citation.heading else ""
        date = f", {citation.date}" if answer.conflict and citation.date else ""
        out.print(f"[{number}] {citation.source}{date}{place}{heading}", style="bold")
        if citation.quote not in quoted:  # an answer made of quotes has printed it already
            out.print(f"    “{' '.join(citation.quote.split())}”")
    if answer.trace_id:
        text = f"confidence {answer.confidence:.2f} · moli trace {answer.trace_id[:8]}"
    else:
        text = f"confidence {answer.confidence:.2f} · no trace: the workspace cannot be written to"
    out.print("\n" + translate(text), style="dim")
