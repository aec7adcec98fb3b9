"""Recordings are known by their content, decoded in the sandbox, and become text with times."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.speech.small_whisper import RATE, as_file, beeps, tone

from moli.models.speech.audio import read_audio
from moli.models.speech.whisper import SpeechSegment, Transcript
from moli.parsing import Limits, Sandbox, detect, parse_bytes
from moli.parsing.formats import is_recording
from moli.parsing.recordings import after_silence, transcribe_file, transcript_document
from moli.records.documents import time_at
from moli.records.errors import DocumentError

SOUNDS = {
    "a.wav": as_file(beeps(300, 1.0)),
    "a.flac": as_file(beeps(300, 1.0), "FLAC"),
    "a.ogg": as_file(beeps(300, 1.0), "OGG"),
    "a.mp3": as_file(beeps(300, 1.0), "MP3"),
    "a.opus": as_file(tone(300, 1.0, 48_000), "OGG", 48_000, subtype="OPUS"),
    "slow.mp3": as_file(tone(300, 1.0, 8_000), "MP3", 8_000),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def segments(*parts: tuple[float, float, str]) -> list[SpeechSegment]:
    return [SpeechSegment(start, end, text, ()) for start, end, text in parts]


class Heard:
    """A recognizer that hears the same in every recording, and notes how long it was."""

    sampling_rate = RATE

    def __init__(self, *parts: tuple[float, float, str]) -> None:
        self.segments = tuple(segments(*parts))

    def transcribe(self, samples: Any) -> Transcript:
        self.seconds = len(samples) / RATE
        return Transcript("", "english", self.seconds, self.segments)


@pytest.mark.parametrize("name", SOUNDS)
def test_a_recording_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    data = SOUNDS[name].getvalue()
    assert detect(data, name) == detect(data, "without suffix") == "audio"
    path = tmp_path / "without suffix"
    path.write_bytes(data)
    assert is_recording(path)
    with pytest.raises(DocumentError, match=r"named \.txt but is a recording. Rename it to end in"):
        detect(data, "notes.txt")


@pytest.mark.parametrize(
    "text", ["ID3 tags are read.", "OggS begins a page.", "fLaC is a mark.", "RIFF", "ID3", ""]
)
def test_a_text_with_the_marks_of_a_recording_is_text(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text(text)
    assert not is_recording(path)
    for encoding in ("utf-8", "utf-16"):
        assert detect((text or "so").encode(encoding), "notes.txt") == "txt"


@pytest.mark.parametrize("name", SOUNDS)
def test_the_sandbox_gives_the_samples_of_the_file(
    name: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    path = tmp_path / name
    path.write_bytes(SOUNDS[name].getvalue())
    samples = sandbox.read_recording(path, RATE)
    np.testing.assert_array_equal(samples, read_audio(io.BytesIO(path.read_bytes()), RATE))
    assert len(samples) == pytest.approx(RATE, rel=0.1)
    assert np.abs(samples).max() > 0.1


@pytest.mark.parametrize(
    ("name", "data", "reason", "message"),
    [
        ("talk.wav", b"", "empty", "has no content"),
        ("talk.wav", as_file(np.zeros(0)).getvalue(), "empty", "contains no audio"),
        ("talk.wav", b"%PDF-1.7\n", "misnamed", r"named \.wav but is a PDF"),
        ("talk.flac", SOUNDS["a.flac"].getvalue()[:60], "broken", r"WAV, FLAC, OGG or MP3"),
        ("talk.mp3", bytes(range(256)) * 9, "misnamed", r"named \.mp3 but is binary data"),
        ("talk.wav", b"Dear all, ...", "misnamed", "named .wav but is plain text"),
    ],
)
def test_a_file_that_is_no_recording_is_told(
    name: str, data: bytes, reason: str, message: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DocumentError, match=message) as caught:
        transcribe_file(path, sandbox, Heard())  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.where) == (reason, name)


def test_a_recording_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(SOUNDS["a.wav"].getvalue())
    with Sandbox(Limits(file_bytes=1000)) as small, pytest.raises(DocumentError) as caught:
        small.read_recording(path, RATE)
    assert caught.value.reason == "too_large"


@pytest.mark.slow
def test_an_hour_fits_into_the_memory_of_the_sandbox(tmp_path: Path) -> None:
    path = tmp_path / "hour.flac"
    path.write_bytes(as_file(np.zeros(48_000 * 3600, np.int16), "FLAC", 48_000).getvalue())
    with Sandbox(Limits(seconds=600)) as sandbox:
        assert len(sandbox.read_recording(path, RATE)) == RATE * 3600


def test_without_a_model_the_command_and_the_setting_are_named(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    with pytest.raises(DocumentError, match="no speech model is set") as caught:
        transcribe_file(tmp_path / "talk.flac", sandbox, None)
    assert (caught.value.reason, caught.value.where) == ("missing_tool", "talk.flac")
    assert "moli models get whisper-tiny" in caught.value.fix
    assert 'speech = "whisper-tiny"' in caught.value.fix


def test_what_was_heard_is_the_text(tmp_path: Path, sandbox: Sandbox) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(SOUNDS["a.wav"].getvalue())
    heard = Heard((0.0, 0.5, " It runs."), (0.5, 0.9, " 二"))
    document = transcribe_file(path, sandbox, heard)  # type: ignore[arg-type]
    assert heard.seconds == 1.0
    assert document.text == "It runs.\n\n二"
    with pytest.raises(DocumentError, match="no speech was found") as caught:
        transcribe_file(path, sandbox, Heard())  # type: ignore[arg-type]
    assert caught.value.reason == "empty"


def test_sentences_stay_whole_and_each_part_has_its_time() -> None:
    document = transcript_document(
        segments(
            (0.0, 4.0, " The pump runs"),
            (4.0, 65.0, " for two hours."),
            (65.0, 70.0, " Then it rests."),
            (3700.0, 3710.0, "充电"),
            (3710.0, 3735.0, "两小时"),
            (3735.0, 3740.0, "然后"),
        )
    )
    assert document.text == ("The pump runs for two hours.\n\nThen it rests.\n\n充电两小时\n\n然后")
    places = {
        words: time_at(document.times, document.text.index(words))
        for words in ("The", "runs", "for two", "Then", "充电", "两小时", "然后")
    }
    assert places == {
        "The": "00:00", "runs": "00:00", "for two": "00:04", "Then": "01:05",
        "充电": "1:01:40", "两小时": "1:01:50", "然后": "1:02:15",
    }  # fmt: skip


def test_a_segment_does_not_begin_in_silence() -> None:
    quiet, loud = 0.001 * tone(200, 20.0), tone(300, 5.0)
    sound = np.concatenate([quiet, loud, quiet[: RATE // 2], loud]).astype(np.float32)
    heard = segments((0.0, 22.0, "a"), (22.0, 25.0, "b"), (25.0, 30.5, "c"), (30.5, 30.5, "d"))
    # The first begins in 20 s of silence; the third after half a second, which is no matter.
    starts = [each.start for each in after_silence(heard, sound, RATE)]
    assert starts == [20.0, 22.0, 25.0, 30.5]
    silent = after_silence(segments((0.0, 3.0, "a")), np.zeros(3 * RATE, np.float32), RATE)
    assert silent[0].start == 0.0


def test_a_recording_inside_another_file_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"inside another file. Add it by itself"):
        parse_bytes(SOUNDS["a.wav"].getvalue(), "a.wav")
