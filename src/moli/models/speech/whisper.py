"""Speech recognition with Whisper (Radford et al. 2022), run here by transformers.

A Whisper model reads windows of 30 s; in a longer recording, each window begins where the last
whole segment ended.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.models.speech.ctranslate2 import converted_whisper, is_ctranslate2
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.json_files import read_model_json
from moli.models.weights.loading import folder_of, load_model, transformers_lock
from moli.records.errors import InputError, ModelError

# A window that repeats itself or is unlikely is decoded again at the next temperature, and one that
# is unlikely and probably not speech is left out (Radford et al. 2022, section 4.5). Transformers
# compresses tokens, not text, so a ratio of 1.35 stands for the 2.4 of the paper.
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_SAFEGUARDS = {
    "compression_ratio_threshold": 1.35,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
}
_MIN_AMPLITUDE = 2e-4  # Full scale is 1; what is quieter all along is silence.
_TIME_ERROR = 1.0  # seconds by which a segment's times may be wrong
_NAME_A_WHISPER_MODEL = (
    "Name the folder or org/name of a Whisper model, or get one with: moli models get whisper-tiny."
)


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """A stretch of speech, usually a sentence or less.

    Attributes:
        start, end: seconds from the beginning of the recording.
        text: transcribed text, with the space that separates it from the segment before.
        tokens: generated tokens, including timestamps.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """The transcript of a recording.

    Attributes:
        language: English name of the language in lower case, as requested or else as detected.
        seconds: duration of the recording.
    """

    text: str
    language: str
    seconds: float
    segments: tuple[SpeechSegment, ...]


@cache
def load_recognizer(reference: str) -> SpeechRecognizer:
    """The recognizer of a reference, one for the process.

    Raises:
        ModelError: the reference is not to a Whisper model.
    """
    return SpeechRecognizer(reference)


class SpeechRecognizer:
    """A speech recognition model, whose weights are loaded when they are first needed.

    It is thread-safe. One recording is transcribed at a time: generation keeps state in the model.

    Args:
        reference: reference of a Whisper model.

    Raises:
        ModelError: there is no such model, or it is of another kind.
    """

    def __init__(self, reference: str) -> None:
        _check_is_whisper(reference)
        self.name = reference
        self._model: _WhisperModel | None = None
        self._lock = threading.Lock()

    @property
    def sampling_rate(self) -> int:
        """Samples per second of the recordings that the model reads.

        Raises:
            ModelError: the model cannot be loaded.
        """
        return self._loaded().sampling_rate

    def transcribe(
        self,
        samples: NDArray[np.float32],
        *,
        language: str = "",
        prompt: str = "",
        temperature: float = 0.0,
    ) -> Transcript:
        """Transcribe a recording.

        Args:
            samples: [samples], `sampling_rate` of them per second.
            language: language code, such as "en"; "" to have the model detect the language.
            prompt: text that was spoken before, or names and words to expect.
            temperature: 0 for the most likely words, but where those repeat themselves or are
                unlikely, words are sampled, the same each time; above 0, all are sampled.

        Raises:
            InputError: the model lacks the language, or room for the prompt.
            ModelError: the model cannot be loaded.
        """
        model = self._loaded()
        with self._lock:
            return model.transcribe(samples, language, prompt, temperature)

    def _loaded(self) -> _WhisperModel:
        """The model, which is loaded the first time."""
        with self._lock:
            if self._model is None:
                self._model = _WhisperModel(self.name)
            return self._model


def _check_is_whisper(reference: str) -> None:
    """Check the small files of a model, without loading it.

    Raises:
        ModelError: there is no such model, or it is of another kind.
    """
    source = folder_of(reference)
    if is_ctranslate2(Path(source)):
        return
    config = read_model_json(source, "config.json")
    generation = read_model_json(source, "generation_config.json")
    if config is None:
        is_folder = Path(source).is_dir()
        what = "the folder has no config.json" if is_folder else "no such folder or model"
    elif (kind := config.get("model_type")) != "whisper":
        what = f"a model of the kind {kind}, which is not supported for speech"
    elif "no_timestamps_token_id" not in (generation or {}):
        raise ModelError(
            "its generation_config.json lacks the timestamp tokens",
            where=reference,
            fix="Copy the file from the Whisper model that it was tuned from.",
        )
    else:
        return
    raise ModelError(what, where=reference, fix=_NAME_A_WHISPER_MODEL)


class _WhisperModel:
    """A loaded Whisper model with its tokenizer and feature extractor.

    Raises:
        ModelError: it cannot be loaded.
    """

    def __init__(self, reference: str) -> None:
        import torch

        if is_ctranslate2(Path(reference)):
            reference = str(converted_whisper(Path(reference)))
        has_cuda = torch.cuda.is_available()
        # Many models are stored in half precision, which is slow on CPUs.
        dtype = "auto" if has_cuda else torch.float32
        model: Any = load_model("AutoModelForSpeechSeq2Seq", reference, dtype=dtype)
        self._model = model.to("cuda" if has_cuda else "cpu").eval()
        self._tokenizer = load_tokenizer(reference)
        self._feature_extractor = load_model("AutoFeatureExtractor", reference)
        self.sampling_rate = int(self._feature_extractor.sampling_rate)
        with transformers_lock:
            from transformers.models.whisper.tokenization_whisper import LANGUAGES
        self._language_names: dict[str, str] = LANGUAGES
        # A model that knows English only has no language tokens.
        token_ids: dict[str, int] = getattr(model.generation_config, "lang_to_id", None) or {}
        self._language_codes = {number: token.strip("<|>") for token, number in token_ids.items()}

    def transcribe(
        self, samples: NDArray[np.float32], language: str, prompt: str, temperature: float
    ) -> Transcript:
        """Transcribe a recording, with the arguments of `SpeechRecognizer.transcribe`."""
        import torch

        self._check_language(language)
        prompt_ids = self._prompt_ids(prompt)
        seconds = len(samples) / self.sampling_rate
        options = {
            "sampling_rate": self.sampling_rate, "truncation": False, "return_tensors": "pt",
        }  # fmt: skip
        features = self._feature_extractor(samples, **options).input_features
        with torch.inference_mode():
            features = features.to(self._model.device, self._model.dtype)
            code = language or self._detect_language(features)
            task = {"language": code, "task": "transcribe"} if self._language_codes else {}
            generated = self._generate(features, temperature, prompt_ids=prompt_ids, **task)
        transcribed = (self._segment(segment, seconds) for segment in generated["segments"][0])
        segments = tuple(each for each in transcribed if self._is_speech(each, samples))
        return Transcript(
            text="".join(segment.text for segment in segments).strip(),
            language=self._language_names.get(code, code),
            seconds=seconds,
            segments=segments,
        )

    def _generate(self, features: Any, temperature: float, **options: Any) -> Any:
        """The output of the model for the features of a recording.

        At temperature 0, windows that are sampled after all have random numbers of their own.
        """
        import torch

        options |= {"return_timestamps": True, "return_segments": True, **_SAFEGUARDS}
        if temperature:
            return self._model.generate(features, temperature=temperature, **options)
        device = self._model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            return self._model.generate(features, temperature=_TEMPERATURES, **options)

    def _is_speech(self, segment: SpeechSegment, samples: NDArray[np.float32]) -> bool:
        """Whether a segment has letters or digits, and is not in complete silence."""
        start = round(max(0.0, segment.start - _TIME_ERROR) * self.sampling_rate)
        end = round((segment.end + _TIME_ERROR) * self.sampling_rate)
        loudest = float(np.abs(samples[start:end]).max(initial=0))
        return loudest >= _MIN_AMPLITUDE and any(map(str.isalnum, segment.text))

    def _check_language(self, language: str) -> None:
        """Check that the model knows a language code; "" is allowed.

        Raises:
            InputError: the model does not know it.
        """
        known = sorted(self._language_codes.values()) or ["en"]
        if language and language not in known:
            raise InputError(
                f"the model does not know the language '{language}'",
                where="language",
                fix=f"Give one of {', '.join(known)}, or leave it out.",
            )

    def _prompt_ids(self, prompt: str) -> Any:
        """The tokens of the prompt as a tensor; None if it is empty.

        Raises:
            InputError: it contains a special token, or is too long.
        """
        if not prompt.strip():
            return None
        try:
            ids = self._tokenizer.get_prompt_ids(prompt, return_tensors="pt")
        except ValueError as error:  # whose message names the special token
            raise InputError(str(error).rstrip("."), where="prompt", fix="Leave it out.") from error
        # Half of the positions are for the transcript, and one is for the token before the prompt.
        room = self._model.config.max_target_positions // 2 - 2
        if len(ids) - 1 > room:
            raise InputError(
                f"the prompt has {len(ids) - 1} tokens, and there is room for {room}",
                where="prompt",
                fix="Shorten it.",
            )
        return ids.to(self._model.device)

    def _detect_language(self, features: Any) -> str:
        """The code of the language in the first window."""
        if not self._language_codes:
            return "en"
        frames = 2 * self._model.config.max_source_positions
        token_ids = self._model.detect_language(features, num_segment_frames=frames)
        return self._language_codes[int(token_ids[0])]

    def _segment(self, generated: dict[str, Any], seconds: float) -> SpeechSegment:
        """A segment as `generate` returns it, in a file that lasts `seconds`."""
        # The last window is filled up with silence, where a time is after the end of the file.
        start, end = (min(float(generated[name]), seconds) for name in ("start", "end"))
        tokens = generated["tokens"]
        return SpeechSegment(start, end, self._decode(tokens), tuple(tokens.tolist()))

    def _decode(self, tokens: Any) -> str:
        """The text of generated tokens, without timestamps."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))
