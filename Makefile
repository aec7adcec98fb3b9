# make run     install and open the sample library in a browser's reach
# make test    install what is missing and run every test
# make check   style, types, layers, budgets, quick tests
# make fix     format, and mend what can be mended
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A process for each core (8 at most), each with one thread: small models gain nothing from a second.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

.PHONY: run test check fix bench-retrieval bench-encoder bench-models bench-parsing bench-scans bench-evidence bench-answers bench-scale bench-training bench-small-data bench-alignment bench-serving conformance soak soak-serving clean

run: $(VENV)/installed
	@$(BIN)/moli models get e5 || echo "Going on with the encoder that comes with Moli."
	@$(BIN)/moli add -w sample docs/en docs/zh
	@echo 'A small language model: moli models get smollm2, and model = "smollm2" in sample/moli.toml'
	@$(BIN)/moli serve -w sample

test: $(VENV)/installed-dev $(VENV)/installed-gguf
	@sh dev/system-packages.sh
	@$(PYTEST) --durations=20

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python dev/budgets.py
	@$(BIN)/python dev/cycles.py
	@$(BIN)/python dev/words.py
	@$(BIN)/python dev/translations.py
	@$(BIN)/lint-imports --no-logo > /dev/null || $(BIN)/lint-imports
	@sh dev/system-packages.sh
	@$(PYTEST) -m "not slow"

fix: $(VENV)/installed-dev
	@$(BIN)/ruff format -q .
	@$(BIN)/ruff check -q --fix .

bench-retrieval: $(VENV)/installed-dev
	@$(BIN)/python bench/retrieval.py
	@$(BIN)/moli models get e5
	@$(BIN)/python bench/retrieval.py --encoder e5
	@$(BIN)/python bench/parallel/run.py
	@$(BIN)/python bench/parallel/run.py --library pages

bench-encoder: $(VENV)/installed-dev
	@$(BIN)/python bench/encoder.py
	@$(BIN)/moli models get e5
	@$(BIN)/python bench/encoder.py --encoder e5
	@$(BIN)/python bench/encoders/exact.py

bench-models: $(VENV)/installed-dev
	@$(BIN)/python bench/models/get.py
	@$(BIN)/python bench/models/weights.py

bench-parsing: $(VENV)/installed-dev
	@$(BIN)/python bench/parsing.py

bench-scans: $(VENV)/installed-dev
	@$(BIN)/python bench/scans.py

bench-evidence: $(VENV)/installed-dev
	@$(BIN)/python bench/evidence.py --judge

# The encoder is e5 where it was fetched, else the built-in one.
bench-answers: $(VENV)/installed-dev
	@$(BIN)/python bench/answers/run.py

bench-scale: $(VENV)/installed-dev
	@$(BIN)/python bench/scale.py

bench-training: $(VENV)/installed-dev
	@$(BIN)/python bench/training/speed.py
	@$(BIN)/python bench/training/resume.py
	@$(BIN)/python bench/training/quality.py

bench-small-data: $(VENV)/installed-dev
	@sh bench/peers/setup.sh setfit bench/training/peers/setfit.requirements.txt
	@$(BIN)/python bench/training/small_data.py
	@$(BIN)/python bench/training/out_of_scope.py

bench-alignment: $(VENV)/installed-dev
	@$(BIN)/python bench/alignment/oracle.py
	@$(BIN)/moli models get smollm2
	@$(BIN)/python bench/alignment/dpo.py
	@$(BIN)/python bench/alignment/sources.py
	@$(BIN)/python bench/alignment/ppo.py
	@$(BIN)/python bench/alignment/grpo.py

bench-serving: $(VENV)/installed-dev
	@$(BIN)/python bench/serving/decode.py
	@$(BIN)/python bench/serving/clients.py
	@$(BIN)/python bench/serving/exact.py

# Client libraries in environments of their own against a live server; needs npm.
conformance: $(VENV)/installed-dev
	@$(BIN)/python bench/conformance/run.py

soak-serving: $(VENV)/installed-dev
	@$(BIN)/python bench/serving/soak.py

soak: $(VENV)/installed-dev
	@$(BIN)/python bench/soak.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Moli needs Python 3.11 or newer; set PYTHON=python3.11 or so." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(BIN)/python dev/install.py
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# llama.cpp comes as its source and is compiled; where that fails, the tests of GGUF files are skipped.
$(VENV)/installed-gguf: $(VENV)/installed-dev
	@echo "Compiling llama.cpp (once; some minutes)..."
	@CMAKE_ARGS="-DLLAVA_BUILD=OFF -DLLAMA_OPENSSL=OFF" CMAKE_BUILD_PARALLEL_LEVEL=2 \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[gguf]" || \
		echo "llama.cpp was not compiled (a C++ compiler is needed): GGUF files are left out." >&2
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
