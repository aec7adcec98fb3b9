"""What every sentence encoder has to do. Run on the scripted one and on the one that ships."""

from __future__ import annotations

import random

import numpy as np
import pytest

from moli.models.encoders.load import load_encoder
from moli.models.protocols.encoder import Encoder
from moli.records.errors import ModelError

TEXTS = [
    "The pump is loud.",
    "A quiet pump for the garden, with a filter that has to be replaced every spring.",
    "水泵把水抽到池塘。",
    "",
    " \n ",
    "!?",
    "emoji 😀 and \0 and \ufffd",
    "word " * 3000,
    "x" * 20_000,
]


@pytest.fixture(scope="module", params=["scripted:hash", "builtin:minilm"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return load_encoder(request.param)


@pytest.mark.slow
def test_a_vector_is_of_the_promised_size_and_length_one(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(float), axis=1), 1.0, atol=2e-3)


def test_no_texts_give_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dimensions)


@pytest.mark.slow
def test_vectors_come_in_the_order_of_the_texts(encoder: Encoder) -> None:
    order = list(range(len(TEXTS)))
    random.Random(3).shuffle(order)
    straight = encoder.encode(TEXTS)
    shuffled = encoder.encode([TEXTS[n] for n in order])
    np.testing.assert_array_equal(shuffled, straight[order])


@pytest.mark.slow
def test_a_vector_does_not_depend_on_its_neighbours_by_a_bit(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        np.testing.assert_array_equal(encoder.encode([text])[0], together[row])
        np.testing.assert_array_equal(encoder.encode([text] * 9)[7], together[row])


@pytest.mark.slow
def test_another_instance_gives_the_same_vectors(encoder: Encoder) -> None:
    again = load_encoder(encoder.name)
    np.testing.assert_array_equal(again.encode(TEXTS[:3]), encoder.encode(TEXTS[:3]))


def test_what_is_alike_is_nearer_than_what_is_not(encoder: Encoder) -> None:
    question, near, far = encoder.encode(
        ["How loud is the pump?", "The pump is loud.", "Taxes are due in May."]
    )
    assert question @ near > question @ far


@pytest.mark.parametrize("reference", ["builtin:none", "openai:x@http://127.0.0.1:1/v1", ""])
def test_what_is_no_encoder_is_refused(reference: str) -> None:
    with pytest.raises(ModelError):
        load_encoder(reference)


def test_a_model_that_is_not_on_this_machine_is_refused_without_a_network(
    dialled: list[str],
) -> None:
    with pytest.raises(ModelError, match="builtin:minilm"):
        load_encoder("no-such-org/no-such-model")
    dialled.clear()
