"""The share of the best possible objective that each algorithm reaches, where it is known.

Use: python bench/alignment/oracle.py
On an enumerable space of answers the optimum of E[r] - beta KL is beta log E[exp(r / beta)]. The
share is 0 at the reference and 1 at the optimum; tests/alignment/test_oracle.py has a short form.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from alignment.test_oracle import ALGORITHMS, BETAS, reached_share

SEEDS = 3


def main() -> None:
    print("algorithm  " + "".join(f"{f'beta {beta}':>24}" for beta in BETAS))
    lowest = 1.0
    for name in ALGORITHMS:
        cells = []
        for beta in BETAS:
            with tempfile.TemporaryDirectory() as folder:
                shares = [reached_share(Path(folder), name, beta, seed) for seed in range(SEEDS)]
            lowest = min(lowest, *shares)
            cells.append(" ".join(f"{share:.4f}" for share in shares))
        print(f"{name:<11}" + "".join(f"{cell:>24}" for cell in cells), flush=True)
    print(f"the lowest share is {lowest:.4f}; at least .95 is required")
    sys.exit(lowest < 0.95)


if __name__ == "__main__":
    main()
