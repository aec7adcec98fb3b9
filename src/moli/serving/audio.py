"""OpenAI's audio transcriptions API.

The shapes follow the public API reference; fields that are not supported are refused, not ignored.
"""

from __future__ import annotations

import asyncio
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Request, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import AfterValidator, Field, model_validator

from moli.models.speech.whisper import (
    SpeechRecognizer,
    SpeechSegment,
    Transcript,
    load_recognizer,
)
from moli.parsing import Limits, Sandbox
from moli.parsing.formats import SET_SPEECH
from moli.records.errors import BusyError, DocumentError, InputError, NotFoundError
from moli.serving.bodies import ShortText, StorableText
from moli.serving.form_body import FormBody, FormRoute
from moli.serving.headers import HEADERS
from moli.serving.middleware import MAX_BODY
from moli.workspace import Settings

router = APIRouter(route_class=FormRoute)
_PATH = "/v1/audio/transcriptions"
# Sound needs large bodies: 25 MiB as in OpenAI's API, and room for the other fields.
LARGER_BODIES = {_PATH: (25 << 20) + MAX_BODY}
_RETRY_SECONDS = 30  # after which a full queue is worth another try


def _refuse_streaming(stream: bool) -> bool:
    """Refuse a request for a stream."""
    if stream:
        raise ValueError("transcriptions are not streamed; leave it out")
    return stream


class TranscriptionRequest(FormBody):
    """An audio file, and how to transcribe it."""

    file: Annotated[UploadFile, Field(description="WAV, FLAC, OGG or MP3")]
    model: ShortText = ""
    language: Annotated[StorableText, Field(max_length=20, description="Its code, such as en")] = ""
    prompt: Annotated[StorableText, Field(max_length=10_000)] = ""
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.0
    timestamp_granularities: list[Literal["segment"]] = Field(
        default_factory=list, alias="timestamp_granularities[]", max_length=1
    )
    stream: Annotated[bool, AfterValidator(_refuse_streaming)] = False

    @model_validator(mode="after")
    def _check_granularities(self) -> TranscriptionRequest:
        """Refuse timestamps in a format that has none."""
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise ValueError("timestamp_granularities[] needs response_format verbose_json")
        return self


class TranscriptionService:
    """The speech model of a workspace's settings.

    One file is transcribed at a time, in a thread of its own. Requests that wait for it hold no
    thread, so that other requests are answered meanwhile. Files are decoded in a sandbox.

    Raises:
        ModelError: the settings name a model that there is not, or of another kind.
    """

    def __init__(self, settings: Settings) -> None:
        self._speech = load_recognizer(settings.speech) if settings.speech else None
        self._sandbox = Sandbox(Limits.from_settings(settings))
        self._max_waiting = settings.queue
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="speech")
        self._pending = 0

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        """Transcribe a file.

        Raises:
            NotFoundError: no model is set, or another was requested.
            BusyError: too many files wait.
            InputError: the file cannot be read, or for the reasons that
                `SpeechRecognizer.transcribe` gives.
            ModelError: the model cannot be loaded.
        """
        speech = self._find_model(request.model)
        if self._pending > self._max_waiting:  # one of them is being transcribed
            raise BusyError(
                _RETRY_SECONDS,
                f"{self._max_waiting} files are already waiting for the speech model",
                fix=f"Try again in {_RETRY_SECONDS} s.",
            )
        self._pending += 1
        try:
            future = self._thread.submit(self._transcribe, speech, request)
            return await asyncio.wrap_future(future)
        finally:
            self._pending -= 1

    def _transcribe(self, speech: SpeechRecognizer, request: TranscriptionRequest) -> Transcript:
        """The transcript of the file in a request."""
        with NamedTemporaryFile(prefix="moli-") as copy:
            shutil.copyfileobj(request.file.file, copy)
            copy.flush()
            try:
                samples = self._sandbox.read_recording(Path(copy.name), speech.sampling_rate)
            except DocumentError as error:
                raise InputError(error.what, where="file", fix=error.fix) from error
        return speech.transcribe(
            samples,
            language=request.language.lower(),
            prompt=request.prompt,
            temperature=request.temperature,
        )

    def close(self) -> None:
        """End the sandbox, once the file that is being read is done."""
        self._thread.shutdown(cancel_futures=True)
        self._sandbox.close()

    def _find_model(self, name: str) -> SpeechRecognizer:
        """The model with a name; "" for the one in the settings.

        Raises:
            NotFoundError: there is none, or it has another name.
        """
        if self._speech is None:
            raise NotFoundError(
                "no speech model is set",
                where="moli.toml",
                fix=SET_SPEECH,
            )
        if name not in ("", self._speech.name):
            raise NotFoundError(
                f"no speech model is called '{name}'", fix=f"Ask for {self._speech.name}."
            )
        return self._speech


@router.post(_PATH)
async def transcriptions(
    body: Annotated[TranscriptionRequest, File()], request: Request
) -> Response:
    """Transcribe an audio file."""
    service: TranscriptionService = request.app.state.transcription_service
    transcript = await service.transcribe(body)
    if body.response_format in ("json", "verbose_json"):
        seconds = round(transcript.seconds, 2)
        fields = {"text": transcript.text, "usage": {"type": "duration", "seconds": seconds}}
        if body.response_format == "verbose_json":
            fields |= _verbose_fields(transcript, body.temperature)
        return JSONResponse(fields, headers=HEADERS)
    formats = {"text": _format_text, "srt": _format_srt, "vtt": _format_vtt}
    return PlainTextResponse(formats[body.response_format](transcript), headers=HEADERS)


def _verbose_fields(transcript: Transcript, temperature: float) -> dict[str, Any]:
    """Fields that only the format verbose_json has."""
    segments = enumerate(transcript.segments)
    return {
        "task": "transcribe",
        "language": transcript.language,
        "duration": round(transcript.seconds, 2),
        "segments": [_segment_object(n, each, temperature) for n, each in segments],
    }


def _segment_object(number: int, segment: SpeechSegment, temperature: float) -> dict[str, Any]:
    """A segment in OpenAI's shape; fields that are not measured here are null."""
    text = segment.text.encode()
    return {
        "id": number,
        "seek": None,
        "start": round(segment.start, 2),
        "end": round(segment.end, 2),
        "text": segment.text,
        "tokens": segment.tokens,
        "temperature": temperature,
        "avg_logprob": None,
        "compression_ratio": len(text) / len(zlib.compress(text)),
        "no_speech_prob": None,
    }


def _format_text(transcript: Transcript) -> str:
    """The whole text and a line feed."""
    return transcript.text + "\n"


def _format_srt(transcript: Transcript) -> str:
    """Subtitles in the format SubRip, which numbers the cues."""
    cues = enumerate(transcript.segments, 1)
    return "".join(f"{number}\n{_format_cue(each, ',')}" for number, each in cues)


def _format_vtt(transcript: Transcript) -> str:
    """Subtitles in the format WebVTT."""
    return "WEBVTT\n\n" + "".join(_format_cue(each, ".") for each in transcript.segments)


def _format_cue(segment: SpeechSegment, decimal_mark: str) -> str:
    """A subtitle with its times. An arrow separates them, so its text must not contain one."""
    text = segment.text.strip().replace("-->", "->")
    start = _format_timestamp(segment.start, decimal_mark)
    end = _format_timestamp(segment.end, decimal_mark)
    return f"{start} --> {end}\n{text}\n\n"


def _format_timestamp(seconds: float, decimal_mark: str) -> str:
    """Hours, minutes, seconds and thousandths, such as 00:01:02.345."""
    minutes, thousandths = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, thousandths = divmod(thousandths, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{decimal_mark}{thousandths:03}"
