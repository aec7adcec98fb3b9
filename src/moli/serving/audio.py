"""OpenAI's transcriptions: what is said in a sound file, as its clients ask for it.

The shapes follow the public API reference; what is not done here is refused, never ignored.
"""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Request, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import AfterValidator, Field, model_validator

from moli.models.speech.whisper import Segment, Speech, Transcript
from moli.records.errors import BusyError, NotFoundError
from moli.serving.bodies import Body, Name, Text
from moli.serving.headers import HEADERS
from moli.workspace import Settings

router = APIRouter()
_RETRY = 30  # seconds after which a full queue is worth another try


def _whole(stream: bool) -> bool:
    if stream:
        raise ValueError("transcriptions are not streamed; leave it out")
    return stream


class TranscriptionRequest(Body):
    """An audio file, and how to transcribe it."""

    file: Annotated[UploadFile, Field(description="WAV, FLAC, OGG or MP3")]
    model: Name = ""
    language: Annotated[Text, Field(max_length=20, description="Its code, such as en")] = ""
    prompt: Annotated[Text, Field(max_length=10_000)] = ""
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.0
    timestamp_granularities: list[Literal["segment"]] = Field(
        default_factory=list, alias="timestamp_granularities[]", max_length=1
    )
    stream: Annotated[bool, AfterValidator(_whole)] = False

    @model_validator(mode="after")
    def _has_times(self) -> TranscriptionRequest:
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise ValueError("timestamp_granularities[] needs response_format verbose_json")
        return self


class Transcribing:
    """The speech model of a workspace's settings.

    One file is transcribed at a time, in a thread of its own; those that wait hold none, so that
    other requests are answered meanwhile.
    """

    def __init__(self, settings: Settings) -> None:
        self._speech = Speech(settings.speech) if settings.speech else None
        self._most = settings.queue
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="speech")
        self._asked = 0

    async def transcribe(self, asked: TranscriptionRequest) -> Transcript:
        """Transcribe a file.

        Raises:
            NotFoundError: no model is set, or another was asked for.
            BusyError: too many files wait.
            InputError, ModelError: as `Speech.transcribe` does.
        """
        speech = self._named(asked.model)
        if self._asked > self._most:  # one of them is being heard
            raise BusyError(
                _RETRY,
                f"{self._most} files are already waiting for the speech model",
                fix=f"Try again in {_RETRY} s.",
            )
        self._asked += 1
        try:
            hearing = self._thread.submit(
                speech.transcribe,
                asked.file.file,
                language=asked.language.lower(),
                prompt=asked.prompt,
                temperature=asked.temperature,
            )
            return await asyncio.wrap_future(hearing)
        finally:
            self._asked -= 1

    def _named(self, name: str) -> Speech:
        if self._speech is None:
            raise NotFoundError(
                "no speech model is set",
                where="moli.toml",
                fix="Set speech to the folder or org/name of a Whisper model.",
            )
        if name not in ("", self._speech.name):
            raise NotFoundError(
                f"no speech model is called '{name}'", fix=f"Ask for {self._speech.name}."
            )
        return self._speech


@router.post("/v1/audio/transcriptions")
async def transcriptions(
    body: Annotated[TranscriptionRequest, File()], request: Request
) -> Response:
    """Transcribe an audio file."""
    transcribing: Transcribing = request.app.state.transcribing
    said = await transcribing.transcribe(body)
    if body.response_format in ("json", "verbose_json"):
        seconds = round(said.seconds, 2)
        told = {"text": said.text, "usage": {"type": "duration", "seconds": seconds}}
        if body.response_format == "verbose_json":
            told |= _details(said, body.temperature)
        return JSONResponse(told, headers=HEADERS)
    plain = {"text": _text, "srt": _srt, "vtt": _vtt}[body.response_format](said)
    return PlainTextResponse(plain, headers=HEADERS)


def _details(said: Transcript, temperature: float) -> dict[str, Any]:
    return {
        "task": "transcribe",
        "language": said.language,
        "duration": round(said.seconds, 2),
        "segments": [_segment(n, each, temperature) for n, each in enumerate(said.segments)],
    }


def _segment(number: int, segment: Segment, temperature: float) -> dict[str, Any]:
    """A segment in OpenAI's shape; what is not measured here is null."""
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


def _text(said: Transcript) -> str:
    return said.text + "\n"


def _srt(said: Transcript) -> str:
    """SubRip: the cues are numbered."""
    cues = enumerate(said.segments, 1)
    return "".join(f"{number}\n{_cue(each, ',')}" for number, each in cues)


def _vtt(said: Transcript) -> str:
    """WebVTT."""
    return "WEBVTT\n\n" + "".join(_cue(each, ".") for each in said.segments)


def _cue(segment: Segment, mark: str) -> str:
    """A subtitle. An arrow separates its times, so its text can contain none."""
    text = segment.text.strip().replace("-->", "->")
    return f"{_clock(segment.start, mark)} --> {_clock(segment.end, mark)}\n{text}\n\n"


def _clock(seconds: float, mark: str) -> str:
    """Hours, minutes, seconds, a mark and thousandths, such as 00:01:02.345."""
    minutes, thousandths = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, thousandths = divmod(thousandths, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{mark}{thousandths:03}"
