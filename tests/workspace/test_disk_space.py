"""A full disk: what is stored is read, and whatever would write says what is wrong."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from samples import clean_environment, python

# A namespace of its own, in which anybody may mount a small disk; it is gone with the process.
ON_A_SMALL_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                   'mount -t tmpfs -o size=2m none "$0" && exec "$@"']  # fmt: skip

FILL = """
    import json, os, sys
    from pathlib import Path
    from conftest import write_settings
    import moli
    from moli.records.errors import WorkspaceError
    from moli.workspace import Workspace

    def fill(name, left):
        with open(home / name, "wb", buffering=0) as file:
            try:
                while os.statvfs(home).f_bavail * os.statvfs(home).f_frsize > left:
                    file.write(bytes(4096))
            except OSError:
                pass

    def error_of(write):
        try:
            write()
        except WorkspaceError as error:
            return f"{error.what}. {error.fix}"

    home = Path(sys.argv[1])
    write_settings(home, confidence=0.0)
    (home / "guide.md").write_text("The server listens on port 7860.")
    (home / "large.txt").write_text("Pumps and valves. " * 20_000)
    with moli.init(home) as workspace:
        moli.add(home / "guide.md", workspace=workspace)
    fill("most", 160 << 10)
    with Workspace.open(home) as workspace:
        while_writing = error_of(lambda: moli.add(home / "large.txt", workspace=workspace))
    fill("rest", 0)
    with Workspace.open(home) as workspace:
        guide = home / "guide.md"
        answer = moli.ask("Which port?", workspace=workspace)
        print(json.dumps({
            "while_writing": while_writing,
            "before": error_of(lambda: moli.add(guide, workspace=workspace, force=True)),
            "listed": [each.title for each in workspace.documents.list()],
            "found": [hit.text for hit in moli.search("port", workspace=workspace)],
            "answer": [answer.sentences[0].text, answer.trace_id],
        }))
    (home / "most").unlink()
    with Workspace.open(home) as workspace:
        print(json.dumps(moli.ask("Which port?", workspace=workspace).trace_id != ""))
"""


@pytest.mark.slow
def test_a_workspace_on_a_full_disk_is_read(tmp_path: Path) -> None:
    home = tmp_path / "disk"
    home.mkdir()
    can_mount = subprocess.run([*ON_A_SMALL_DISK, str(home), "true"], capture_output=True)
    if can_mount.returncode:
        pytest.skip(f"no disk of its own: {can_mount.stderr.decode().strip()}")
    ran = subprocess.run(
        [*ON_A_SMALL_DISK, str(home), *python(FILL, home)],
        env=clean_environment(),
        capture_output=True,
        check=True,
        text=True,
    )
    full, after = map(json.loads, ran.stdout.splitlines())
    advice = "Free some space. Until then the workspace can be listed, searched and asked."
    refusal = f"the disk is full. {advice}"
    assert full == {
        "while_writing": refusal,
        "before": refusal,
        "listed": ["guide"],
        "found": ["The server listens on port 7860."],
        "answer": ["The server listens on port 7860.", ""],
    }
    assert after is True  # the trace is stored again
