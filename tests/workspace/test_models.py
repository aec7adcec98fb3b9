"""Models on disk: whole or not at all, named by their content, found by alias."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from adapters import manifest_of, write_adapter
from samples import clean_environment, python, run_python, run_together

from moli.records.errors import InputError, NotFoundError, WorkspaceError
from moli.workspace import Workspace
from moli.workspace.content import StoredModel
from moli.workspace.models import ModelStore

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def store(workspace: Workspace) -> ModelStore:
    return workspace.models


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "made")


def folders(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in (workspace.folder / "adapters").iterdir())


def stored(store: ModelStore, folder: Path, weights: str, alias: str = "") -> StoredModel:
    return store.add(write_adapter(folder, weights), manifest_of(), alias)


# Content


def test_a_model_comes_back_as_it_was_stored(
    workspace: Workspace, store: ModelStore, adapter: Path
) -> None:
    manifest = manifest_of()
    added = store.add(adapter, manifest, "support")
    assert added.name == f"support@{added.hash[:8]}"
    assert added.folder == workspace.folder / "adapters" / added.hash
    assert added.manifest == manifest
    assert (added.folder / WEIGHTS).read_text() == "weights"
    assert (added.aliases, store.get("support"), store.list()) == (("support",), added, [added])
    files = [path.stat().st_size for path in adapter.iterdir()]
    assert added.bytes == sum(files)
    assert store.verify(added) == ()


def test_a_store_that_was_never_used_is_empty(store: ModelStore) -> None:
    assert store.list() == []
    with pytest.raises(NotFoundError, match="moli models list"):
        store.get("support")


def test_the_name_is_what_coreutils_make_of_the_files(store: ModelStore, adapter: Path) -> None:
    (adapter / "tokenizer").mkdir()
    for name in (
        "tokenizer/词 表.json",
        "tokenizer.json",
        "manifest.json",
        "tokenizer/manifest.json",
    ):
        (adapter / name).write_text(name, encoding="utf-8")
    added = store.add(adapter, manifest_of())
    command = (
        "find . -type f ! -path ./manifest.json -printf '%P\\0' | LC_ALL=C sort -z |"
        " xargs -0 sha256sum -z | sha256sum"
    )
    done = subprocess.run(command, shell=True, cwd=added.folder, capture_output=True, text=True)
    assert done.stdout.split()[0] == added.hash
    assert (added.folder / "tokenizer" / "manifest.json").read_text() == "tokenizer/manifest.json"
    assert json.loads((added.folder / "manifest.json").read_text("utf-8"))["task"] == (
        "classification"
    )


def test_the_same_content_is_kept_once_with_the_manifest_it_came_with(
    workspace: Workspace, store: ModelStore, adapter: Path, tmp_path: Path
) -> None:
    first = store.add(adapter, manifest_of(created_at=1.0), "support")
    other = write_adapter(tmp_path / "elsewhere")
    again = store.add(other, manifest_of(created_at=2.0, metrics={"loss": 9.0}), "billing")
    assert again.hash == first.hash
    assert again.manifest == first.manifest
    assert (again.name, again.aliases) == (f"billing@{first.hash[:8]}", ("billing", "support"))
    assert folders(workspace) == [first.hash]


@pytest.mark.parametrize("change", ["weights", "name", "configuration"])
def test_other_content_has_another_name(
    store: ModelStore, adapter: Path, tmp_path: Path, change: str
) -> None:
    other = write_adapter(
        tmp_path / "other",
        "weightz" if change == "weights" else "weights",
        r=16 if change == "configuration" else 8,
    )
    if change == "name":
        (other / WEIGHTS).rename(other / "adapter.safetensors")
    assert store.add(adapter, manifest_of()).hash != store.add(other, manifest_of()).hash


def test_the_order_of_a_set_in_the_configuration_makes_no_other_model(
    store: ModelStore, adapter: Path, tmp_path: Path
) -> None:
    shuffled = write_adapter(tmp_path / "other", target_modules=["v_proj", "k_proj", "q_proj"])
    assert store.add(adapter, manifest_of()).hash == store.add(shuffled, manifest_of()).hash


@pytest.mark.slow
def test_what_peft_writes_in_two_processes_is_one_model(store: ModelStore, tmp_path: Path) -> None:
    code = """
        import sys
        from peft import LoraConfig
        modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"]
        LoraConfig(r=4, target_modules=modules).save_pretrained(sys.argv[1])
    """
    for seed in ("1", "2"):
        run_python(code, tmp_path / seed, PYTHONHASHSEED=seed)
    configs = [(tmp_path / seed / "adapter_config.json").read_text() for seed in ("1", "2")]
    assert configs[0] != configs[1]
    assert {store.add(tmp_path / seed, manifest_of()).hash for seed in ("1", "2")} == {
        store.list()[0].hash
    }


def test_a_whole_model_is_stored_as_an_adapter_is(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / "model" / name).write_text("{}")
    added = store.add(tmp_path / "model", manifest_of(method="full"))
    assert sorted(path.name for path in added.folder.iterdir()) == [
        "config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_links_are_stored_as_what_they_lead_to(store: ModelStore, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_text("weights")
    linked = write_adapter(tmp_path / "linked")
    (linked / WEIGHTS).unlink()
    (linked / WEIGHTS).symlink_to(blob)
    added = store.add(linked, manifest_of())
    blob.write_text("other")
    assert not (added.folder / WEIGHTS).is_symlink()
    assert store.verify(added) == ()


@pytest.mark.parametrize("kind", ["absent", "empty", "file", "unprintable", "broken"])
def test_what_is_no_model_is_refused_and_leaves_nothing(
    workspace: Workspace, store: ModelStore, adapter: Path, tmp_path: Path, kind: str
) -> None:
    paths = {
        "absent": tmp_path / "absent",
        "empty": tmp_path / "empty",
        "file": tmp_path / "file",
    }
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    if kind == "unprintable":
        (adapter / "odd\nname").touch()
    if kind == "broken":
        (adapter / "adapter_config.json").write_text("[]")
    with pytest.raises(InputError):
        store.add(paths.get(kind, adapter), manifest_of(), "support")
    assert store.list() == []
    assert not (workspace.folder / "adapters").exists() or folders(workspace) == []


def test_a_disk_that_does_not_take_it_is_told(
    workspace: Workspace, store: ModelStore, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(WorkspaceError, match="No space left"):
        patched.setattr(os, "fsync", full)
        store.add(adapter, manifest_of(), "support")
    assert folders(workspace) == []
    assert store.add(adapter, manifest_of(), "support").aliases == ("support",)


# Crashes and company

CRASH = """
    import os, sys
    from pathlib import Path
    from adapters import manifest_of
    from moli.workspace import Workspace
    Path.rename = lambda *_: os._exit(9)
    with Workspace.open(Path(sys.argv[1])) as workspace:
        workspace.models.add(Path(sys.argv[2]), manifest_of(), "support")
"""


@pytest.mark.slow
def test_a_crash_before_the_rename_leaves_nothing_that_is_listed(
    workspace: Workspace, store: ModelStore, adapter: Path
) -> None:
    done = subprocess.run(python(CRASH, workspace.root, adapter), env=clean_environment())
    assert done.returncode == 9
    (draft,) = folders(workspace)
    assert draft.startswith(".new-")
    assert store.list() == []
    with pytest.raises(NotFoundError):
        store.history("support")
    added = store.add(adapter, manifest_of(), "support")
    assert folders(workspace) == [draft, added.hash]  # it may be another's that is at work
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(workspace.folder / "adapters" / draft, (long_ago, long_ago))
    store.add(adapter, manifest_of())
    assert folders(workspace) == [added.hash]


@pytest.mark.slow
def test_processes_that_add_the_same_at_once_leave_one(
    workspace: Workspace, store: ModelStore, tmp_path: Path
) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from adapters import manifest_of, write_adapter
        from moli.workspace import Workspace
        root, own, at = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
        with Workspace.open(root) as workspace:
            workspace.models
            for n in range(5):
                write_adapter(own, f"{n}" * 300_000)
                time.sleep(max(0.0, at + n / 5 - time.time()))
                print(workspace.models.add(own, manifest_of(), f"m{n}").hash)
    """
    begin = time.time() + 3
    reported = run_together(code, [[workspace.root, tmp_path / str(p), begin] for p in range(3)])
    assert len(set(reported)) == 1
    assert folders(workspace) == sorted(reported[0].split())
    assert [store.verify(each) for each in store.list()] == [()] * 5
    assert all(len(store.history(f"m{n}")) == 1 for n in range(5))


# Damage


def test_a_file_that_was_tampered_with_is_told(store: ModelStore, adapter: Path) -> None:
    (adapter / "README.md").touch()
    added = store.add(adapter, manifest_of())
    weights = added.folder / WEIGHTS
    os.utime(weights, (1, 1))
    assert store.verify(added) == ()
    weights.write_text("weightz")  # of the same length
    (added.folder / "README.md").unlink()
    (added.folder / "extra.json").touch()
    result = {(each.file, each.what) for each in store.verify(added)}
    assert result == {(WEIGHTS, "changed"), ("README.md", "missing"), ("extra.json", "added")}


def test_a_file_and_its_hash_that_were_both_changed_are_told(
    store: ModelStore, adapter: Path, tmp_path: Path
) -> None:
    added = store.add(adapter, manifest_of())
    other = stored(store, tmp_path / "other", "other")
    for name in (WEIGHTS, "manifest.json"):
        (added.folder / name).write_bytes((other.folder / name).read_bytes())
    assert [(each.file, each.what) for each in store.verify(added)] == [
        ("manifest.json", "changed")
    ]


def test_adding_a_damaged_model_again_repairs_it(
    workspace: Workspace, store: ModelStore, adapter: Path
) -> None:
    added = store.add(adapter, manifest_of(), "support")
    (added.folder / WEIGHTS).write_text("damaged")
    assert store.add(adapter, manifest_of()) == added
    assert store.verify(added) == ()
    (added.folder / "manifest.json").write_text("damaged")
    with pytest.raises(WorkspaceError, match=r"manifest\.json.*Add the same model again"):
        store.get("support")
    assert [each.what for each in store.verify(added)] == ["changed"]
    (added.folder / "manifest.json").unlink()
    assert [each.what for each in store.verify(added)] == ["missing"]
    assert store.add(adapter, manifest_of()) == added


# Names


def test_an_alias_that_moved_can_be_moved_back(store: ModelStore, tmp_path: Path) -> None:
    before = time.time()
    one = stored(store, tmp_path / "1", "one", "support")
    two = stored(store, tmp_path / "2", "two", "support")
    assert store.get("support") == two
    assert store.get(f"support@{one.hash[:4]}") == replace(one, aliases=())
    back = store.point("support", f"support@{one.hash[:6]}")
    assert back.hash == one.hash
    assert store.get("support") == one
    history = store.history("support")
    assert [each.hash for each in history] == [one.hash, two.hash, one.hash]
    times = [each.set_at for each in history]
    assert before <= times[2] <= times[1] <= times[0] <= time.time()
    store.point("support", one.hash)
    assert len(store.history("support")) == 3, "pointing at the same again is no event"


def test_a_retired_alias_points_at_nothing_and_keeps_its_history(
    store: ModelStore, tmp_path: Path
) -> None:
    one = stored(store, tmp_path / "1", "one", "support")
    store.retire("support")
    with pytest.raises(NotFoundError):
        store.get("support")
    with pytest.raises(NotFoundError):
        store.retire("support")
    assert [each.hash for each in store.history("support")] == ["", one.hash]
    assert store.get(one.hash[:8]).name == one.hash[:8]
    assert store.point("support", f"support@{one.hash[:8]}").aliases == ("support",)


def test_a_model_is_found_by_the_beginning_of_its_hash(store: ModelStore, adapter: Path) -> None:
    added = store.add(adapter, manifest_of())
    for length in (4, 8, 63, 64):
        assert store.get(added.hash[:length]) == added
    for reference in ("", added.hash[:3], added.hash[:6] + "g", added.hash[:6].upper() + "G", "@"):
        with pytest.raises(NotFoundError, match="4 or more characters"):
            store.get(reference)


def test_a_beginning_that_several_have_is_an_error(
    workspace: Workspace, store: ModelStore, adapter: Path
) -> None:
    added = store.add(adapter, manifest_of(), "support")
    double = added.hash[:10] + ("0" if added.hash[10] != "0" else "1") + added.hash[11:]
    (added.folder.parent / double).mkdir()
    with pytest.raises(InputError, match=r"is ambiguous: .* or .*Give more characters"):
        store.get(added.hash[:10])
    # The alias never pointed at the other, so with it the beginning is enough.
    assert store.get(f"support@{added.hash[:10]}").hash == added.hash
    assert store.get(added.hash).hash == added.hash


def test_a_hash_under_an_alias_that_never_had_it_is_not_found(
    store: ModelStore, tmp_path: Path
) -> None:
    stored(store, tmp_path / "1", "one", "support")
    two = stored(store, tmp_path / "2", "two", "billing")
    with pytest.raises(NotFoundError):
        store.get(f"support@{two.hash[:8]}")


def test_an_alias_that_is_nearly_right_is_suggested(store: ModelStore, adapter: Path) -> None:
    store.add(adapter, manifest_of(), "support")
    for call in (store.get, store.history, store.retire, store.remove):
        with pytest.raises(NotFoundError, match=r"'suport'.*Did you mean support"):
            call("suport")


@pytest.mark.parametrize(
    "alias",
    ["", "Support", "-x", ".x", "a b", "a/b", "../x", "a@b", "支持", "a" * 65, "f" * 64, "a\n"],
)
def test_a_bad_name_for_an_alias_is_told_with_what_is_good(
    store: ModelStore, adapter: Path, alias: str
) -> None:
    added = store.add(adapter, manifest_of())
    with pytest.raises(InputError, match=r"\[a-z0-9\]\[a-z0-9\._-\]\{0,63\}".replace("\\.", ".")):
        store.point(alias, added.hash)
    if alias:
        with pytest.raises(InputError):
            store.add(adapter, manifest_of(), alias)


@pytest.mark.parametrize("alias", ["a", "0", "support-v1.2_x", "s" * 64, "beef"])
def test_a_good_name_finds_its_model(store: ModelStore, adapter: Path, alias: str) -> None:
    added = store.add(adapter, manifest_of(), alias)
    assert store.get(alias).name == f"{alias}@{added.hash[:8]}"


# Removal


def test_a_model_in_use_is_not_removed(
    workspace: Workspace, store: ModelStore, tmp_path: Path
) -> None:
    one = stored(store, tmp_path / "1", "one", "support")
    store.point("billing", one.hash)
    with pytest.raises(InputError, match="in use as billing and support"):
        store.remove(one.hash[:8])
    two = stored(store, tmp_path / "2", "two", "support")
    store.retire("billing")
    assert store.remove(f"support@{one.hash[:8]}") == one.hash
    assert folders(workspace) == [two.hash]
    with pytest.raises(NotFoundError):
        store.get(one.hash)
    assert [each.hash for each in store.history("support")] == [two.hash, one.hash]


def test_what_an_alias_points_at_and_is_gone_is_told_as_such(
    store: ModelStore, adapter: Path
) -> None:
    added = store.add(adapter, manifest_of(), "support")
    added.folder.rename(added.folder.parent / ".elsewhere")
    with pytest.raises(NotFoundError, match=f"{added.hash[:8]} is not on this disk"):
        store.get("support")
    assert store.list() == []


def test_a_model_whose_manifest_is_broken_can_be_removed(store: ModelStore, adapter: Path) -> None:
    added = store.add(adapter, manifest_of())
    (added.folder / "manifest.json").write_text("{}")
    with pytest.raises(WorkspaceError):
        store.list()
    assert store.remove(added.hash[:8]) == added.hash
    assert store.list() == []


def test_the_newest_model_is_listed_first(store: ModelStore, tmp_path: Path) -> None:
    for name, created in (("a", 2.0), ("b", 3.0), ("c", 1.0)):
        store.add(write_adapter(tmp_path / name, name), manifest_of(created_at=created), name)
    assert [each.name[0] for each in store.list()] == ["b", "a", "c"]
