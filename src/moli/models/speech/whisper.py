"""Speech recognition with Whisper (Radford et al. 2022), run here by transformers.

A Whisper model reads windows of 30 s; in a longer file, each window begins where the last whole
segment ended.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from moli.models.speech.audio import read_audio
from moli.models.speech.ctranslate2 import converted_whisper, is_ctranslate2
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import load_config, load_model, transformers_lock
from moli.records.errors import InputError, ModelError

_NAME_A_WHISPER_MODEL = (
    "Name the folder or org/name of a Whisper model, such as openai/whisper-small."
)


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """A stretch of speech, usually a sentence or less.

    Attributes:
        start, end: seconds from the beginning of the file.
        text: transcribed text, with the space that separates it from the segment before.
        tokens: generated tokens, including timestamps.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """The transcript of an audio file.

    Attributes:
        language: English name of the language in lower case, as requested or else as detected.
        seconds: duration of the file.
    """

    text: str
    language: str
    seconds: float
    segments: tuple[SpeechSegment, ...]


class SpeechRecognizer:
    """A speech recognition model, loaded when it is first needed.

    It is thread-safe. One file is transcribed at a time: generation keeps state in the model.

    Args:
        reference: reference of a Whisper model.
    """

    def __init__(self, reference: str) -> None:
        self.name = reference
        self._model: _WhisperModel | None = None
        self._lock = threading.Lock()

    def transcribe(
        self, file: BinaryIO, *, language: str = "", prompt: str = "", temperature: float = 0.0
    ) -> Transcript:
        """Transcribe an audio file.

        Args:
            language: language code, such as "en"; "" to have the model detect the language.
            prompt: text that was spoken before, or names and words to expect.
            temperature: 0 for the most likely words; above 0, they are sampled.

        Raises:
            InputError: the file cannot be read, or the model lacks the language or room for the
                prompt.
            ModelError: the model cannot be loaded, or is not a Whisper model.
        """
        with self._lock:
            if self._model is None:
                self._model = _WhisperModel(self.name)
            return self._model.transcribe(file, language, prompt, temperature)


class _WhisperModel:
    """A loaded Whisper model with its tokenizer and feature extractor.

    Raises:
        ModelError: it cannot be loaded, or is not a Whisper model.
    """

    def __init__(self, reference: str) -> None:
        import torch

        if is_ctranslate2(Path(reference)):
            reference = str(converted_whisper(Path(reference)))
        config = load_config(reference)
        if config.model_type != "whisper":
            raise ModelError(
                f"a model of the kind {config.model_type}, which is not supported for speech",
                where=reference,
                fix=_NAME_A_WHISPER_MODEL,
            )
        has_cuda = torch.cuda.is_available()
        # Many models are stored in half precision, which is slow on CPUs.
        dtype = "auto" if has_cuda else torch.float32
        model: Any = load_model("AutoModelForSpeechSeq2Seq", reference, dtype=dtype)
        generation_config = model.generation_config
        if not hasattr(generation_config, "no_timestamps_token_id"):
            raise ModelError(
                "its generation_config.json lacks the timestamp tokens",
                where=reference,
                fix="Copy the file from the Whisper model that it was tuned from.",
            )
        self._model = model.to("cuda" if has_cuda else "cpu").eval()
        self._tokenizer = load_tokenizer(reference)
        self._feature_extractor = load_model("AutoFeatureExtractor", reference)
        with transformers_lock:
            from transformers.models.whisper.tokenization_whisper import LANGUAGES
        self._language_names: dict[str, str] = LANGUAGES
        # A model that knows English only has no language tokens.
        token_ids: dict[str, int] = getattr(generation_config, "lang_to_id", None) or {}
        self._language_codes = {number: token.strip("<|>") for token, number in token_ids.items()}

    def transcribe(
        self, file: BinaryIO, language: str, prompt: str, temperature: float
    ) -> Transcript:
        """Transcribe an audio file, with the arguments of `SpeechRecognizer.transcribe`."""
        import torch

        self._check_language(language)
        prompt_ids = self._prompt_ids(prompt)
        rate = self._feature_extractor.sampling_rate
        samples = read_audio(file, rate)
        seconds = len(samples) / rate
        options = {"sampling_rate": rate, "truncation": False, "return_tensors": "pt"}
        features = self._feature_extractor(samples, **options).input_features
        with torch.inference_mode():
            features = features.to(self._model.device, self._model.dtype)
            code = language or self._detect_language(features)
            task = {"language": code, "task": "transcribe"} if self._language_codes else {}
            generated = self._model.generate(
                features,
                return_timestamps=True,
                return_segments=True,
                temperature=temperature,
                prompt_ids=prompt_ids,
                **task,
            )
        segments = (self._segment(segment, seconds) for segment in generated["segments"][0])
        return Transcript(
            text=self._decode(generated["sequences"][0]).strip(),
            language=self._language_names.get(code, code),
            seconds=seconds,
            segments=tuple(segment for segment in segments if segment.text.strip()),
        )

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
