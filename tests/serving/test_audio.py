"""Transcriptions over HTTP, against the model itself and through OpenAI's own client."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from models.speech.small_whisper import RATE, as_file, beeps, save_whisper

from moli.models.speech.audio import read_audio
from moli.models.speech.whisper import SpeechRecognizer, Transcript, load_recognizer
from moli.models.weights.loading import transformers_lock
from moli.records.errors import ModelError
from moli.serving import audio
from moli.serving.audio import TranscriptionService
from moli.serving.errors import add_error_handlers
from moli.workspace import Settings

PATH = "/v1/audio/transcriptions"
SECONDS = 7.3
SOUND = as_file(beeps(800, SECONDS), "FLAC").getvalue()


def app_of(settings: Settings) -> FastAPI:
    app = FastAPI()
    app.state.transcription_service = TranscriptionService(settings)
    app.include_router(audio.router)
    add_error_handlers(app)
    return app


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def client(folder: str) -> Iterator[TestClient]:
    with TestClient(app_of(Settings(speech=folder)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def transcript(folder: str) -> Transcript:
    return SpeechRecognizer(folder).transcribe(read_audio(io.BytesIO(SOUND), RATE))


@pytest.fixture
def theirs(client: TestClient) -> openai.OpenAI:
    """OpenAI's client, whose requests go straight to the app."""

    def pass_on(request: httpx.Request) -> httpx.Response:
        headers = {"content-type": request.headers["content-type"]}
        answer = client.post(request.url.path, content=request.read(), headers=headers)
        kind = {"content-type": answer.headers["content-type"]}
        return httpx.Response(answer.status_code, content=answer.content, headers=kind)

    straight = httpx.Client(transport=httpx.MockTransport(pass_on))
    return openai.OpenAI(
        base_url="http://testserver/v1", api_key="none", max_retries=0, http_client=straight
    )


def post(client: TestClient, sound: bytes = SOUND, **fields: Any) -> Any:
    data = {name.replace("granularities", "granularities[]"): each for name, each in fields.items()}
    return client.post(PATH, files={"file": ("a.flac", sound)}, data=data)


def refused(answer: Any, status: int, message: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert re.search(message, error["message"]), error["message"]
    return error


@pytest.mark.slow
def test_the_text_is_what_the_model_hears(client: TestClient, transcript: Transcript) -> None:
    answer = post(client)
    assert answer.status_code == 200, answer.text
    usage = {"type": "duration", "seconds": SECONDS}
    assert answer.json() == {"text": transcript.text, "usage": usage}
    assert len(transcript.text) > 10
    assert "content-security-policy" in answer.headers
    plain = post(client, response_format="text", model="")
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert plain.text == transcript.text + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_formats_and_rates_are_taken(client: TestClient, folder: str, kind: str) -> None:
    sound = as_file(np.repeat(beeps(300, 3.0), 3), kind, 48_000).getvalue()
    samples = read_audio(io.BytesIO(sound), RATE)
    expected = SpeechRecognizer(folder).transcribe(samples, language="zh", prompt="sea")
    answer = post(client, sound, language="ZH", prompt="sea").json()
    assert answer["text"] == expected.text != ""
    assert answer["usage"]["seconds"] == pytest.approx(3, abs=0.1)


@pytest.mark.slow
def test_openais_client_reads_every_format(
    theirs: openai.OpenAI, folder: str, transcript: Transcript
) -> None:
    create: Any = theirs.audio.transcriptions.create
    fields: dict[str, Any] = {"file": ("a.flac", SOUND), "model": folder}
    usual = create(**fields)
    assert (usual.text, usual.usage.seconds) == (transcript.text, SECONDS)
    verbose = create(
        **fields, response_format="verbose_json", timestamp_granularities=["segment"], temperature=0
    )
    assert (verbose.text, verbose.language, verbose.duration) == (
        transcript.text, transcript.language, SECONDS,
    )  # fmt: skip
    expected = [(n, each.text, each.tokens) for n, each in enumerate(transcript.segments)]
    assert [(s.id, s.text, tuple(s.tokens)) for s in verbose.segments] == expected
    for shown, segment in zip(verbose.segments, transcript.segments, strict=True):
        assert shown.start == pytest.approx(segment.start, abs=0.005)
        assert shown.end == pytest.approx(segment.end, abs=0.005)
        assert shown.compression_ratio > 0
    assert create(**fields, response_format="text") == transcript.text + "\n"
    assert create(**fields, response_format="srt").startswith("1\n00:00:0")
    assert create(**fields, response_format="vtt").startswith("WEBVTT\n\n00:00:0")
    other = create(**fields, language="zh", response_format="verbose_json")
    assert other.language == "chinese"


def seconds_of(clock: str) -> float:
    hours, minutes, seconds = clock.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


@pytest.mark.parametrize(("kind", "mark"), [("srt", ","), ("vtt", ".")])
def test_subtitles_have_the_times_of_the_segments(
    client: TestClient, transcript: Transcript, kind: str, mark: str
) -> None:
    written = post(client, response_format=kind).text
    clock = rf"(\d\d:\d\d:\d\d\{mark}\d\d\d)"
    cues = re.findall(rf"^(?:(\d+)\n)?{clock} --> {clock}\n(.+)\n$", written, re.MULTILINE)
    assert len(cues) == len(transcript.segments) > 3
    for number, ((counted, start, end, text), segment) in enumerate(
        zip(cues, transcript.segments, strict=True), 1
    ):
        assert counted == (str(number) if kind == "srt" else "")
        assert seconds_of(start) == pytest.approx(segment.start, abs=0.0006)
        assert seconds_of(end) == pytest.approx(segment.end, abs=0.0006)
        assert text == segment.text.strip()


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"language": "de"}, "language", "'de'. Give one of en, zh"),
        ({"prompt": "s" * 99}, "prompt", "prompt: .*Shorten it"),
        ({"prompt": "x" * 10_001}, "prompt", "10000"),
        ({"prompt": "a\0"}, "prompt", "cannot be stored"),
        ({"temperature": "1.1"}, "temperature", "at most 1"),
        ({"temperature": "warm"}, "temperature", "number"),
        ({"response_format": "diarized_json"}, "response_format", "'verbose_json'"),
        ({"stream": "true"}, "stream", "not streamed; leave it out"),
        ({"timestamp_granularities": "segment"}, None, "needs response_format verbose_json"),
        (
            {"timestamp_granularities": "word", "response_format": "verbose_json"},
            "timestamp_granularities[]",
            "'segment'",
        ),
        ({"chunking_strategy": "auto"}, "chunking_strategy", "is not a field"),
        ({"include[]": "logprobs"}, "include[]", "is not a field"),
    ],
)
def test_what_cannot_be_done_is_refused(
    client: TestClient, fields: Any, param: str | None, message: str
) -> None:
    error = refused(post(client, **fields), 400, message)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (b"", "file: it has no content"),
        (b"The pump is loud.", r"file: no audio can be read.*again as WAV, FLAC, OGG or MP3"),
        (b"%PDF-1.7", "file: no audio can be read"),
        (SOUND[:40], "file: no audio"),
        (as_file(np.zeros(0)).getvalue(), "file: it contains no audio"),
        (b"x" * (2 << 20), "file: no audio can be read"),  # so large that it is kept on disk
    ],
    ids=["empty", "text", "pdf", "broken", "nothing", "large"],
)
def test_what_is_no_sound_is_refused(client: TestClient, sound: bytes, message: str) -> None:
    assert refused(post(client, sound), 400, message)["code"] == "input"


def test_bodies_that_are_no_form_are_refused(client: TestClient) -> None:
    form = {"content-type": "multipart/form-data; boundary=x"}
    refused(client.post(PATH, data={"model": ""}), 400, "file")
    refused(client.post(PATH, data={"file": "words"}), 400, "file")
    refused(client.post(PATH, json={"file": "words"}), 400, "declared as application/json")
    refused(client.post(PATH, content=b"no parts", headers=form), 400, ".")
    refused(
        client.post(PATH, content=b"", headers={"content-type": "multipart/form-data"}), 400, "."
    )


def test_other_models_are_not_found(theirs: openai.OpenAI, folder: str) -> None:
    with pytest.raises(openai.NotFoundError, match=f"'whisper-1'. Ask for {folder}"):
        theirs.audio.transcriptions.create(model="whisper-1", file=("a.flac", SOUND))


def test_without_the_setting_it_is_told_how_to_set_one() -> None:
    answer = post(TestClient(app_of(Settings())), model="whisper-1")
    error = refused(answer, 404, "no speech model is set. Run .moli models get whisper-tiny")
    assert error["type"] == "not_found_error"


def test_a_model_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none: no such folder"):
        app_of(Settings(speech=str(tmp_path / "none")))


@pytest.mark.slow
def test_too_many_that_wait_are_refused(folder: str, transcript: Transcript) -> None:
    load_recognizer.cache_clear()  # so that it has to be loaded again
    app = app_of(Settings(speech=folder, queue=2))
    with TestClient(app) as client, ThreadPoolExecutor(12) as pool:
        with transformers_lock:  # so that the model cannot be loaded yet
            futures = [pool.submit(post, client) for _ in range(12)]
            ended = as_completed(futures)
            busy = [next(ended).result() for _ in range(9)]  # one is heard and two wait
        done = [each.result() for each in ended]
        assert [each.status_code for each in done] == [200] * 3
        assert {each.json()["text"] for each in done} == {transcript.text}
        for answer in busy:
            refused(answer, 429, "2 files are already waiting for the speech model")
            assert answer.headers["retry-after"] == "30"
        assert post(client).status_code == 200  # there is room again
