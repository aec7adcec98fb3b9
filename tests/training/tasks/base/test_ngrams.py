from __future__ import annotations

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from moli.training.tasks.base.ngrams import NgramVocabulary, ngrams_of

TEXTS = ["很好的酒店，房间很大", "房间很脏", "The rooms were clean!", "Wi-Fi坏了 too", "ルーム 2"]


def test_runs_without_spaces_have_up_to_three_characters() -> None:
    assert sorted(ngrams_of("房间脏,脏")) == sorted(
        ["房", "间", "脏", "房间", "间脏", "房间脏", "脏"]
    )


def test_words_have_their_ends() -> None:
    assert list(ngrams_of("Am")) == [" am ", " a", "am", "m ", " am", "am ", " am "]


def test_vectors_are_those_of_scikit_learn() -> None:
    theirs = TfidfVectorizer(analyzer=lambda text: list(ngrams_of(text)), sublinear_tf=True)
    expected = theirs.fit_transform(TEXTS).toarray()
    vocabulary = NgramVocabulary.of(TEXTS, 10_000)
    assert list(vocabulary.ngrams) == list(theirs.get_feature_names_out())
    actual = vocabulary.vectors_of([vocabulary.ids_of(text) for text in TEXTS]).to_dense()
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-6)
    unknown = ["天气", "", "很好的 weather"]
    actual = vocabulary.vectors_of([vocabulary.ids_of(text) for text in unknown]).to_dense()
    np.testing.assert_allclose(actual.numpy(), theirs.transform(unknown).toarray(), atol=1e-6)


def test_the_limit_keeps_what_most_texts_have() -> None:
    assert NgramVocabulary.of(["ab", "ab", "c"], 3).ngrams == (" a", " ab", " ab ")
