"""Audio files as samples, and their conversion to another sampling rate."""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from moli.records.errors import DocumentError

MAX_SECONDS = 3600
_MIN_RATE, _MAX_RATE = 4_000, 192_000  # samples per second of files that are accepted
# Memory is limited by samples: of a file with a higher rate, fewer seconds are accepted.
_FULL_LENGTH_RATE = 48_000
_BLOCK = 1 << 18  # samples that are read or resampled at once
_MAX_AMPLITUDE = 1e4  # full scale is 1; the squares of much larger samples would overflow
_CANCELLED = 0.01  # share of the channels' power in their mean, below which they cancel out

# Up to this share of the lower Nyquist frequency, a resampled sound stays as it is; from there its
# frequencies fade to nothing. A fade of this width has died away after `_MARGIN` of the slower
# samples.
_PASS_BAND = 0.92
_MARGIN = 1024


def read_audio(file: BinaryIO, sampling_rate: int) -> NDArray[np.float32]:
    """Read a file, its channels mixed to one: [samples].

    Args:
        sampling_rate: samples per second of the result.

    Raises:
        DocumentError: the file's format is not supported, it is broken, empty or too long, or its
            sampling rate or samples are invalid.
    """
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound_file:
            samples, file_rate = _read_mono(sound_file), sound_file.samplerate
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        what = f"no audio can be read from it ({reason})"
        raise DocumentError(
            "broken", what, fix="Save it again as WAV, FLAC, OGG or MP3."
        ) from error
    if not len(samples):
        raise DocumentError("empty", "it contains no audio", fix="Choose a file with speech.")
    if not np.abs(samples).max() < _MAX_AMPLITUDE:  # false for NaN as well
        raise DocumentError("broken", "it has invalid samples", fix="Save it again.")
    return resample(samples, file_rate, sampling_rate)


def _read_mono(sound_file: Any) -> NDArray[np.float32]:
    """The channels as one, read block by block: a small file may unpack to a very long one."""
    rate = sound_file.samplerate
    if not _MIN_RATE <= rate <= _MAX_RATE:
        fix = f"Save it with {_MIN_RATE} to {_MAX_RATE}, such as 16000."
        raise DocumentError("unsupported", f"it has {rate} samples per second", fix=fix)
    max_samples = MAX_SECONDS * min(rate, _FULL_LENGTH_RATE)
    block_size = max(1, _BLOCK // sound_file.channels)
    blocks, count = [np.empty(0, np.float32)], 0
    while len(block := sound_file.read(block_size, "float32", always_2d=True)):
        count += len(block)
        if count > max_samples:
            what = f"it lasts more than {max_samples // rate} s"
            raise DocumentError("too_large", what, fix="Cut it into parts.")
        blocks.append(_mono(block))
    return np.concatenate(blocks)


def _mono(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the channels; of channels that cancel each other out, the loudest.

    A microphone with crossed wires records one channel as the negative of the other.

    Args:
        block: [samples, channels].
    """
    mean: NDArray[np.float32] = block.mean(axis=1)
    power = np.square(block, dtype=np.float64).mean(axis=0)  # [channels]
    if np.square(mean, dtype=np.float64).mean() < _CANCELLED * power.mean():
        mean = block[:, power.argmax()]
    return mean


def resample(samples: NDArray[np.float32], rate: int, target_rate: int) -> NDArray[np.float32]:
    """A sound at another sampling rate, with all frequencies that both rates can represent.

    Each block is resampled in the frequency domain, where its spectrum is cut or zero-padded to the
    length at the target rate. The margins that it shares with its neighbors are cut off again
    (overlap-save).

    Args:
        samples: [samples], `rate` of them per second.

    Returns:
        [ceil(samples * target_rate / rate)]
    """
    if rate == target_rate:
        return samples
    # The shortest time with a whole number of samples at both rates is a period.
    divisor = math.gcd(rate, target_rate)
    old, new = rate // divisor, target_rate // divisor  # samples per period
    lower = min(old, new)
    # Lengths in periods: a block with its two margins, and what it adds to the result. The discrete
    # Fourier transform of a power of two is fast.
    margin = -(-_MARGIN // lower)
    length = 1 << max(_BLOCK // old, 4 * margin).bit_length() - 1
    step = length - 2 * margin
    blocks = -(-len(samples) // (step * old))
    frequencies = np.linspace(0, 1, length * lower // 2 + 1)  # share of the lower Nyquist frequency
    fade = np.clip((frequencies - _PASS_BAND) / (1 - _PASS_BAND), 0, 1)
    gain = (np.cos(np.pi / 2 * fade) ** 2 * new / old).astype(np.float32)
    resampled = []
    for start in range(0, blocks * step, step):
        first = (start - margin) * old
        spectrum = np.fft.rfft(_padded_slice(samples, first, first + length * old))
        block = np.fft.irfft(spectrum[: len(gain)] * gain, length * new)
        resampled.append(block[margin * new : (margin + step) * new].astype(np.float32))
    return np.concatenate(resampled)[: -(-len(samples) * new // old)]


def _padded_slice(samples: NDArray[np.float32], start: int, end: int) -> NDArray[np.float32]:
    """The samples from `start` to `end`, with zeros before the first and after the last one."""
    part = samples[max(start, 0) : end]
    return np.pad(part, (before := max(-start, 0), end - start - before - len(part)))
