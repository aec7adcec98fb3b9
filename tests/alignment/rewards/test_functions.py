"""Rewards that are a user's functions, and what may be wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from moli.alignment.rewards.functions import load_function
from moli.alignment.rewards.load import check_reward_spec
from moli.alignment.rewards.protocol import score_answers
from moli.alignment.rewards.sources import hash_source, source_files
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.errors import InputError, ModelError, MoliError

SOURCE = """\
from __future__ import annotations
from dataclasses import dataclass
from moli.records.errors import ModelError
import reward_words

@dataclass
class Weights:
    length: int = 2

def lengths(prompts, answers):
    return [len(a.text) * Weights().length + len(reward_words.WORDS) for a in answers]

def as_texts(prompts, answers): return (str(len(a.text)) for a in answers)
def divides(prompts, answers): return [1 / 0 for a in answers]
def strips(prompts, answers): return [a.strip() for a in answers]
def looks_up(prompts, answers): return {}["score"]
def is_down(prompts, answers): raise ModelError("no server", "http://here", "Start it.")
def nothing(prompts, answers): pass
def one(prompts, answers): return 1.0
def named(prompts, answers): return {"score": 1.0}
def empty(prompts, answers): return [None, 1.0]
def words(prompts, answers): return ["1", "good"]
def too_few(prompts, answers): return [1.0]
def as_trl(completions, **kwargs): return [1.0]
async def later(prompts, answers): return [1.0, 1.0]
CONSTANT = 3
"""
PROMPTS = [TrainingPrompt((1,)), TrainingPrompt((2,))]
ANSWERS = [SampledAnswer((1,), (0.0,), text="yes"), SampledAnswer((2,), (0.0,), text="好的")]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = "WORDS = ('sea',)\ndef sizes(prompts, answers): return [len(a.text) for a in answers]\n"
    (tmp_path / "reward_words.py").write_text(words)
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return str(path)


def test_a_file_is_loaded_as_a_script_is(file: str) -> None:
    reward = load_function(file, "lengths")
    assert score_answers(reward, PROMPTS, ANSWERS) == [7.0, 5.0]
    assert len(reward.digest) == 64
    assert score_answers(load_function(file, "as_texts"), PROMPTS, ANSWERS) == [3.0, 2.0]
    in_module = load_function("reward_words", "sizes")
    assert score_answers(in_module, PROMPTS, ANSWERS) == [3.0, 2.0] and in_module.place.endswith(
        "s"
    )


def test_a_change_in_a_file_that_is_imported_is_noticed(tmp_path: Path) -> None:
    sources = {
        "mine.py": "import json\nfrom parts import words\ndef f(prompts, answers): import later",
        "parts/__init__.py": "",
        "parts/words.py": "from . import lists\nfrom .deep.more import MORE",
        "parts/lists.py": "import mine",
        "parts/deep/more.py": "from ..lists import WORDS\nMORE = 1",
        "later.py": "def broken(:",
        "other.py": "import parts",
        "json/__init__.txt": "",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    path = tmp_path / "mine.py"
    used = {str(each.relative_to(tmp_path)) for each in source_files(path)}
    assert used == sources.keys() - {"other.py", "json/__init__.txt"}
    before = hash_source(path)
    (tmp_path / "other.py").write_text("changed = 1")
    assert hash_source(path) == before
    (tmp_path / "parts" / "deep" / "more.py").write_text("MORE = 2")
    assert hash_source(path) != before


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("divides", r"the reward failed: ZeroDivisionError: division by zero, in mine.py:14"),
        ("strips", r"no attribute 'strip', in mine.py:15"),
        ("looks_up", r"KeyError: 'score', in mine.py:16"),
        ("nothing", "the reward returned None, not a list"),
        ("one", "the reward returned 1.0, not a list"),
        ("named", "the reward returned .*, not a list"),
        ("empty", "the score of answer 1 of 2 is None"),
        ("words", "the score of answer 2 of 2 is 'good'"),
        ("too_few", "1 scores for 2 answers"),
    ],
)
def test_what_a_function_does_wrong_is_said_with_its_line(file: str, name: str, what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        score_answers(load_function(file, name), PROMPTS, ANSWERS)
    assert caught.value.where == f"{file}:{name}"


def test_an_error_that_says_what_to_do_stays_as_it_is(file: str) -> None:
    with pytest.raises(ModelError, match="no server"):
        score_answers(load_function(file, "is_down"), PROMPTS, ANSWERS)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("as_trl", r"arguments are \(completions, \*\*kwargs\), not prompts and answers"),
        ("later", "an async function"),
        ("CONSTANT", "not a function"),
        ("length", r"there is no 'length' in it. Did you mean 'lengths'"),
    ],
)
def test_what_cannot_be_called_is_refused_when_it_is_loaded(
    file: str, name: str, what: str
) -> None:
    with pytest.raises(MoliError, match=what):
        load_function(file, name)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("raise ValueError('no key')", "ValueError: no key, in broken.py:1"),
        ("def f(:", "SyntaxError"),
        ("import sys\nsys.exit(3)", "SystemExit: 3, in broken.py:2"),
        ("import not_installed_anywhere", "No module named 'not_installed_anywhere'"),
        ("open('/no/such/file')", "FileNotFoundError"),
    ],
)
def test_a_file_that_fails_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, what: str
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(InputError, match=what):
        load_function(str(path), "f")


def test_a_file_or_module_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match="no such file"):
        load_function("/no/such/reward.py", "f")
    with pytest.raises(InputError, match="No module named 'no_such_module'"):
        load_function("no_such_module", "f")
    with pytest.raises(InputError, match=r"no function of the file. Write mine\.py:FUNCTION"):
        check_reward_spec("mine.py", "recipe")
