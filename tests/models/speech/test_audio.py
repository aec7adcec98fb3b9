"""Audio files are read as samples, and resampled as formulas and SciPy say."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from models.speech.small_whisper import RATE, as_file, tone
from scipy.signal import firwin, lfilter, resample_poly

from moli.models.speech.audio import MAX_SECONDS, read_audio, resample
from moli.records.errors import DocumentError


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
    expected = 0.5 * np.sin(2 * np.pi * (100 * time + 500 * time**2))  # ever higher
    result = read_audio(as_file(expected, kind, **options), RATE)
    assert (result.dtype, result.shape) == (np.float32, (RATE,))
    inner = slice(RATE // 10, -RATE // 10)  # lossy ones blur the ends
    assert np.abs(result[inner] - expected[inner]).max() <= most


def test_channels_become_their_mean() -> None:
    left, right = tone(440, 1.0), tone(1000, 1.0)
    result = read_audio(as_file(np.stack([left, right], axis=1), subtype="FLOAT"), RATE)
    np.testing.assert_allclose(result, (left + right) / 2, atol=1e-7)


def test_channels_that_cancel_each_other_out_are_not_lost() -> None:
    sound = 0.5 * tone(440, 1.0)
    crossed = np.stack([0.9 * sound, -sound], axis=1)  # the mean has .0028 of their mean power
    samples = read_audio(as_file(crossed, subtype="FLOAT"), RATE)
    np.testing.assert_allclose(samples, -sound, atol=1e-6)


def test_a_file_at_another_rate_is_the_same_sound() -> None:
    long = read_audio(as_file(tone(440, 20.0, 44_100), "FLAC", 44_100), RATE)
    assert len(long) == 20 * RATE
    inner = slice(RATE // 10, -RATE // 10)
    np.testing.assert_allclose(long[inner], tone(440, 20.0)[inner], atol=1e-4)


def wav_with(rate: int) -> io.BytesIO:
    """A WAV file whose head tells another rate."""
    raw = bytearray(as_file(tone(440, 0.1)).getvalue())
    raw[24:28] = rate.to_bytes(4, "little")
    return io.BytesIO(bytes(raw))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (io.BytesIO(b""), "no audio can be read"),
        (io.BytesIO(b"The pump is loud. " * 99), r"read.*again as WAV, FLAC, OGG or MP3"),
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
def test_what_is_no_sound_is_refused(file: io.BytesIO, message: str) -> None:
    with pytest.raises(DocumentError, match=message) as caught:
        read_audio(file, RATE)
    assert "BytesIO" not in str(caught.value)


@pytest.mark.slow
def test_a_small_file_that_unpacks_to_hours_is_refused() -> None:
    within, beyond = (
        as_file(np.zeros(4000 * seconds, np.int16), "FLAC", 4000)
        for seconds in (MAX_SECONDS, MAX_SECONDS + 1)
    )
    assert len(beyond.getvalue()) < 1 << 20
    assert len(read_audio(within, 4000)) == 4000 * MAX_SECONDS
    with pytest.raises(DocumentError, match=r"more than 3600 s\. Cut it into parts"):
        read_audio(beyond, 4000)


# Sampling rates

RATES = [(44_100, RATE), (48_000, RATE), (8_000, RATE), (22_050, RATE), (11_025, RATE),
         (96_000, RATE), (RATE, 8_000), (47_999, RATE), (16_001, RATE), (RATE, 16_001)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "target_rate"), RATES)
def test_tones_that_both_rates_hold_stay_as_they_are(rate: int, target_rate: int) -> None:
    """By the formula of a tone, which has the same value at a moment whatever the rate."""
    seconds = 2 + (1 << 19) / rate  # several blocks
    pitches = [97.0, 0.3 * min(rate, target_rate) / 2, 0.9 * min(rate, target_rate) / 2]
    before, after = (
        sum(tone(pitch, seconds, each) for pitch in pitches) / 3 for each in (rate, target_rate)
    )
    result = resample(np.float32(before), rate, target_rate)
    assert result.dtype == np.float32
    assert len(result) == math.ceil(len(before) * target_rate / rate)
    edge = int(0.2 * target_rate)  # there a tone begins and ends, which has all frequencies
    inner = slice(edge, min(len(result), len(after)) - edge)
    assert np.abs(result[inner] - after[inner]).max() < 2e-5


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    result = resample(np.float32(tone(9_000, 3.0, 48_000)), 48_000, RATE)
    assert np.abs(result[2_000:-2_000]).max() < 1e-4


@pytest.mark.parametrize(("rate", "target_rate"), [(44_100, RATE), (8_000, RATE), (48_000, RATE)])
def test_noise_is_resampled_as_scipy_does(rate: int, target_rate: int) -> None:
    lower = min(rate, target_rate)
    noise = np.random.default_rng(0).normal(size=3 * rate)
    smooth = lfilter(firwin(501, 0.6 * lower / rate), 1, noise)  # of what both filters let pass
    shared = math.gcd(rate, target_rate)
    theirs = resample_poly(smooth, target_rate // shared, rate // shared, window=("kaiser", 9.0))
    ours = resample(smooth.astype(np.float32), rate, target_rate)
    assert len(ours) == len(theirs)
    inner = slice(2_000, -2_000)
    assert np.abs(ours[inner] - theirs[inner]).max() < 1e-3 * np.abs(theirs).max()


def test_the_same_rate_changes_nothing() -> None:
    sound = np.float32(tone(440, 0.1))
    assert resample(sound, RATE, RATE) is sound


@pytest.mark.parametrize("count", [1, 2, 441, 1000])
def test_short_sounds_are_resampled_too(count: int) -> None:
    result = resample(np.ones(count, np.float32), 44_100, RATE)
    assert len(result) == math.ceil(count * 160 / 441)
    assert np.isfinite(result).all()
