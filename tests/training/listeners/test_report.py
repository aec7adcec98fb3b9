"""The report: whole by itself, true to its files, and safe whatever they hold."""

from __future__ import annotations

import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from lxml import etree
from PIL import Image
from training.listeners.runs import evaluated, run, started, taken

from moli.records.training import Event, RunEnded
from moli.training.listeners.charts import make_panels, render_png, render_svg
from moli.training.listeners.event_log import EventLog
from moli.training.listeners.report import Report, write_report

ATTACK = "<script>alert('1')</script>\"><img src=x onerror=alert(1)>&amp;"


class Page(HTMLParser):
    """Tags, the addresses that they name, and the words between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("href", "xlink:href", "src", "action", "data", "poster", "srcset"):
                self.addresses.append(value or "")

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())


def reported(folder: Path, *events: Event) -> Page:
    log = EventLog()
    for event in events:
        log(event)
    return Page(write_report(folder))


@pytest.mark.slow
def test_the_page_tells_what_the_files_tell(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("task: classification\nrank: 8\n")
    environment = {"torch": "2.13.0", "cpu": {"cores": 2}}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    page = reported(tmp_path, *run(tmp_path))
    words = " | ".join(page.words)
    for text in (
        "support | Finished | classification, builtin:minilm",
        "Step | 40 of 40",
        "Best accuracy, at step 40 | 0.9",
        "Time in training | 10 s",
        "Tokens per second | 2,000",  # 20,000 tokens in 10 s
        "Examples per second | 32",
        "40 | 0.9000 | 1.500 | 2.0 s | best",
        "model | support@3f9c",
        "task: classification\nrank: 8",
        "torch | 2.13.0 | cpu.cores | 2",
    ):
        assert text in words
    assert page.tags.count("svg") == 5  # loss, evaluation, learning rate, rate, gradient norm


@pytest.mark.slow
def test_the_page_tells_whether_a_reward_model_may_be_used(tmp_path: Path) -> None:
    calibration = {"may_be_used_as_reward": False, "accuracy": 0.51, "problems": ["close <to> .5"]}
    events = [*list(run(tmp_path))[:-1], RunEnded("finished", 40, {"calibration": calibration})]
    words = " | ".join(reported(tmp_path, *events).words)
    assert "The model should not be used as a reward: | close <to> .5 | accuracy | 0.51" in words
    assert json.loads((tmp_path / "calibration.json").read_text()) == calibration


@pytest.mark.slow
def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    page = reported(tmp_path, *run(tmp_path))
    assert {"script", "link", "img", "iframe", "object", "a"}.isdisjoint(page.tags)
    assert all(each.startswith("#") for each in page.addresses)
    assert not re.search(r"@import|url\((?!#)", page.source)
    named = set(re.findall(r"https?://[^\"' ]+", page.source))
    assert named <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # no addresses


@pytest.mark.slow
def test_every_reference_within_the_page_is_to_one_thing(tmp_path: Path) -> None:
    page = reported(tmp_path, *run(tmp_path))
    ids = re.findall(r' id="([^"]+)"', page.source)
    assert len(ids) == len(set(ids))
    inner = [each[1:] for each in page.addresses] + re.findall(r"url\(#([^)]+)\)", page.source)
    assert set(inner) <= set(ids)


@pytest.mark.slow
def test_all_text_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(ATTACK)
    (tmp_path / "environment.json").write_text(json.dumps({ATTACK: ATTACK}))
    texts = {ATTACK: ATTACK}
    page = reported(
        tmp_path,
        started(tmp_path, run=ATTACK, recipe={"task": ATTACK}, facts=texts),
        taken(1),
        evaluated(1, **{ATTACK: 0.5, f"{ATTACK} $x^2$": 7.0}),
        RunEnded("failed", 1, {ATTACK: ATTACK}),
    )
    assert {"script", "img"}.isdisjoint(page.tags)
    assert sum(ATTACK in each for each in page.words) >= 8


@pytest.mark.slow
def test_a_loss_that_broke_is_a_warning(tmp_path: Path) -> None:
    page = reported(tmp_path, started(tmp_path), taken(1), taken(2, loss=math.nan))
    assert "The loss was not a finite number at 1 of 2 steps, first at step 2." in page.words
    assert "Running" in page.words


@pytest.mark.slow
def test_a_run_taken_up_again_is_running(tmp_path: Path) -> None:
    ended = RunEnded("interrupted", 1, {})
    page = reported(tmp_path, started(tmp_path), taken(1), ended)
    assert "Interrupted" in page.words
    assert "Running" in reported(tmp_path, started(tmp_path, step=1), taken(2)).words


def test_a_folder_with_nothing_in_it_gets_a_page_that_says_so(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path))
    assert "No events of this run have been recorded." in page.words
    assert not (tmp_path / "curves.png").exists()


def test_an_environment_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{")
    assert any(
        "environment.json cannot be read" in each for each in Page(write_report(tmp_path)).words
    )


def test_without_matplotlib_there_is_a_page_without_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moli.training.listeners.report.find_spec", lambda name: None)
    page = reported(tmp_path, *run(tmp_path))
    assert "svg" not in page.tags
    assert "The curves are not drawn. Run: pip install matplotlib" in page.words


def test_many_evaluations_keep_the_best_and_the_last(tmp_path: Path) -> None:
    evaluations = [evaluated(n, best=n == 101, accuracy=0.5) for n in range(1, 501)]
    page = reported(tmp_path, started(tmp_path, steps=500), *evaluations)
    rows = [page.words[i + 1] for i, each in enumerate(page.words) if each == "0.5000"]
    assert len(rows) <= 62
    assert page.words.count("best") == 1
    assert any("more are in events.jsonl" in each for each in page.words)


@pytest.mark.slow
def test_a_report_is_written_on_evaluations_and_at_the_end(tmp_path: Path) -> None:
    now = [0.0]
    log, report = EventLog(), Report(clock=lambda: now[0])
    path = tmp_path / "report.html"
    written = []
    for event in run(tmp_path):
        log(event)
        report(event)
        if path.exists():
            written.append(event.step)
            path.unlink()
    assert written == [10, 20, 30, 40, 40]


@pytest.mark.slow
def test_reports_take_a_twentieth_of_the_time_at_most(tmp_path: Path) -> None:
    ticks = iter([0.0, 0.0, 1.0, 1.0, 19.9, 20.0, 20.0, 20.5, 20.5])
    log, report = EventLog(), Report(clock=lambda: next(ticks))
    written = []
    for event in [started(tmp_path), evaluated(1), evaluated(2), evaluated(3)]:
        log(event)
        report(event)
        if (tmp_path / "report.html").exists():
            written.append(event.step)
            (tmp_path / "report.html").unlink()
    assert written == [1, 3]  # written for 1 s from 0 on: the next not before 20


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 5000])
def test_the_picture_is_one_and_each_drawing_is_xml(tmp_path: Path, steps: int) -> None:
    panels = make_panels(list(run(tmp_path, steps=steps, every=max(steps // 4, 1))))
    with Image.open(io.BytesIO(render_png(panels, "Läuft 训练 $5"))) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width == 1440
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 10
    for panel in panels:
        drawn = render_svg(panel, width=5)
        assert len(drawn) < 150_000
        assert etree.fromstring(drawn).get("viewBox") == "0 0 360 180"
        assert not re.search(r"#[0-9a-f]{6}\b", drawn)  # every colour is the page's


@pytest.mark.slow
def test_a_run_whose_loss_is_never_a_number_is_drawn(tmp_path: Path) -> None:
    events = [started(tmp_path), *(taken(n, loss=math.nan) for n in range(1, 9))]
    assert render_png(make_panels(events), "x").startswith(b"\x89PNG")


def test_drawing_leaves_no_setting_behind(tmp_path: Path) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 17.0}):
        render_svg(make_panels(list(run(tmp_path)))[0], width=5)
        assert mpl.rcParams["font.size"] == 17.0


@pytest.mark.slow
def test_a_run_that_learns_from_rewards_shows_its_figures_samples_and_alarm(tmp_path: Path) -> None:
    figures = {"gated_share": 0.5, "explained_variance": 0.4}
    steps = [taken(n, metrics={"reward": n / 9, "kl": 0.1 * n, **figures}) for n in (1, 2)]
    sample = {"prompt": ATTACK, "before": "grey", "after": "the sea"}
    result = {"alarm": "answers grew from 8 to 30 tokens", "sample_answers": [sample]}
    page = reported(tmp_path, started(tmp_path), *steps, RunEnded("stopped_early", 2, result))
    text = " ".join(page.words)
    assert "An alarm stopped the run: answers grew from 8 to 30 tokens." in text
    assert "grey the sea" in text and ATTACK in text and "script" not in page.tags
    titles = [panel.title for panel in make_panels(steps)]
    assert titles[:4] == [
        "Reward",
        "Divergence from the reference (nats per answer)",
        "Shares",
        "Explained variance of the value function",
    ]
