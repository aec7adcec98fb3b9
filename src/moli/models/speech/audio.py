"""Audio files as samples, and their conversion to another sampling rate."""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from moli.records.errors import InputError

MAX_SECONDS = 3600
_MIN_RATE, _MAX_RATE = 4_000, 192_000  # samples per second of files that are accepted
# Memory is limited by samples: of a file with a higher rate, fewer seconds are accepted.
_FULL_LENGTH_RATE = 48_000
_BLOCK = 1 << 18  # samples that are read or resampled at once
_MAX_AMPLITUDE = 1e4  # full scale is 1; the squares of much larger samples would overflow

# Up to this share of the lower Nyquist frequency, a resampled sound stays as it is; from there its
# frequencies fade to nothing. A fade of this width has died away after `_MARGIN` of the slower
# samples.
_PASS_BAND = 0.92
_MARGIN = 1024


def read_audio(file: BinaryIO, sampling_rate: int) -> NDArray[np.float32]:
    """Read a file as the mean of its channels: [samples].

    Args:
        sampling_rate: samples per second of the result.

    Raises:
        InputError: the file's format is not supported, it is broken, empty or too long, or its
            sampling rate or samples are invalid.
    """
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound_file:
            samples, file_rate = _read_mono(sound_file), sound_file.samplerate
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        what = f"no audio can be read from it ({reason})"
        raise _file_error(what, "Send WAV, FLAC, OGG or MP3.") from error
    if not len(samples):
        raise _file_error("it contains no audio", "Send a file with speech.")
    if not np.abs(samples).max() < _MAX_AMPLITUDE:  # false for NaN as well
        raise _file_error("it has invalid samples", "Save the file again.")
    return resample(samples, file_rate, sampling_rate)


def _read_mono(sound_file: Any) -> NDArray[np.float32]:
    """The mean of the channels, read block by block: a small file may unpack to a very long one."""
    rate = sound_file.samplerate
    if not _MIN_RATE <= rate <= _MAX_RATE:
        fix = f"Send one with {_MIN_RATE} to {_MAX_RATE}, such as 16000."
        raise _file_error(f"it has {rate} samples per second", fix)
    max_samples = MAX_SECONDS * min(rate, _FULL_LENGTH_RATE)
    block_size = max(1, _BLOCK // sound_file.channels)
    blocks, count = [np.empty(0, np.float32)], 0
    while len(block := sound_file.read(block_size, "float32", always_2d=True)):
        count += len(block)
        if count > max_samples:
            raise _file_error(f"it lasts more than {max_samples // rate} s", "Cut it into parts.")
        blocks.append(block.mean(axis=1))
    return np.concatenate(blocks)


def _file_error(what: str, fix: str) -> InputError:
    """The error that an audio file cannot be used, for the reason `what`."""
    return InputError(what, where="file", fix=fix)


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
    # Lengths in periods: what a block adds to the result, and the block with its two margins.
    step = max(1, _BLOCK // old)
    margin = -(-_MARGIN // lower)
    length = step + 2 * margin
    blocks = -(-len(samples) // (step * old))
    after = (blocks * step + margin) * old - len(samples)
    padded = np.pad(samples, (margin * old, after))
    frequencies = np.linspace(0, 1, length * lower // 2 + 1)  # share of the lower Nyquist frequency
    fade = np.clip((frequencies - _PASS_BAND) / (1 - _PASS_BAND), 0, 1)
    gain = (np.cos(np.pi / 2 * fade) ** 2 * new / old).astype(np.float32)
    resampled = []
    for start in range(0, blocks * step, step):
        spectrum = np.fft.rfft(padded[start * old : (start + length) * old])
        block = np.fft.irfft(spectrum[: len(gain)] * gain, length * new)
        resampled.append(block[margin * new : (margin + step) * new].astype(np.float32))
    return np.concatenate(resampled)[: -(-len(samples) * new // old)]
