"""Whisper models write what transformers' `generate` writes with the safeguards of Whisper."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.speech.small_whisper import RATE, WINDOW, beeps, save_whisper
from numpy.typing import NDArray
from training import small_models

from moli.models.speech.whisper import SpeechRecognizer, Transcript
from moli.records.errors import InputError, ModelError

SAFEGUARDS = {
    "compression_ratio_threshold": 1.35, "logprob_threshold": -1.0, "no_speech_threshold": 0.6,
    "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def recognizer(folder: str) -> SpeechRecognizer:
    return SpeechRecognizer(folder)


@pytest.fixture(scope="module")
def theirs(folder: str) -> Any:
    """What transformers makes of the same model."""
    from transformers import pipeline

    made = pipeline("automatic-speech-recognition", model=folder, device="cpu")
    made.model.generation_config.num_beams = 1  # which a pipeline changes
    return made


def transcribe(recognizer: SpeechRecognizer, sound: Any, **options: Any) -> Transcript:
    return recognizer.transcribe(sound, **options)


def generated(theirs: Any, sound: NDArray[np.float32], **options: Any) -> Any:
    """What the model's own `generate` gives for a sound: the text and the segments."""
    import torch

    features = theirs.feature_extractor(
        sound, sampling_rate=RATE, truncation=False, return_tensors="pt"
    ).input_features
    settings = {"return_timestamps": True, "return_segments": True, "task": "transcribe"}
    settings |= SAFEGUARDS | options
    if "temperature" not in options:
        torch.manual_seed(0)
    written = theirs.model.generate(features, **settings)
    text = theirs.tokenizer.decode(written["sequences"][0], skip_special_tokens=True)
    return text.strip(), written["segments"][0]


@pytest.mark.slow
@pytest.mark.parametrize("pitch", [300, 800, 2000])
@pytest.mark.parametrize("seconds", [1.5, 2.0, 7.3])
def test_the_text_is_that_of_transformers(
    recognizer: SpeechRecognizer, theirs: Any, pitch: float, seconds: float
) -> None:
    sound = beeps(pitch, seconds)
    transcript = transcribe(recognizer, sound, language="en")
    expected, _ = generated(theirs, sound, language="en")
    assert transcript.text.replace(" ", "") == expected.replace(" ", "") != ""
    assert transcript.seconds == pytest.approx(seconds)


@pytest.mark.slow
def test_other_sounds_are_other_words(recognizer: SpeechRecognizer) -> None:
    assert len({transcribe(recognizer, beeps(pitch, 1.5)).text for pitch in (300, 800, 2000)}) == 3


@pytest.mark.slow
def test_segments_have_the_times_and_tokens_of_the_model(
    recognizer: SpeechRecognizer, theirs: Any
) -> None:
    sound = beeps(800, 7.3)
    transcript = transcribe(recognizer, sound, language="zh")
    text, segments = generated(theirs, sound, language="zh")
    expected = [
        (
            min(float(each["start"]), 7.3),
            min(float(each["end"]), 7.3),
            each["tokens"].tolist(),
        )
        for each in segments
        if any(0 < token < 27 for token in each["tokens"].tolist())  # a letter
    ]
    assert [(s.start, s.end, list(s.tokens)) for s in transcript.segments] == expected
    # Segments of spaces alone are left out.
    letters = "".join(each.text for each in transcript.segments)
    assert letters.replace(" ", "") == text.replace(" ", "")
    assert transcript.text == letters.strip()
    assert len(transcript.segments) >= 3
    assert max(each.end for each in transcript.segments) > 2 * WINDOW  # later windows count on


@pytest.mark.slow
def test_the_language_is_told_or_found(recognizer: SpeechRecognizer, theirs: Any) -> None:
    import torch

    sound = beeps(800, 1.5)
    features = theirs.feature_extractor(sound, sampling_rate=RATE, return_tensors="pt")
    ids = theirs.tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|en|>", "<|zh|>"])
    start, *languages = ids
    with torch.no_grad():
        scores = theirs.model(
            features.input_features, decoder_input_ids=torch.tensor([[start]])
        ).logits[0, 0, languages]
    likeliest = ("en", "zh")[int(scores.argmax())]
    detected = transcribe(recognizer, sound)
    assert detected == transcribe(recognizer, sound, language=likeliest)
    assert {transcribe(recognizer, sound, language=each).language for each in ("en", "zh")} == {
        "english", "chinese",
    }  # fmt: skip
    english, chinese = (transcribe(recognizer, sound, language=each).text for each in ("en", "zh"))
    assert english != chinese
    with pytest.raises(InputError, match=r"the language 'de'. Give one of en, zh"):
        transcribe(recognizer, sound, language="de")


@pytest.mark.slow
def test_a_prompt_comes_before_what_is_said(recognizer: SpeechRecognizer, theirs: Any) -> None:
    sound = beeps(800, 3.0)
    ids = theirs.tokenizer.get_prompt_ids("sea", return_tensors="pt")
    expected, _ = generated(theirs, sound, language="en", prompt_ids=ids)
    transcript = transcribe(recognizer, sound, language="en", prompt="sea")
    assert transcript.text == expected
    assert transcript.text != transcribe(recognizer, sound, language="en").text
    assert transcribe(recognizer, sound, prompt="  ") == transcribe(recognizer, sound)


def test_a_prompt_that_cannot_be_read_is_refused(recognizer: SpeechRecognizer) -> None:
    sound = beeps(800, 1.5)
    transcribe(recognizer, sound, prompt="s" * 13)  # and a space before it
    with pytest.raises(InputError, match="has 15 tokens, and there is room for 14"):
        transcribe(recognizer, sound, prompt="s" * 14)
    with pytest.raises(InputError, match=r"^prompt: .*special token: <\|zh\|>\. Leave it out"):
        transcribe(recognizer, sound, prompt="a <|zh|> b")


@pytest.mark.slow
def test_words_are_drawn_at_a_temperature(recognizer: SpeechRecognizer, theirs: Any) -> None:
    import torch

    sound = beeps(800, 3.0)
    torch.manual_seed(5)
    expected, _ = generated(theirs, sound, language="en", temperature=0.9)
    torch.manual_seed(5)
    assert transcribe(recognizer, sound, language="en", temperature=0.9).text == expected
    likeliest = transcribe(recognizer, sound, language="en")
    assert expected != likeliest.text
    torch.manual_seed(6)
    state = torch.random.get_rng_state()
    assert transcribe(recognizer, sound, language="en") == likeliest
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
def test_many_threads_may_ask(folder: str, recognizer: SpeechRecognizer) -> None:
    pitches = [300, 800, 2000, 500] * 3
    alone = [transcribe(recognizer, beeps(each, 3.0)) for each in pitches]
    fresh = SpeechRecognizer(folder)  # loaded while they wait
    with ThreadPoolExecutor(len(pitches)) as pool:
        together = list(pool.map(lambda each: transcribe(fresh, beeps(each, 3.0)), pitches))
    assert together == alone


def test_a_model_of_english_alone(tmp_path: Path) -> None:
    recognizer = SpeechRecognizer(save_whisper(tmp_path, languages=()))
    sound = beeps(300, 3.0)
    transcript = transcribe(recognizer, sound)
    assert transcript == transcribe(recognizer, sound, language="en")
    assert (transcript.language, bool(transcript.text)) == ("english", True)
    with pytest.raises(InputError, match=r"'zh'. Give one of en, or"):
        transcribe(recognizer, sound, language="zh")


def test_silence_is_no_error(recognizer: SpeechRecognizer) -> None:
    transcript = transcribe(recognizer, np.zeros(RATE, np.float32))
    assert transcript == Transcript("", transcript.language, 1.0, ())
    faint = transcribe(recognizer, beeps(800, 3.0) * np.float32(3e-4))  # amplitude .00015
    assert faint.segments == ()


def test_marks_alone_are_no_speech(tmp_path: Path) -> None:
    recognizer = SpeechRecognizer(save_whisper(tmp_path, letters=".,;:!?-_=+*/()[]{}<>@#$%&~"))
    transcript = transcribe(recognizer, beeps(800, 3.0), language="en")
    assert (transcript.text, transcript.segments) == ("", ())


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"kind bert.*Whisper model"):
        SpeechRecognizer(small_models.write_model(tmp_path / "bert", "bert"))
    with pytest.raises(ModelError, match="no such folder"):
        SpeechRecognizer(str(tmp_path / "none"))
    with pytest.raises(ModelError, match=r"has no config.json.*moli models get whisper-tiny"):
        SpeechRecognizer(str(tmp_path))
    with pytest.raises(ModelError, match="not a model with local weights"):
        SpeechRecognizer("openai:whisper-1@http://127.0.0.1:9/v1")
    save_whisper(tmp_path / "old")
    (tmp_path / "old" / "generation_config.json").unlink()
    with pytest.raises(ModelError, match=r"generation_config.json lacks"):
        SpeechRecognizer(str(tmp_path / "old"))


@pytest.mark.slow
def test_importing_loads_nothing() -> None:
    heavy = "{'torch', 'transformers', 'soundfile'}"
    code = f"import sys, moli.models.speech.whisper; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
