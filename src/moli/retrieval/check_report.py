"""The report of a check of answers: its lines in words, and a page that needs no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import PurePath

from moli.metrics.selective import CoveragePoint
from moli.retrieval.check import AnswerCheck, CheckedQuestion, Outcome
from moli.retrieval.check_curve import Picture
from moli.translations.catalogue import translate

# In the order of the table of faults.
FAULTS: tuple[Outcome, ...] = ("wrong", "unsure_wrong", "refused_wrongly")
NAMES: dict[Outcome, str] = {
    "right": "answered rightly",
    "wrong": "answered wrongly",
    "unsure_right": "not sure, closest sentence right",
    "unsure_wrong": "not sure, closest sentence wrong",
    "refused_rightly": "refused rightly",
    "refused_wrongly": "refused wrongly",
}
# Nothing is fetched, whatever text the page holds.
_CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def faults_of(check: AnswerCheck) -> list[CheckedQuestion]:
    """The questions that went wrong: wrong answers first, each kind by falling confidence."""
    return sorted(
        (each for each in check.questions if each.outcome in FAULTS),
        key=lambda each: (FAULTS.index(each.outcome), -each.confidence),
    )


def conclusions_of(check: AnswerCheck) -> Iterator[str]:
    """Sentences on what the check shows, in the reader's language."""
    risk = _percent(check.risk)
    if check.answers:
        share, bound = f"{check.wrong / check.answers:.1%}", f"{check.bound:.1%}"
        counts = translate(f"{check.wrong:,} of {check.answers:,}")
        yield translate(
            f"At confidence {check.confidence:g}, {counts} answers are wrong: {share}, and at most "
            f"{bound} with 95% certainty."
        )
    yield translate(f"Calibration error: {check.calibration_error:.3f}")
    point = check.suggested
    if check.bound <= check.risk and (point is None or check.answers >= point.answers):
        yield translate(f"The present threshold keeps wrong answers below {risk} already.")
    elif point:
        yield translate(
            f"Suggested: confidence = {threshold_of(point):g}, which gives {point.answers:,} "
            f"answers, {point.wrong:,} of them wrong, and keeps wrong ones below {risk} "
            "with 95% certainty."
        )
    elif len(check.questions) < check.needed:
        yield translate(
            f"Too few questions to suggest a threshold for {risk} wrong answers: with 95% "
            f"certainty, that takes {check.needed:,} right answers or more."
        )
    else:
        yield translate(
            f"No threshold is shown to keep wrong answers below {risk} with 95% certainty; that "
            f"takes {check.needed:,} answers or more, nearly all of them right."
        )


def _percent(share: float) -> str:
    """A share in percent, with no more digits than it needs."""
    return f"{100 * share:g}%"


def threshold_of(point: CoveragePoint) -> float:
    """The threshold of a point, rounded down so that its last answer is still given."""
    return int(point.threshold * 1000) / 1000


def page_of(check: AnswerCheck, name: str) -> str:
    """The report as HTML.

    Args:
        name: name of the file of questions.
    """
    style = files("moli.retrieval").joinpath("check_report.css").read_text(encoding="utf-8")
    title = escape(translate(f"Answers to {name}"))
    figures = "".join(
        f"<div><dt>{escape(translate(NAMES[outcome]))}</dt><dd>{count:,}</dd></div>"
        for outcome, count in check.counts.items()
    )
    conclusions = "".join(f"<p>{escape(line)}</p>" for line in conclusions_of(check))
    faults = faults_of(check)
    table = _table(faults) if faults else f"<p>{escape(translate('Nothing went wrong.'))}</p>"
    total = escape(translate(f"{len(check.questions):,} questions"))
    return f"""<!doctype html>
<html><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_CONTENT_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main><h1>{title}</h1><p class="quiet">{total}</p>
<dl>{figures}</dl>
<h2>{escape(translate("What it shows"))}</h2>{conclusions}
<h2>{escape(translate("Wrong answers as more questions are answered"))}</h2>
<figure>{_picture(check)}</figure>
<h2>{escape(translate("What went wrong"))}</h2>{table}
</main></body></html>
"""


def _table(faults: Sequence[CheckedQuestion]) -> str:
    """A table of questions that went wrong."""
    names = (
        translate("outcome"),
        translate("question"),
        translate("best sentence"),
        translate("right answer"),
        translate("confidence"),
    )
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = "".join(f"<tr>{''.join(_cells(fault))}</tr>" for fault in faults)
    return (
        f'<div class="sheet"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cells(fault: CheckedQuestion) -> Iterator[str]:
    """The cells of a question that went wrong."""
    style = ' class="wrong"' if fault.outcome == "wrong" else ""
    place = PurePath(fault.where).name
    expected = " | ".join(fault.expected) or translate("none in the documents")
    yield f"<td{style}>{escape(translate(NAMES[fault.outcome]))}</td>"
    yield f'<td>{escape(fault.question)}<br><span class="quiet">{escape(place)}</span></td>'
    source = escape(PurePath(fault.source).name)
    yield f'<td>{escape(fault.best)}<br><span class="quiet">{source}</span></td>'
    yield f"<td>{escape(expected)}</td><td>{fault.confidence:.2f}</td>"


def _picture(check: AnswerCheck) -> str:
    """The risk-coverage curve with the target, today's threshold and the suggested one."""
    picture = Picture(max(2 * check.risk, *(point.risk for point in check.curve)))
    parts = [
        *picture.grid(),
        picture.level(check.risk, _percent(check.risk)),
        picture.curve(check.curve),
    ]
    if now := [point for point in check.curve if point.threshold >= check.confidence]:
        label = translate(f"confidence {check.confidence:g}")
        parts.append(picture.dot(now[-1], "now", label))
    if check.suggested:
        label = translate(f"suggested: {threshold_of(check.suggested):g}")
        parts.append(picture.dot(check.suggested, "suggested", label))
    caption = translate("Share of wrong answers, by the share of questions that are answered")
    return picture.svg(parts, caption)
