from __future__ import annotations

import pickle

import pytest

from moli.records import errors
from moli.records.errors import DocumentError, InputError, MoliError


def test_a_message_says_where_what_and_what_next() -> None:
    error = InputError("the label is 'postive'", where="examples.jsonl:812", fix="Fix the row.")
    assert str(error) == "examples.jsonl:812: the label is 'postive'. Fix the row."


def test_parts_that_are_empty_leave_no_punctuation_behind() -> None:
    assert str(MoliError("it broke")) == "it broke"
    assert str(MoliError("it broke", fix="Mend it.")) == "it broke. Mend it."


@pytest.mark.parametrize("kind", MoliError.__subclasses__())
def test_every_kind_of_error_has_a_code_of_its_own(kind: type[MoliError]) -> None:
    others = [each.code for each in MoliError.__subclasses__() if each is not kind]
    assert kind.code not in (*others, MoliError.code)
    assert getattr(errors, kind.__name__) is kind


@pytest.mark.parametrize(
    "error",
    [
        InputError("the label is unknown", where="a.jsonl:3", fix="Fix the row."),
        DocumentError("bomb", "it unpacks to 4 GB", where="a.zip", fix="Leave it out."),
    ],
)
def test_an_error_reaches_another_process_whole(error: MoliError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), vars(again), str(again)) == (type(error), vars(error), str(error))
