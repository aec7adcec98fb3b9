"""Speech recognition: audio files to text.

A model is Whisper (Radford et al. 2022) or one of its kind, run here through transformers. It reads
windows of 30 s; in a longer file, each window begins where the last whole segment ended.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import load_config, load_model, transformers_lock
from moli.records.errors import InputError, ModelError

MAX_SECONDS = 3600
_RATES = (4_000, 192_000)  # samples a second of the files that are read
_USUAL = 48_000  # of a file with more, fewer seconds are read: memory is by samples
_BLOCK = 1 << 18  # samples that are read or resampled at once
_LOUDEST = 1e4  # a full scale is 1; beyond this its squares would overflow

# Of the frequencies that two sampling rates share, those up to here stay as they are and the rest
# fades to nothing at the end. A fade this wide has died away after so many of the slower samples.
_KEPT = 0.92
_MARGIN = 1024

_OF_ITS_KIND = "Name the folder or org/name of a Whisper model, such as openai/whisper-small."


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech.

    Attributes:
        start, end: in seconds.
        text: with the space that separates it from the one before.
        tokens: that the model wrote, timestamps included.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """The transcript of a file.

    Attributes:
        language: its English name in lower case; detected by the model if not given.
        seconds: how long the file lasts.
    """

    text: str
    language: str
    seconds: float
    segments: tuple[Segment, ...]


class Speech:
    """A speech recognition model, loaded when it is first needed.

    It is thread-safe. One file is transcribed at a time: generation keeps state in the model.

    Args:
        reference: of a Whisper model.
    """

    def __init__(self, reference: str) -> None:
        self.name = reference
        self._whisper: _Whisper | None = None
        self._turn = threading.Lock()

    def transcribe(
        self, file: BinaryIO, *, language: str = "", prompt: str = "", temperature: float = 0.0
    ) -> Transcript:
        """Transcribe an audio file.

        Args:
            language: its code, such as "en"; "" to have the model detect it.
            prompt: what was said before, or names and words to expect.
            temperature: 0 for the most likely words; above 0, they are sampled.

        Raises:
            InputError: the file cannot be read, or the model lacks the language or room for the
                prompt.
            ModelError: the model cannot be loaded, or is not of Whisper's kind.
        """
        with self._turn:
            if self._whisper is None:
                self._whisper = _Whisper(self.name)
            return self._whisper.transcribe(file, language, prompt, temperature)


class _Whisper:
    """The loaded model."""

    def __init__(self, reference: str) -> None:
        import torch

        config = load_config(reference)
        if config.model_type != "whisper":
            raise ModelError(
                f"a model of the kind {config.model_type}, which is not supported for speech",
                where=reference,
                fix=_OF_ITS_KIND,
            )
        cuda = torch.cuda.is_available()
        # Many are kept in half precision, with which processors are slow.
        dtype = "auto" if cuda else torch.float32
        model: Any = load_model("AutoModelForSpeechSeq2Seq", reference, dtype=dtype)
        settings = model.generation_config
        if not hasattr(settings, "no_timestamps_token_id"):
            raise ModelError(
                "its generation_config.json lacks the timestamp tokens",
                where=reference,
                fix="Copy the file from the Whisper model that it was tuned from.",
            )
        self._model = model.to("cuda" if cuda else "cpu").eval()
        self._tokenizer = load_tokenizer(reference)
        self._extractor = load_model("AutoFeatureExtractor", reference)
        with transformers_lock:
            from transformers.models.whisper.tokenization_whisper import LANGUAGES
        self._names: dict[str, str] = LANGUAGES
        # None in a model that knows English alone.
        ids: dict[str, int] = getattr(settings, "lang_to_id", None) or {}
        self._codes = {number: mark.strip("<|>") for mark, number in ids.items()}

    def transcribe(
        self, file: BinaryIO, language: str, prompt: str, temperature: float
    ) -> Transcript:
        import torch

        self._check(language)
        prompt_ids = self._prompt_ids(prompt)
        rate = self._extractor.sampling_rate
        sound = read_sound(file, rate)
        seconds = len(sound) / rate
        options = {"sampling_rate": rate, "truncation": False, "return_tensors": "pt"}
        features = self._extractor(sound, **options).input_features
        with torch.inference_mode():
            features = features.to(self._model.device, self._model.dtype)
            spoken = language or self._language(features)
            told = {"language": spoken, "task": "transcribe"} if self._codes else {}
            written = self._model.generate(
                features,
                return_timestamps=True,
                return_segments=True,
                temperature=temperature,
                prompt_ids=prompt_ids,
                **told,
            )
        segments = (self._segment(each, seconds) for each in written["segments"][0])
        return Transcript(
            text=self._text(written["sequences"][0]).strip(),
            language=self._names.get(spoken, spoken),
            seconds=seconds,
            segments=tuple(each for each in segments if each.text.strip()),
        )

    def _check(self, language: str) -> None:
        known = sorted(self._codes.values()) or ["en"]
        if language and language not in known:
            raise InputError(
                f"the model does not know the language '{language}'",
                where="language",
                fix=f"Give one of {', '.join(known)}, or leave it out.",
            )

    def _prompt_ids(self, prompt: str) -> Any:
        if not prompt.strip():
            return None
        try:
            ids = self._tokenizer.get_prompt_ids(prompt, return_tensors="pt")
        except ValueError as error:  # which names the mark
            raise InputError(str(error).rstrip("."), where="prompt", fix="Leave it out.") from error
        # Half of the places are for what is said, and one is for the mark before the prompt.
        room = self._model.config.max_target_positions // 2 - 2
        if len(ids) - 1 > room:
            raise InputError(
                f"the prompt has {len(ids) - 1} tokens, and there is room for {room}",
                where="prompt",
                fix="Shorten it.",
            )
        return ids.to(self._model.device)

    def _language(self, features: Any) -> str:
        """The code of the language that is spoken in the first window."""
        if not self._codes:
            return "en"
        frames = 2 * self._model.config.max_source_positions
        found = self._model.detect_language(features, num_segment_frames=frames)
        return self._codes[int(found[0])]

    def _segment(self, made: dict[str, Any], seconds: float) -> Segment:
        # The last window is filled up with silence, and a time in there is after the end.
        start, end = (min(float(made[name]), seconds) for name in ("start", "end"))
        tokens = made["tokens"]
        return Segment(start, end, self._text(tokens), tuple(tokens.tolist()))

    def _text(self, tokens: Any) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))


def read_sound(file: BinaryIO, rate: int) -> NDArray[np.float32]:
    """The sound of a file as one channel, the mean of all: [samples], `rate` of them a second.

    Raises:
        InputError: its format is not supported, it is broken, empty or too long, or its sample rate
            or samples are invalid.
    """
    import soundfile

    try:
        with soundfile.SoundFile(file) as opened:
            sound, found = _mono(opened), opened.samplerate
    except soundfile.SoundFileError as error:
        told = getattr(error, "error_string", str(error)).rstrip(".")
        what = f"no audio can be read from it ({told})"
        raise _unusable(what, "Send WAV, FLAC, OGG or MP3.") from error
    if not len(sound):
        raise _unusable("it contains no audio", "Send a file with speech.")
    if not np.abs(sound).max() < _LOUDEST:  # which is also so for what is no number
        raise _unusable("it has invalid samples", "Save the file again.")
    return resample(sound, found, rate)


def _mono(opened: Any) -> NDArray[np.float32]:
    """The mean of the channels, block by block: a small file may unpack to a very long one."""
    rate = opened.samplerate
    slowest, fastest = _RATES
    if not slowest <= rate <= fastest:
        fix = f"Send one with {slowest} to {fastest}, such as 16000."
        raise _unusable(f"it has {rate} samples per second", fix)
    most = MAX_SECONDS * min(rate, _USUAL)
    block = max(1, _BLOCK // opened.channels)
    pieces, count = [np.empty(0, np.float32)], 0
    while len(piece := opened.read(block, "float32", always_2d=True)):
        count += len(piece)
        if count > most:
            raise _unusable(f"it lasts more than {most // rate} s", "Cut it into parts.")
        pieces.append(piece.mean(axis=1))
    return np.concatenate(pieces)


def _unusable(what: str, fix: str) -> InputError:
    return InputError(what, where="file", fix=fix)


def resample(sound: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """A sound at another sampling rate, with what both rates can hold of its frequencies.

    Each block is resampled by its spectrum, which is cut or filled up to the wanted length. What
    it takes from its neighbours on both sides is cut off again (overlap-save).

    Args:
        sound: [samples], `rate` of them a second.

    Returns:
        [ceil(samples * wanted / rate)]
    """
    if rate == wanted:
        return sound
    # So many samples of the one sound last as long as so many of the other: a period.
    common = math.gcd(rate, wanted)
    old, new = rate // common, wanted // common
    fewer = min(old, new)
    step = max(1, _BLOCK // old)
    margin = -(-_MARGIN // fewer)
    whole = step + 2 * margin
    blocks = -(-len(sound) // (step * old))
    after = (blocks * step + margin) * old - len(sound)
    padded = np.pad(sound, (margin * old, after))
    shared = np.linspace(0, 1, whole * fewer // 2 + 1)
    fade = np.clip((shared - _KEPT) / (1 - _KEPT), 0, 1)
    gain = (np.cos(np.pi / 2 * fade) ** 2 * new / old).astype(np.float32)
    pieces = []
    for first in range(0, blocks * step, step):
        spectrum = np.fft.rfft(padded[first * old : (first + whole) * old])
        piece = np.fft.irfft(spectrum[: len(gain)] * gain, whole * new)
        pieces.append(piece[margin * new : (margin + step) * new].astype(np.float32))
    return np.concatenate(pieces)[: -(-len(sound) * new // old)]
