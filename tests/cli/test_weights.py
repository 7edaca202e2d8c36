"""`talkinghead weights`: from a hub to a bundle's folder, and everything that must not get there."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gateway.cli.main import main
from gateway.cli.weight_sources import SOURCES
from services.renderer.liveportrait.checkpoint import NAMES, load_networks
from shared.weights import LOCK_FILE, BundleLock, LockedFile, read_lock, require_bundle, write_lock
from tests.hub import Hub, running_hub
from tests.polling import eventually
from tests.tiny_liveportrait import RETARGETING, official_files, official_path, saved, synthetic_states

REPO = SOURCES["liveportrait"].repo
WARPING = official_path("warping_module")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"
LARGE = bytes(range(256)) * 50_000  # more than huggingface_hub writes at once
Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A repository like the official one, small; with files that nobody asked for."""
    return {**official_files(seed=0), "README.md": b"# weights", "insightface/models/buffalo_l/det_10g.onnx": b"onnx"}


@pytest.fixture
def hub(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with these files, and an environment that leads to it and to an empty weights folder."""
    with running_hub(REPO) as served:
        served.commit(files)
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("TH_WEIGHTS_DIR", str(tmp_path / "weights"))
        yield served


@pytest.fixture
def folder(hub: Hub, tmp_path: Path) -> Path:
    """Where the bundle is going to lie."""
    return tmp_path / "weights" / "liveportrait"


def pull(*arguments: str) -> int:
    return main(["weights", "pull", "liveportrait", *arguments])


def refused(capsys: Output, *arguments: str) -> str:
    """What a pull that ends with exit code 1 says."""
    assert pull(*arguments) == 1
    return capsys.readouterr().err


@pytest.mark.slow
def test_pull_installs_what_the_hub_holds_and_locks_it(hub: Hub, folder: Path, capsys: Output) -> None:
    assert pull() == 0
    said = capsys.readouterr().out
    assert said.index("Licence of the weights: MIT") < said.index("warping_module")
    assert said.index("InsightFace") < said.index("warping_module")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [LOCK_FILE, "config.json", *(f"{name}.safetensors" for name in NAMES)]
    )
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["liveportrait"]
    assert set(hub.downloads()) == {"config.json", *(f"{name}.pth" for name in NAMES)}
    lock = read_lock(folder)
    assert lock is not None
    assert (lock.repo, lock.revision, lock.licence) == (REPO, hub.branches["main"], "MIT")
    locked = lock.files["warping_module.safetensors"]
    assert locked.source == WARPING
    assert locked.source_sha256 == hashlib.sha256(hub.commits[lock.revision][WARPING]).hexdigest()

    for name, state in synthetic_states(seed=0).items():
        written = load_file(folder / f"{name}.safetensors")
        assert written.keys() == state.keys()
        assert all(torch.equal(written[key], state[key]) for key in state)
    load_networks(require_bundle("liveportrait", str(folder.parent)))

    asked_before = len(hub.requests)
    assert pull() == 0
    assert "already there" in capsys.readouterr().out
    assert len(hub.requests) == asked_before

    assert main(["weights", "verify", "liveportrait"]) == 0
    assert f"6 files, {lock.size_bytes / 1e6:.1f} MB, as locked at {lock.revision}" in capsys.readouterr().out
    assert main(["weights", "list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["BUNDLE", "STATE", "REVISION", "SIZE", "LICENCE"]
    assert ["liveportrait", "pulled", lock.revision[:12], f"{lock.size_bytes / 1e6:.1f}", "MB", "MIT"] in lines


@pytest.mark.slow
def test_a_lock_pins_the_revision_until_an_update_is_asked_for(
    hub: Hub, files: dict[str, bytes], folder: Path, capsys: Output
) -> None:
    first = hub.branches["main"]
    assert pull() == 0
    second = hub.commit({**files, **official_files(seed=1)})
    damaged = folder / "spade_generator.safetensors"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    assert main(["weights", "verify", "liveportrait"]) == 1
    words = capsys.readouterr().err
    assert "spade_generator.safetensors has SHA-256" in words
    assert "talkinghead weights pull liveportrait" in words

    assert pull() == 0
    assert damaged.read_bytes() == whole
    lock = read_lock(folder)
    assert lock is not None
    assert lock.revision == first

    assert pull("--update") == 0
    lock = read_lock(folder)
    assert lock is not None
    assert lock.revision == second
    assert damaged.read_bytes() != whole
    assert main(["weights", "verify", "liveportrait"]) == 0


def test_a_download_goes_on_where_a_killed_process_stopped(hub: Hub, files: dict[str, bytes], folder: Path) -> None:
    hub.commit({**files, WARPING: LARGE, RETARGETING: POINTER})  # the pointer ends the second pull before conversion
    hub.stalls[WARPING] = len(LARGE) - 1
    killed = subprocess.Popen([sys.executable, "-m", "gateway.cli.main", "weights", "pull", "liveportrait"])
    try:
        eventually(
            lambda: any(p.stat().st_size for p in folder.parent.rglob("warping_module.pth.*.part")), timeout_s=60.0
        )
    finally:
        killed.kill()
        killed.wait()
    hub.stalls.clear()
    hub.requests.clear()
    assert pull() == 1
    assert next(folder.parent.rglob("warping_module.pth")).read_bytes() == LARGE
    assert hub.downloads() == ["warping_module.pth", "spade_generator.pth", "stitching_retargeting_module.pth"]
    (asked,) = [wanted for _, path, wanted in hub.requests if path.endswith("warping_module.pth")]
    assert 0 < int(asked.removeprefix("bytes=").removesuffix("-")) < len(LARGE)


def test_a_connection_that_breaks_is_taken_up_again(hub: Hub, files: dict[str, bytes], folder: Path) -> None:
    hub.commit({**files, WARPING: LARGE, RETARGETING: POINTER})
    hub.breaks[WARPING] = len(LARGE) - 1
    assert pull() == 1
    assert next(folder.parent.rglob("warping_module.pth")).read_bytes() == LARGE
    first, second = [wanted for _, path, wanted in hub.requests if path.endswith("warping_module.pth")]
    assert first == ""
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) < len(LARGE)


def test_the_same_revision_must_not_change(hub: Hub, files: dict[str, bytes], folder: Path, capsys: Output) -> None:
    commit = hub.branches["main"]
    lock_of(folder, commit, files)
    hub.commits[commit] = {**files, WARPING: files[WARPING] + b"more"}
    words = refused(capsys)
    assert f"warping_module.pth of {REPO} at {commit} has SHA-256" in words
    assert "the same revision must not change" in words
    assert hub.downloads() == []


def test_a_file_that_is_not_what_the_hub_announced_is_refused(
    hub: Hub, files: dict[str, bytes], folder: Path, capsys: Output
) -> None:
    hub.announced[WARPING] = (len(files[WARPING]), "a" * 64)
    words = refused(capsys)
    assert f"{WARPING} has SHA-256 {hashlib.sha256(files[WARPING]).hexdigest()}, expected {'a' * 64}" in words
    assert not folder.exists()


def test_a_damaged_earlier_download_is_fetched_again(hub: Hub, folder: Path, capsys: Output) -> None:
    hub.announced[RETARGETING] = (10**5, "b" * 64)  # ends the first attempt after the other files arrived
    refused(capsys)
    arrived = next(folder.parent.rglob("motion_extractor.pth"))
    arrived.write_bytes(b"damaged")
    del hub.announced[RETARGETING]
    assert "motion_extractor.pth has SHA-256" in refused(capsys)
    assert not arrived.exists()


def test_a_pointer_in_the_place_of_a_file_is_recognised(
    hub: Hub, files: dict[str, bytes], folder: Path, capsys: Output
) -> None:
    hub.commit({**files, WARPING: POINTER})
    assert f"{WARPING} is a git-LFS pointer" in refused(capsys)
    assert not folder.exists()


def test_a_page_in_the_place_of_a_file_is_recognised(hub: Hub, files: dict[str, bytes], capsys: Output) -> None:
    hub.commit({**files, WARPING: b"<!doctype html><title>Sign in</title>"})
    assert f"{WARPING} is an HTML page" in refused(capsys)


class Code:
    """Pickled, it asks for a file to be made when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.slow
def test_code_in_a_checkpoint_is_not_run(hub: Hub, files: dict[str, bytes], folder: Path, capsys: Output) -> None:
    trace = folder.parent.parent / "executed"
    hub.commit({**files, WARPING: saved({"weight": Code(trace)})})
    words = refused(capsys)
    assert "warping_module.pth cannot be read as weights" in words
    assert "Nothing was installed" in words
    assert not trace.exists()
    assert not folder.exists()


@pytest.mark.slow
def test_a_file_that_was_brought_is_named_by_its_own_place(
    files: dict[str, bytes], tmp_path: Path, capsys: Output
) -> None:
    brought = tmp_path / "brought"
    for path, content in files.items():
        (brought / path).parent.mkdir(parents=True, exist_ok=True)
        (brought / path).write_bytes(content)
    warping = brought / WARPING
    warping.write_bytes(warping.read_bytes()[:-1000])
    words = refused(capsys, "--from", str(brought))
    assert f"{warping} cannot be read as weights" in words
    assert ".download" not in words


@pytest.mark.slow
def test_checkpoints_of_another_network_are_refused_and_the_old_ones_stay(
    hub: Hub, files: dict[str, bytes], folder: Path, capsys: Output
) -> None:
    assert pull() == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    states = synthetic_states(seed=0)
    hub.commit({**files, WARPING: saved(states["motion_extractor"])})
    assert "It belongs to another network or size" in refused(capsys, "--update")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (folder.parent / ".liveportrait.new").exists()


@pytest.mark.slow
def test_files_that_are_here_already_are_installed_without_a_hub(
    hub: Hub, files: dict[str, bytes], folder: Path, tmp_path: Path, capsys: Output
) -> None:
    brought = tmp_path / "brought"
    for path in (WARPING, RETARGETING):  # some in the layout of the repository, the others side by side
        (brought / path).parent.mkdir(parents=True, exist_ok=True)
        (brought / path).write_bytes(files[path])
    assert "lacks liveportrait/base_models/appearance_feature_extractor.pth" in refused(capsys, "--from", str(brought))
    for path in files.keys() - {WARPING, RETARGETING}:
        (brought / Path(path).name).write_bytes(files[path])
    assert pull("--from", str(brought)) == 0
    lock = read_lock(folder)
    assert lock is not None
    assert (lock.revision, lock.repo) == ("local", str(brought))
    assert hub.requests == []
    assert main(["weights", "verify", "liveportrait"]) == 0


def test_a_folder_that_is_not_there_is_named(hub: Hub, capsys: Output) -> None:
    assert "/nowhere: no such folder" in refused(capsys, "--from", "/nowhere")


def test_missing_torch_is_said_before_anything_is_downloaded(hub: Hub) -> None:
    script = "import sys; sys.modules['torch'] = None\nfrom gateway.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "weights", "pull", "liveportrait"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "converting checkpoints needs torch" in result.stderr
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "knows no such repository"),
        (403, "GatedRepo", "accept terms"),
        (403, "", "Check HF_TOKEN"),
        (503, "", "answers HTTP 503; try again later"),
    ],
)
def test_refusals_of_the_hub_say_what_to_do(hub: Hub, status: int, code: str, words: str, capsys: Output) -> None:
    hub.error = (status, code)
    said = refused(capsys)
    assert words in said
    assert REPO in said


def test_a_private_repository_needs_the_token(
    hub: Hub, files: dict[str, bytes], capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "secret"
    assert "HF_TOKEN" in refused(capsys)
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.commit({**files, WARPING: POINTER})
    assert "git-LFS pointer" in refused(capsys)  # got as far as the files


def test_unknown_names_are_named(hub: Hub, files: dict[str, bytes], capsys: Output) -> None:
    assert "no such branch, tag or commit" in refused(capsys, "--revision", "v9")
    assert "knows no such repository" in refused(capsys, "--repo", "nobody/nothing")
    assert "Expected OWNER/NAME" in refused(capsys, "--repo", "not a repo")
    hub.commit({path: data for path, data in files.items() if path != WARPING})
    assert f"lacks {WARPING}" in refused(capsys)
    assert main(["weights", "pull", "embedded"]) == 1
    assert "nothing to pull" in capsys.readouterr().err
    assert main(["weights", "verify", "other"]) == 1
    assert "known are ['liveportrait']" in capsys.readouterr().err


def test_a_login_page_between_here_and_the_hub_is_recognised(hub: Hub, capsys: Output) -> None:
    hub.page = b"<html>Sign in</html>"
    assert "does not answer like a hub" in refused(capsys)


def test_a_hub_that_is_not_there_is_named(hub: Hub, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    words = refused(capsys)
    assert "no answer from http://127.0.0.1:9" in words
    assert "--from FOLDER" in words


def test_a_disk_that_is_too_small_is_noticed_before_the_download(hub: Hub, capsys: Output) -> None:
    hub.announced[WARPING] = (10**18, "a" * 64)
    assert "MB for the download" in refused(capsys)
    assert hub.downloads() == []


@pytest.mark.parametrize("source", ["hub", "folder"])
def test_a_disk_that_fills_up_is_named(hub: Hub, files: dict[str, bytes], tmp_path: Path, source: str) -> None:
    """A process may write no file beyond 4 KiB: the errno differs from a full disk, the path of the error does not."""
    for path, data in files.items():
        (tmp_path / Path(path).name).write_bytes(data)
    words = [] if source == "hub" else ["--from", str(tmp_path)]
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from gateway.cli.main import main\n"
        "sys.exit(main(['weights', 'pull', 'liveportrait', *sys.argv[1:]]))"
    )
    result = subprocess.run([sys.executable, "-B", "-c", script, *words], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert ("could not be fetched" if source == "hub" else "cannot store weights in") in result.stderr
    assert "File too large" in result.stderr


def test_nothing_pulled_is_said_by_verify_and_list(hub: Hub, folder: Path, capsys: Output) -> None:
    assert main(["weights", "verify", "liveportrait"]) == 1
    assert "talkinghead weights pull liveportrait" in capsys.readouterr().err
    assert main(["weights", "list"]) == 0
    assert "not pulled" in capsys.readouterr().out
    folder.mkdir(parents=True)
    (folder / "warping_module.pth").write_bytes(b"x")
    main(["weights", "list"])
    assert "placed by hand" in capsys.readouterr().out
    (folder / LOCK_FILE).write_text("{")
    main(["weights", "list"])
    assert "unreadable lock file" in capsys.readouterr().out


def test_a_swap_that_was_interrupted_is_undone(hub: Hub, files: dict[str, bytes], folder: Path, capsys: Output) -> None:
    lock_of(folder, hub.branches["main"], files)
    folder.rename(folder.with_name(".liveportrait.old"))
    hub.error = (503, "")
    refused(capsys)
    assert (folder / LOCK_FILE).is_file()
    assert not folder.with_name(".liveportrait.old").exists()


def test_a_folder_that_cannot_be_written_is_named(
    hub: Hub, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TH_WEIGHTS_DIR", str(tmp_path / "file" / "weights"))
    assert "set TH_WEIGHTS_DIR to a folder of yours" in refused(capsys)


def lock_of(folder: Path, revision: str, files: dict[str, bytes]) -> None:
    """A lock file, as a colleague sends it: it pins what to download, the files themselves are not there."""
    folder.mkdir(parents=True)
    sums = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    wanted = [*SOURCES["liveportrait"].files.values(), "config.json"]
    names = {path: Path(path).name.replace(".pth", ".safetensors") for path in wanted}
    locked = {names[path]: LockedFile(1, "0" * 64, path, sums[path]) for path in wanted}
    write_lock(folder, BundleLock("liveportrait", REPO, revision, "MIT", locked))
