"""Importing any module of the package defines things and does nothing else."""

from __future__ import annotations

import json
import pkgutil

import pytest
from samples import run_python

import moli

# A process watches itself while it imports.
WATCH = """
    import importlib, json, os, sys, threading
    sys.dont_write_bytecode = True
    seen, watching = [], False
    CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
    def watch(event, arguments):
        if not watching:
            return
        if event == "open" and arguments[2] & CHANGES and str(arguments[0]) != os.devnull:
            seen.append(f"open {arguments[0]}")
        elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink"):
            seen.append(f"{event} {arguments[0]}")
        elif event == "socket.bind" and arguments[1][:2] == ("::1", 0):
            pass  # urllib3, where it is installed, asks so whether there is IPv6, and lets go
        elif event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
            seen.append(f"{event} {arguments}")
        elif event in ("_thread.start_new_thread", "_thread.start_joinable_thread"):
            seen.append(event)
    sys.addaudithook(watch)
    watching = True
    for name in sys.argv[1:]:
        importlib.import_module(name)
    watching = False
    seen += [f"thread {each.name}" for each in threading.enumerate()[1:]]
    print(json.dumps(seen))
"""
# These are run, by alembic and by the sandbox, and never imported.
SCRIPTS = {"moli.workspace.migrations.env", "moli.parsing.sandbox.worker"}
MODULES = [
    info.name for info in pkgutil.walk_packages(moli.__path__, "moli.") if info.name not in SCRIPTS
]
ROOMS = sorted({".".join(name.split(".")[:2]) for name in MODULES})


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_importing_a_room_writes_connects_and_starts_nothing(room: str) -> None:
    names = [name for name in MODULES if name == room or name.startswith(room + ".")]
    assert json.loads(run_python(WATCH, *names)) == []


def test_every_module_is_watched() -> None:
    assert {"moli.cli.main", "moli.models.encoders.bert", "moli.parsing.readers.pdf"} <= set(
        MODULES
    )
    assert len(ROOMS) >= 8


def test_the_watch_sees_what_it_is_there_for(tmp_path: object) -> None:
    seen = run_python(
        WATCH.replace("importlib.import_module(name)", "open(name, 'w').close()"),
        f"{tmp_path}/written",
    )
    assert json.loads(seen) == [f"open {tmp_path}/written"]


@pytest.mark.slow
def test_a_server_is_ready_before_what_runs_language_models_is_imported() -> None:
    """Libraries of language models take longer to import than all else at its start."""
    program = """
        import json, sys
        import moli.console.server
        heavy = {"torch", "transformers", "peft"}
        print(json.dumps([each for each in heavy if each in sys.modules]))
    """
    assert json.loads(run_python(program)) == []
