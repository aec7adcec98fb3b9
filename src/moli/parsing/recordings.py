"""Recordings as documents: a speech model's transcript, with the time of each part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moli.models.speech.whisper import SpeechRecognizer, SpeechSegment
from moli.parsing.blocks import Blocks
from moli.parsing.formats import SET_SPEECH
from moli.parsing.sandbox.sandbox import Sandbox
from moli.records.documents import ParsedDocument, Timestamp
from moli.records.errors import DocumentError
from moli.records.file_names import file_name_text

NO_SPEECH_MODEL = "it is a recording, and no speech model is set"
_SENTENCE_ENDS = tuple(".!?。！？…")
_MAX_PARAGRAPH_SECONDS = 30.0
# A Whisper model lets a window's first segment begin within a second, also if it is silent longer.
_FRAMES_PER_SECOND = 20
_MIN_SILENCE = 1.0  # seconds
_SILENCE = 0.1  # share of the loudness of the speech after it


def transcribe_file(
    path: Path, sandbox: Sandbox, recognizer: SpeechRecognizer | None
) -> ParsedDocument:
    """Read a recording in a sandbox, and transcribe it in this process.

    Raises:
        DocumentError: it cannot be read, has no speech, or there is no recognizer; `reason` says
            which.
        ModelError: the model of the recognizer cannot be loaded.
    """
    name = file_name_text(path.name)
    if recognizer is None:
        raise DocumentError("missing_tool", NO_SPEECH_MODEL, where=name, fix=SET_SPEECH)
    samples = sandbox.read_recording(path, recognizer.sampling_rate)
    segments = recognizer.transcribe(samples).segments
    document = transcript_document(after_silence(segments, samples, recognizer.sampling_rate))
    if not document.text:
        raise DocumentError("empty", "no speech was found in it", name, "Leave this file out.")
    return document


def after_silence(
    segments: Sequence[SpeechSegment], samples: NDArray[np.float32], rate: int
) -> list[SpeechSegment]:
    """The segments, of which none begins with a second of silence or more.

    Args:
        samples: [samples], `rate` of them per second.
    """
    size = rate // _FRAMES_PER_SECOND
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    loudness = np.sqrt(np.square(frames).mean(axis=1))
    moved = []
    for segment in segments:
        first, last = (int(each * _FRAMES_PER_SECOND) for each in (segment.start, segment.end))
        part = loudness[first:last]
        is_loud = part > _SILENCE * np.quantile(part, 0.95) if len(part) else np.zeros(1, bool)
        silence = int(is_loud.argmax()) / _FRAMES_PER_SECOND
        start = segment.start + (silence if silence >= _MIN_SILENCE else 0)
        moved.append(replace(segment, start=start))
    return moved


def transcript_document(segments: Sequence[SpeechSegment]) -> ParsedDocument:
    """A transcript as a document.

    A paragraph ends with a segment that ends a sentence, so that sentences stay whole, or after
    30 seconds without one.
    """
    blocks = Blocks()
    text, times = "", list[Timestamp]()
    for segment in segments:
        times.append(Timestamp(len(text), segment.start))
        text += segment.text
        ends_sentence = text.rstrip().endswith(_SENTENCE_ENDS)
        if ends_sentence or segment.end - times[0].seconds > _MAX_PARAGRAPH_SECONDS:
            blocks.add_paragraph(text, times=times)
            text, times = "", []
    blocks.add_paragraph(text, times=times)
    return blocks.build()
