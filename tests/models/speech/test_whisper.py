"""Sound files, their samples and their words, against transformers' own and against formulas."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import firwin, lfilter, resample_poly
from training import small_models

from moli.models.speech.whisper import (
    MAX_SECONDS,
    Segment,
    Speech,
    Transcript,
    read_sound,
    resample,
)
from moli.records.errors import InputError, ModelError

RATE = 16_000
WINDOW = 2.0  # seconds that the small model hears at once
MARKS = [
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>",
    "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
]  # fmt: skip


def save_whisper(folder: Path, *, languages: tuple[str, ...] = ("en", "zh")) -> str:
    """A random Whisper that hears windows of two seconds and writes small letters."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    tokenizer = _letters()
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8, chunk_length=int(WINDOW)).save_pretrained(folder)
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), ids["<|endoftext|>"])
    ends["decoder_start_token_id"] = ids["<|startoftranscript|>"]
    torch.manual_seed(2)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokenizer), num_mel_bins=8, d_model=32, encoder_layers=1,
            decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, max_source_positions=int(WINDOW * 50),
            max_target_positions=32, init_std=0.3, **ends,
        )
    )  # fmt: skip
    with torch.no_grad():  # else it would write hardly anything but times
        model.get_input_embeddings().weight[: ids["<|endoftext|>"]] *= 1.5
    model.generation_config = GenerationConfig(
        **ends,
        max_length=32,
        is_multilingual=bool(languages),
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
    )
    if languages:
        model.generation_config.lang_to_id = {
            f"<|{each}|>": ids[f"<|{each}|>"] for each in languages
        }
        model.generation_config.task_to_id = {
            task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")
        }
    model.save_pretrained(folder)
    return str(folder)


def _letters() -> Any:
    from tokenizers import AddedToken
    from transformers import WhisperTokenizer

    letters = ["Ġ", *"abcdefghijklmnopqrstuvwxyz", MARKS[0]]
    vocabulary = {each: number for number, each in enumerate(letters)}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS[1:]})
    times = [f"<|{number / 50:.2f}|>" for number in range(int(WINDOW * 50) + 1)]
    tokenizer.add_tokens([AddedToken(each, special=False) for each in times])
    return tokenizer


def tone(pitch: float, seconds: float, rate: int = RATE) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)


def beeps(pitch: float, seconds: float) -> NDArray[np.float32]:
    """A tone that is off as long as it is on."""
    loud = np.arange(int(seconds * RATE)) % 12_000 < 6_000
    return (tone(pitch, seconds) * loud).astype(np.float32)


def as_file(sound: Any, kind: str = "WAV", rate: int = RATE, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=kind, **options)
    file.seek(0)
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def speech(folder: str) -> Speech:
    return Speech(folder)


@pytest.fixture(scope="module")
def theirs(folder: str) -> Any:
    """What transformers makes of the same model."""
    from transformers import pipeline

    made = pipeline("automatic-speech-recognition", model=folder, device="cpu")
    made.model.generation_config.num_beams = 1  # which a pipeline changes
    return made


def hear(speech: Speech, sound: Any, **options: Any) -> Transcript:
    return speech.transcribe(as_file(sound, subtype="FLOAT"), **options)


def generated(theirs: Any, sound: NDArray[np.float32], **options: Any) -> Any:
    """What the model's own `generate` gives for a sound: the text and the segments."""
    features = theirs.feature_extractor(
        sound, sampling_rate=RATE, truncation=False, return_tensors="pt"
    ).input_features
    told = {"return_timestamps": True, "return_segments": True, "task": "transcribe"} | options
    written = theirs.model.generate(features, **told)
    text = theirs.tokenizer.decode(written["sequences"][0], skip_special_tokens=True)
    return text.strip(), written["segments"][0]


# What is said


@pytest.mark.parametrize("pitch", [300, 800, 2000])
@pytest.mark.parametrize("seconds", [1.5, 2.0, 7.3])
def test_the_text_is_that_of_transformers_pipeline(
    speech: Speech, theirs: Any, pitch: float, seconds: float
) -> None:
    sound = beeps(pitch, seconds)
    said = hear(speech, sound, language="en")
    options = {"language": "en", "task": "transcribe"}
    wanted = theirs(
        {"raw": sound, "sampling_rate": RATE}, return_timestamps=True, generate_kwargs=options
    )
    assert said.text == wanted["text"].strip() != ""
    assert said.seconds == pytest.approx(seconds)


def test_other_sounds_are_other_words(speech: Speech) -> None:
    assert len({hear(speech, beeps(pitch, 1.5)).text for pitch in (300, 800, 2000)}) == 3


def test_segments_have_the_times_and_tokens_of_the_model(speech: Speech, theirs: Any) -> None:
    sound = beeps(800, 7.3)
    said = hear(speech, sound, language="zh")
    text, segments = generated(theirs, sound, language="zh")
    wanted = [
        (
            min(float(each["start"]), 7.3),
            min(float(each["end"]), 7.3),
            each["tokens"].tolist(),
        )
        for each in segments
        if any(0 < token < 27 for token in each["tokens"].tolist())  # a letter
    ]
    assert [(s.start, s.end, list(s.tokens)) for s in said.segments] == wanted
    assert said.text == text
    # Segments of spaces alone are left out.
    letters = "".join(each.text for each in said.segments)
    assert letters.replace(" ", "") == text.replace(" ", "")
    assert len(said.segments) >= 3
    assert max(each.end for each in said.segments) > 2 * WINDOW  # later windows count on


def test_the_language_is_told_or_found(speech: Speech, theirs: Any) -> None:
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
    found = hear(speech, sound)
    assert found == hear(speech, sound, language=likeliest)
    assert {hear(speech, sound, language=each).language for each in ("en", "zh")} == {
        "english", "chinese",
    }  # fmt: skip
    english, chinese = (hear(speech, sound, language=each).text for each in ("en", "zh"))
    assert english != chinese
    with pytest.raises(InputError, match=r"the language 'de'. Give one of en, zh"):
        hear(speech, sound, language="de")


def test_a_prompt_comes_before_what_is_said(speech: Speech, theirs: Any) -> None:
    sound = beeps(800, 3.0)
    ids = theirs.tokenizer.get_prompt_ids("sea", return_tensors="pt")
    wanted, _ = generated(theirs, sound, language="en", prompt_ids=ids)
    said = hear(speech, sound, language="en", prompt="sea")
    assert said.text == wanted
    assert said.text != hear(speech, sound, language="en").text
    assert hear(speech, sound, prompt="  ") == hear(speech, sound)


def test_a_prompt_that_cannot_be_read_is_refused(speech: Speech) -> None:
    sound = beeps(800, 1.5)
    hear(speech, sound, prompt="s" * 13)  # and a space before it
    with pytest.raises(InputError, match="has 15 tokens, and there is room for 14"):
        hear(speech, sound, prompt="s" * 14)
    with pytest.raises(InputError, match=r"^prompt: .*special token: <\|zh\|>\. Leave it out"):
        hear(speech, sound, prompt="a <|zh|> b")


def test_words_are_drawn_at_a_temperature(speech: Speech, theirs: Any) -> None:
    import torch

    sound = beeps(800, 3.0)
    torch.manual_seed(5)
    wanted, _ = generated(theirs, sound, language="en", temperature=0.9)
    torch.manual_seed(5)
    assert hear(speech, sound, language="en", temperature=0.9).text == wanted
    likeliest = hear(speech, sound, language="en")
    assert wanted != likeliest.text
    torch.manual_seed(6)
    assert hear(speech, sound, language="en") == likeliest


def test_many_threads_may_ask(folder: str, speech: Speech) -> None:
    pitches = [300, 800, 2000, 500] * 3
    alone = [hear(speech, beeps(each, 3.0)) for each in pitches]
    fresh = Speech(folder)  # loaded while they wait
    with ThreadPoolExecutor(len(pitches)) as pool:
        together = list(pool.map(lambda each: hear(fresh, beeps(each, 3.0)), pitches))
    assert together == alone


def test_a_model_of_english_alone(tmp_path: Path) -> None:
    speech = Speech(save_whisper(tmp_path, languages=()))
    sound = beeps(300, 3.0)
    said = hear(speech, sound)
    assert said == hear(speech, sound, language="en")
    assert (said.language, bool(said.text)) == ("english", True)
    with pytest.raises(InputError, match=r"'zh'. Give one of en, or"):
        hear(speech, sound, language="zh")


def test_silence_is_no_error(speech: Speech) -> None:
    said = hear(speech, np.zeros(RATE, np.float32))
    assert said.seconds == 1
    assert all(isinstance(each, Segment) for each in said.segments)


def test_other_models_are_refused(tmp_path: Path) -> None:
    sound = as_file(beeps(800, 1))
    with pytest.raises(ModelError, match=r"kind bert.*Whisper model"):
        Speech(small_models.write_model(tmp_path / "bert", "bert")).transcribe(sound)
    with pytest.raises(ModelError, match="cannot be loaded"):
        Speech(str(tmp_path / "none")).transcribe(sound)
    with pytest.raises(ModelError, match="not a model with local weights"):
        Speech("openai:whisper-1@http://127.0.0.1:9/v1").transcribe(sound)
    save_whisper(tmp_path / "old")
    (tmp_path / "old" / "generation_config.json").unlink()
    with pytest.raises(ModelError, match=r"generation_config.json lacks"):
        Speech(str(tmp_path / "old")).transcribe(sound)


def test_importing_loads_nothing() -> None:
    heavy = "{'torch', 'transformers', 'soundfile'}"
    code = f"import sys, moli.models.speech.whisper; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Sound files


@pytest.mark.parametrize(
    ("kind", "options", "most"),
    [
        ("WAV", {"subtype": "FLOAT"}, 1e-7),
        ("WAV", {"subtype": "PCM_16"}, 2**-15),
        ("WAV", {"subtype": "PCM_24"}, 2**-22),
        ("AIFF", {}, 2**-15),
        ("FLAC", {}, 2**-15),
        ("OGG", {"subtype": "VORBIS"}, 0.06),
        ("OGG", {"subtype": "OPUS"}, 0.05),
        ("MP3", {}, 0.05),
    ],
)
def test_formats_are_read(kind: str, options: dict[str, str], most: float) -> None:
    time = np.arange(RATE) / RATE
    wanted = 0.5 * np.sin(2 * np.pi * (100 * time + 500 * time**2))  # ever higher
    found = read_sound(as_file(wanted, kind, **options), RATE)
    assert (found.dtype, found.shape) == (np.float32, (RATE,))
    inner = slice(RATE // 10, -RATE // 10)  # lossy ones blur the ends
    assert np.abs(found[inner] - wanted[inner]).max() <= most


def test_channels_become_their_mean() -> None:
    left, right = tone(440, 1.0), tone(1000, 1.0)
    found = read_sound(as_file(np.stack([left, right], axis=1), subtype="FLOAT"), RATE)
    np.testing.assert_allclose(found, (left + right) / 2, atol=1e-7)


def test_a_file_at_another_rate_is_the_same_sound(speech: Speech) -> None:
    long = read_sound(as_file(tone(440, 20.0, 44_100), "FLAC", 44_100), RATE)
    assert len(long) == 20 * RATE
    inner = slice(RATE // 10, -RATE // 10)
    np.testing.assert_allclose(long[inner], tone(440, 20.0)[inner], atol=1e-4)


def wav_with(rate: int) -> io.BytesIO:
    """A WAV file whose head tells another rate."""
    raw = bytearray(as_file(tone(440, 0.1)).getvalue())
    raw[24:28] = rate.to_bytes(4, "little")
    return io.BytesIO(bytes(raw))


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (io.BytesIO(b""), "no audio can be read"),
        (io.BytesIO(b"The pump is loud. " * 99), r"read.*Send WAV, FLAC, OGG or MP3"),
        (io.BytesIO(b"\0\0\0\x20ftypM4A \0\0\0\0" + b"\0" * 999), "no audio can be read"),
        (io.BytesIO(as_file(tone(440, 1.0)).getvalue()[:30]), "no audio can be read"),
        (io.BytesIO(as_file(tone(440, 1.0), "FLAC").getvalue()[:60]), "no audio"),
        (as_file(np.zeros(0)), "it contains no audio"),
        (as_file(np.full(99, np.nan), subtype="FLOAT"), "invalid samples"),
        (as_file(np.array([0, 1e30, 0]), subtype="FLOAT"), "invalid samples"),
        (wav_with(2_000_000_011), "2000000011 samples per second.*4000 to 192000"),
        (wav_with(100), "100 samples per second"),
    ],
    ids=["empty", "text", "m4a", "head", "broken", "nothing", "nan", "huge", "fast", "slow"],
)  # fmt: skip
def test_what_is_no_sound_is_refused(file: io.BytesIO, told: str) -> None:
    with pytest.raises(InputError, match=f"^file: .*{told}") as caught:
        read_sound(file, RATE)
    assert "BytesIO" not in str(caught.value)


def test_a_small_file_that_unpacks_to_hours_is_refused() -> None:
    within, beyond = (
        as_file(np.zeros(4000 * seconds, np.int16), "FLAC", 4000)
        for seconds in (MAX_SECONDS, MAX_SECONDS + 1)
    )
    assert len(beyond.getvalue()) < 1 << 20
    assert len(read_sound(within, 4000)) == 4000 * MAX_SECONDS
    with pytest.raises(InputError, match=r"more than 3600 s\. Cut it into parts"):
        read_sound(beyond, 4000)


# Sampling rates

RATES = [(44_100, RATE), (48_000, RATE), (8_000, RATE), (22_050, RATE), (11_025, RATE),
         (96_000, RATE), (RATE, 8_000), (47_999, RATE), (16_001, RATE), (RATE, 16_001)]  # fmt: skip


@pytest.mark.parametrize(("rate", "wanted"), RATES)
def test_tones_that_both_rates_hold_stay_as_they_are(rate: int, wanted: int) -> None:
    """By the formula of a tone, which has the same value at a moment whatever the rate."""
    seconds = 2 + (1 << 19) / rate  # several blocks
    pitches = [97.0, 0.3 * min(rate, wanted) / 2, 0.9 * min(rate, wanted) / 2]
    before, after = (
        sum(tone(pitch, seconds, each) for pitch in pitches) / 3 for each in (rate, wanted)
    )
    found = resample(np.float32(before), rate, wanted)
    assert found.dtype == np.float32
    assert len(found) == math.ceil(len(before) * wanted / rate)
    edge = int(0.2 * wanted)  # there a tone begins and ends, which has all frequencies
    inner = slice(edge, min(len(found), len(after)) - edge)
    assert np.abs(found[inner] - after[inner]).max() < 2e-5


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    found = resample(np.float32(tone(9_000, 3.0, 48_000)), 48_000, RATE)
    assert np.abs(found[2_000:-2_000]).max() < 1e-4


@pytest.mark.parametrize(("rate", "wanted"), [(44_100, RATE), (8_000, RATE), (48_000, RATE)])
def test_noise_is_resampled_as_scipy_does(rate: int, wanted: int) -> None:
    lower = min(rate, wanted)
    noise = np.random.default_rng(0).normal(size=3 * rate)
    smooth = lfilter(firwin(501, 0.6 * lower / rate), 1, noise)  # of what both filters let pass
    shared = math.gcd(rate, wanted)
    theirs = resample_poly(smooth, wanted // shared, rate // shared, window=("kaiser", 9.0))
    ours = resample(smooth.astype(np.float32), rate, wanted)
    assert len(ours) == len(theirs)
    inner = slice(2_000, -2_000)
    assert np.abs(ours[inner] - theirs[inner]).max() < 1e-3 * np.abs(theirs).max()


def test_the_same_rate_changes_nothing() -> None:
    sound = np.float32(tone(440, 0.1))
    assert resample(sound, RATE, RATE) is sound


@pytest.mark.parametrize("count", [1, 2, 441, 1000])
def test_short_sounds_are_resampled_too(count: int) -> None:
    found = resample(np.ones(count, np.float32), 44_100, RATE)
    assert len(found) == math.ceil(count * 160 / 441)
    assert np.isfinite(found).all()
