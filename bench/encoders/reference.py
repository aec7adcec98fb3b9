"""Vectors of the texts in a folder by sentence-transformers, for queries and for passages.

Use: python reference.py FOLDER    (in the environment of sentence-transformers)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer


def main() -> None:
    folder = Path(sys.argv[1])
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    for role, encode in (("query", model.encode_query), ("passage", model.encode_document)):
        vectors = encode(texts, batch_size=1, normalize_embeddings=True, show_progress_bar=False)
        np.save(folder / f"{role}.npy", vectors)


if __name__ == "__main__":
    main()
