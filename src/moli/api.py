"""The functions of `import moli`: each does what the command of its name does, and returns records.

A workspace is given as an open `Workspace`, which stays open, or as a folder. By default it is the
one in the current folder or in the nearest folder above. Errors that a person can act on are
`MoliError`s.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moli.models.protocols.chat import ChatModel
    from moli.models.protocols.encoder import Encoder
    from moli.records.answers import Answer, Hit
    from moli.records.ingestion import FileReport
    from moli.records.training import Event
    from moli.retrieval.check import AnswerCheck
    from moli.training.checks.report import Preflight
    from moli.training.recipes.recipe import Recipe
    from moli.training.run import RunResult
    from moli.training.trained.predict import Evaluation
    from moli.workspace import Workspace
    from moli.workspace.filter import Filter

    AnyWorkspace = Workspace | Path | str | None


def init(folder: Path | str = ".") -> Workspace:
    """A new, open workspace in a folder; one that is there already is opened and left as it is."""
    from moli.workspace import Workspace

    return Workspace.init(Path(folder))


def add(
    *paths: Path | str,
    workspace: AnyWorkspace = None,
    groups: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    force: bool = False,
) -> list[FileReport]:
    """Add documents; unchanged files are skipped and changed ones replaced.

    Args:
        paths: files, folders or glob patterns.
        groups: members of these may see them; by default everyone, or as the stored version has it.
        labels: attributes to filter by later.
        force: read files again even if their content is unchanged.

    Returns:
        A report on every file. One that cannot be read is reported as failed, with the reason.
    """
    from moli.retrieval.discover import discover
    from moli.retrieval.indexes import Indexes
    from moli.retrieval.ingest import DocumentLabels, Ingester

    with _open_workspace(workspace) as opened:
        encoder = _workspace_encoder(opened)
        files, left_out = discover(
            [str(path) for path in paths], recordings=bool(opened.settings.speech)
        )
        document_labels = DocumentLabels(_group_names(groups), labels or {})
        reports = list(Ingester(opened, encoder).add_files(files, document_labels, force=force))
        indexes = Indexes(opened, encoder)
        indexes.catch_up(timeout=60)
        indexes.save()
    return left_out + reports


def search(
    query: str,
    limit: int = 5,
    *,
    workspace: AnyWorkspace = None,
    groups: Sequence[str] | None = None,
    where: Mapping[str, str] | None = None,
) -> list[Hit]:
    """The best passages for a query, best first.

    Args:
        groups: see as a member of these; by default, of those in the workspace's settings.
        where: attributes that a document must have, such as `{"format": "pdf"}`.

    Warns:
        UserWarning: there is no document that could be found at all; the text says why.
    """
    from moli.retrieval.absence import explain_absence, find_absence
    from moli.retrieval.search import Retriever

    with _open_workspace(workspace) as opened:
        retriever = Retriever(opened, _workspace_encoder(opened))
        visible = _document_filter(opened, groups, where)
        hits = retriever.search(query, limit, visible)
        if not hits and (absence := find_absence(opened.passages, visible)):
            warnings.warn(explain_absence(absence, visible, "en"), stacklevel=2)
        return hits


def ask(
    question: str,
    *,
    workspace: AnyWorkspace = None,
    model: str | None = None,
    groups: Sequence[str] | None = None,
    where: Mapping[str, str] | None = None,
) -> Answer:
    """Answer from the documents, every sentence with its verified quotes.

    Args:
        model: the language model that writes the answer, or "" for quotes alone; by default, the
            one in the workspace's settings.
        groups, where: limit the documents, as in `search`.

    Raises:
        InputError: the question is empty or too long.
        ModelError: the language model is not available, or did not answer.
    """
    from moli.retrieval.answer import Answerer
    from moli.retrieval.search import Retriever

    with _open_workspace(workspace) as opened:
        settings = opened.settings
        reference = settings.model if model is None else model
        chat = _load_chat(reference, opened) if reference else None
        retriever = Retriever(opened, _workspace_encoder(opened))
        visible = _document_filter(opened, groups, where)
        return Answerer(opened, retriever, chat).ask(question, visible)


def check_answers(
    questions: Path | str,
    *,
    risk: float = 0.05,
    workspace: AnyWorkspace = None,
    model: str | None = None,
    groups: Sequence[str] | None = None,
    where: Mapping[str, str] | None = None,
) -> AnswerCheck:
    """Answers to questions whose right answers are known, compared with these; nothing is stored.

    Args:
        questions: a file with a question and its right answers in each row; without answers, the
            documents contain none.
        risk: the share of wrong answers for which to suggest the setting `confidence`.
        model, groups, where: see `ask`.

    Raises:
        InputError: the file cannot be read, or has no question.
    """
    from moli.retrieval.check import check_answers
    from moli.retrieval.questions import read_questions
    from moli.retrieval.search import Retriever

    with _open_workspace(workspace) as opened:
        read, malformed = read_questions(Path(questions))
        reference = opened.settings.model if model is None else model
        chat = _load_chat(reference, opened) if reference else None
        retriever = Retriever(opened, _workspace_encoder(opened))
        visible = _document_filter(opened, groups, where)
        result = check_answers(opened, retriever, read, chat, visible, risk=risk)
        return replace(result, malformed=tuple(malformed))


def check(
    recipe: Path | str | None = None, *, workspace: AnyWorkspace = None, **values: Any
) -> Preflight:
    """Check a recipe and its data, and estimate time and memory, without training anything.

    Args:
        recipe: a YAML file; not needed if `values` give everything.
        workspace: has the models that the recipe may start from; there need not be one.
        values: keys of the recipe, such as `task="classification"`; they override the file's.

    Returns:
        A report, whose `ok` is False if the recipe cannot be trained and whose findings say why.
    """
    from moli.records.errors import WorkspaceError
    from moli.training.checks.preflight import preflight

    with ExitStack() as stack:
        opened = None
        with suppress(WorkspaceError) if workspace is None else nullcontext():
            opened = stack.enter_context(_open_workspace(workspace))
        return preflight(_read_recipe(recipe, values), opened)


def tune(
    recipe: Path | str | None = None,
    *,
    workspace: AnyWorkspace = None,
    on_event: Callable[[Event], None] | None = None,
    force: bool = False,
    **values: Any,
) -> RunResult:
    """Train a model from a recipe, and store it in the workspace.

    Args:
        recipe: a YAML file; not needed if `values` give everything.
        on_event: called with every event of the run, such as each step and each evaluation.
        force: move the recipe's alias to the result even if it does worse than its base, or than
            the alias's present model on the same held-out examples.
        values: keys of the recipe, such as `data="tickets.jsonl"`; they override the file's.

    Raises:
        InputError: the data or a value of the recipe cannot be used.
        ModelError: the base model cannot be loaded.
    """
    from moli.training.run import tune

    with _open_workspace(workspace) as opened:
        listeners = [on_event] if on_event else []
        return tune(
            _read_recipe(recipe, values), opened, listeners=listeners, estimate=True, force=force
        )


def predict(
    model: str,
    *rows: str | Mapping[str, Any],
    workspace: AnyWorkspace = None,
    max_tokens: int = 512,
) -> list[dict[str, Any]]:
    """A trained model's answer to each row.

    Args:
        model: an alias, `alias@hash`, the beginning of a hash, or `builtin:NAME`.
        rows: texts, or rows with the columns that the model was trained on.
        max_tokens: the most tokens in an answer that a language model writes.

    Raises:
        NotFoundError: there is no such model.
        InputError: the model needs columns that a row lacks.
    """
    from moli.training.trained.predict import loaded_model, predict, read_text

    with _open_workspace(workspace) as opened:
        stored = opened.models.get(model)
    with loaded_model(stored) as trained:
        texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        examples = [read_text(trained, text) for text in texts]
        return predict(trained, examples, max_tokens=max_tokens)


def classify(
    model: str, *texts: str, workspace: AnyWorkspace = None, top_k: int = 5
) -> list[dict[str, Any]]:
    """The label of each text with its probability, and the `top_k` likeliest labels.

    Args:
        model: a classifier, named like that of `predict`.

    Raises:
        NotFoundError: there is no such model.
        InputError: it is no classifier of texts.
    """
    from moli.training.trained.predict import classify, loaded_model

    with _open_workspace(workspace) as opened:
        stored = opened.models.get(model)
    with loaded_model(stored) as trained:
        return classify(trained, texts, top_k=top_k)


def evaluate(model: str, data: Path | str, *, workspace: AnyWorkspace = None) -> Evaluation:
    """The metrics of a trained model on labelled examples, the main one with a 95 % interval.

    Args:
        model: an alias or another name, like that of `predict`.
        data: a file or a folder.
    """
    from moli.training.trained.load import load_trained
    from moli.training.trained.predict import evaluate_on

    with _open_workspace(workspace) as opened:
        stored = opened.models.get(model)
    return evaluate_on(load_trained(stored), Path(data))


def serve(
    *,
    workspace: AnyWorkspace = None,
    host: str | None = None,
    port: int | None = None,
    on_ready: Callable[[str], None] = print,
) -> None:
    """Serve the web page and the API until interrupted.

    Args:
        host, port: the address to listen on; by default, that of the workspace's settings. Port 0
            is any free one.
        on_ready: called with the server's address once it answers there.

    Raises:
        WorkspaceError: the address cannot be used.
    """
    from moli.console.server import serve

    with _open_workspace(workspace) as opened:
        settings = opened.settings
        port = settings.port if port is None else port
        serve(opened, host or settings.host, port, on_ready, settings.examples)


@contextmanager
def _open_workspace(workspace: AnyWorkspace) -> Iterator[Workspace]:
    """The workspace, opened for the length of a call unless it is open already."""
    from moli.workspace import Workspace

    if isinstance(workspace, Workspace):
        yield workspace
    else:
        with Workspace.open(Path(workspace) if workspace else None) as opened:
            yield opened


def _document_filter(
    workspace: Workspace, groups: Sequence[str] | None, where: Mapping[str, str] | None
) -> Filter:
    """The documents that a call may see; none if `groups` is empty."""
    from moli.workspace.filter import Filter

    names = _group_names(groups)
    return Filter(frozenset(workspace.settings.groups if names is None else names), where or {})


def _group_names(groups: Sequence[str] | None) -> Sequence[str] | None:
    """Names of groups, of which a single one may be given as a plain string."""
    return (groups,) if isinstance(groups, str) else groups


def _read_recipe(path: Path | str | None, values: Mapping[str, Any]) -> Recipe:
    """The recipe in a file with some values changed, or of the values alone."""
    from moli.training.recipes.recipe import make_recipe, read_recipe

    return read_recipe(Path(path), values) if path else make_recipe(values)


def _workspace_encoder(workspace: Workspace) -> Encoder:
    """The encoder of a workspace's documents."""
    from moli.models.encoders.load import encoder_of

    return _load_encoder(encoder_of(workspace), workspace.root)


@cache
def _load_encoder(reference: str, root: Path) -> Encoder:
    """The encoder of a reference, loaded once per process; a folder may start from `root`."""
    from moli.models.encoders.load import load_encoder

    return load_encoder(reference, root)


def _load_chat(reference: str, workspace: Workspace) -> ChatModel:
    """The language model of a reference or name; each is loaded once per process."""
    from moli.training.trained.names import find_named, load_named_chat

    stored = find_named(reference, workspace.models)
    key = str(workspace.root), reference, stored.hash if stored else ""
    if key not in _chats:
        _chats[key] = load_named_chat(reference, workspace)
    return _chats[key]


# By workspace, reference and content hash, as an alias may be moved to another model.
_chats: dict[tuple[str, str, str], ChatModel] = {}
