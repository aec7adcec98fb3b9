"""What was found before training, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from moli.training.checks.inspection import Lengths
    from moli.training.checks.masks import Masked, Piece
    from moli.training.checks.report import Finding, Preflight

_PLACES, _LABELS, _CHARACTERS, _BAR = 3, 12, 1200, 32
_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def show(found: Preflight, out: Console) -> None:
    """Print it: what is wrong first, then what was seen."""
    for each in found.findings:
        _finding(each, out)
    _data(found, out)
    if found.lengths:
        _lengths(found.lengths, out)
    for number, sample in enumerate(found.masks):
        _mask(sample, out, first=number == 0)
    _cost(found, out)
    if found.servers:
        _head("servers", out)
    for verdict in found.servers:
        out.print(f"  {verdict.server:<18} {verdict.loads}: {verdict.reason}")
    errors = sum(each.severity == "error" for each in found.findings)
    warnings = sum(each.severity == "warning" for each in found.findings)
    told = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    end = "nothing was trained." if found.ok else "this recipe cannot be trained."
    out.print(f"{told}; {end}", style="bold")


def _finding(finding: Finding, out: Console) -> None:
    from rich.text import Text

    out.print(Text.assemble((f"{finding.severity}: ", _STYLES[finding.severity]), finding.what))
    for place in finding.places[:_PLACES]:
        out.print(f"  {place}")
    if len(finding.places) > _PLACES:
        out.print(f"  and {len(finding.places) - _PLACES:,} more, which --json lists")
    if finding.fix:
        out.print(f"  {finding.fix}")


def _data(found: Preflight, out: Console) -> None:
    rows, seen, repeated = found.rows, found.supervision, found.repetitions
    _head("data", out)
    some = rows.judged is not None and rows.judged < rows.held_out
    drawn = f" ({rows.judged:,} of them evaluated on)" if some else ""
    out.print(
        f"  {rows.kept:,} training examples, {rows.held_out:,} held out{drawn}; "
        f"{len(rows.malformed):,} malformed, {len(rows.cut):,} truncated, "
        f"{len(rows.dropped):,} dropped"
    )
    groups = ((repeated.exact, "exact"), (repeated.near, "near"))
    told = [f"{sum(len(e) - 1 for e in each):,} {name}" for each, name in groups]
    leaked = f"{len(repeated.leaked):,} near-duplicates of held-out examples"
    out.print(f"  duplicates: {', '.join(told)}; {leaked}")
    if seen and seen.unit == "tokens":
        out.print(
            f"  learnt: {seen.learnt:,} of {seen.tokens:,} tokens ({seen.share:.0%}); the rest is "
            "context"
        )
    elif seen:
        out.print(f"  learnt: {seen.learnt:,} {seen.unit}, {seen.tokens:,} tokens")
    if seen and seen.unended is not None:
        ends = rows.kept - len(seen.unended)
        out.print(f"  ends: {ends:,} of {rows.kept:,} examples teach the model to stop")
    _labels(found, out)


def _labels(found: Preflight, out: Console) -> None:
    total = sum(found.labels.values())
    for name, count in list(found.labels.items())[:_LABELS]:
        bar = "#" * round(_BAR * count / max(found.labels.values()))
        out.print(f"  {name[:20]:<20} {count:>8,} {count / total:>4.0%}  {bar}")
    if len(found.labels) > _LABELS:
        out.print(f"  and {len(found.labels) - _LABELS:,} more labels")


def _lengths(lengths: Lengths, out: Console) -> None:
    _head("lengths", out)
    room = f", max_length {lengths.most:,}" if lengths.most else ""
    out.print(
        f"  median {lengths.median:,} tokens, 95% up to {lengths.percentile95:,}, "
        f"longest {lengths.longest:,}{room}"
    )
    for limit, count in lengths.bins.items():
        bar = "#" * round(_BAR * count / max(1, *lengths.bins.values()))
        over = "  over max_length" if 0 < lengths.most < limit and count else ""
        out.print(f"  up to {limit:>7,} {count:>8,}  {bar}{over}")


def _mask(sample: Masked, out: Console, *, first: bool) -> None:
    if first:
        _head("tokens", out)
        out.print("  what is learnt is green, or in [[ ]]; special tokens are underlined")
    out.print(f"  {sample.where}")
    coloured = out.is_terminal and not out.no_color
    for part in sample.parts:
        out.print(_pieces(part, coloured=coloured))


def _pieces(pieces: Sequence[Piece], *, coloured: bool) -> Text:
    """Tokens in colours, or with brackets around what is learnt."""
    from rich.text import Text

    text = Text("  ")
    for number, each in enumerate(pieces):
        before = number > 0 and pieces[number - 1].learnt
        after = number + 1 < len(pieces) and pieces[number + 1].learnt
        said = _printable(each.text)
        if not coloured:
            opened = "[[" if each.learnt and not before else ""
            closed = "]]" if each.learnt and not after else ""
            text.append(f"{opened}{said}{closed}")
        else:
            style = "green" if each.learnt else "dim"
            text.append(said, f"{style} underline" if each.special else style)
        if len(text) > _CHARACTERS:
            text.append(" ...")
            break
    return text


def _printable(text: str) -> str:
    """Line breaks that can be seen, and nothing that works the terminal."""
    shown = text.replace("\n", "\\n\n  ")
    return "".join(each for each in shown if each.isprintable() or each == "\n")


def _cost(found: Preflight, out: Console) -> None:
    from moli.training.listeners.figures import duration

    estimate, packing = found.estimate, found.packing
    if estimate is None:
        return
    _head("cost", out)
    recipe = found.recipe
    out.print(
        f"  {recipe['method']}, {recipe['precision']}, {recipe['epochs']:g} "
        f"{'epoch' if recipe['epochs'] == 1 else 'epochs'}, steps of "
        f"{recipe['batch']} examples, learning rate {recipe['learning_rate']:g}"
    )
    out.print(
        f"  about {duration(estimate.seconds)} of training and {duration(estimate.evaluating)} of "
        f"evaluation, {estimate.memory_mb:,} MB of memory ({estimate.tokens_per_second:,.0f} "
        f"tokens/s in {estimate.steps} trial steps)"
    )
    if packing and packing.holds:
        out.print(
            f"  packing is verified: mean loss {packing.packed:.6g} packed, {packing.alone:.6g} "
            f"one by one; leak between neighbours: {packing.leak:g}"
        )


def _head(title: str, out: Console) -> None:
    out.print(title, style="bold")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
