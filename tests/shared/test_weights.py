"""Where pulled weights lie, and what the lock file promises."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from shared.errors import ConfigurationError, WeightsMismatch
from shared.weights import (
    LOCK_FILE,
    BundleLock,
    LockedFile,
    bundle_folder,
    content_problems,
    describe_placeholder,
    read_lock,
    require_bundle,
    size_problems,
    write_lock,
)

CONTENT = b"weights" * 100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A weights folder with one bundle `tiny` of one file."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "net.safetensors").write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    files = {"net.safetensors": LockedFile(len(CONTENT), sha256, "base/net.pth", "0" * 64)}
    write_lock(folder, BundleLock("tiny", "owner/name", "f" * 40, "MIT", files))
    return tmp_path


def test_the_default_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert bundle_folder("tiny", "") == tmp_path / "talkinghead" / "weights" / "tiny"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert bundle_folder("tiny", "") == tmp_path / ".cache" / "talkinghead" / "weights" / "tiny"
    assert bundle_folder("tiny", "~/w") == tmp_path / "w" / "tiny"


def test_a_lock_survives_the_round_trip(root: Path) -> None:
    lock = read_lock(root / "tiny")
    assert lock is not None
    assert lock.size_bytes == len(CONTENT)
    written = (root / "tiny" / LOCK_FILE).read_bytes()
    write_lock(root / "tiny", lock)
    assert (root / "tiny" / LOCK_FILE).read_bytes() == written


def test_whole_weights_are_accepted(root: Path) -> None:
    assert require_bundle("tiny", str(root)) == root / "tiny"


def test_weights_placed_by_hand_need_no_lock(root: Path) -> None:
    (root / "tiny" / LOCK_FILE).unlink()
    assert require_bundle("tiny", str(root)) == root / "tiny"


@pytest.mark.parametrize("has_folder", [False, True], ids=["no folder", "empty folder"])
def test_missing_weights_name_the_command_that_brings_them(tmp_path: Path, has_folder: bool) -> None:
    if has_folder:
        (tmp_path / "liveportrait").mkdir()
    with pytest.raises(ConfigurationError, match="talkinghead weights pull liveportrait"):
        require_bundle("liveportrait", str(tmp_path))


def test_missing_and_truncated_files_are_named(root: Path) -> None:
    (root / "tiny" / "net.safetensors").write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsMismatch, match=r"net\.safetensors has 699 bytes, expected 700"):
        require_bundle("tiny", str(root))
    (root / "tiny" / "net.safetensors").unlink()
    with pytest.raises(WeightsMismatch, match=r"net\.safetensors is missing"):
        require_bundle("tiny", str(root))


def test_a_flipped_bit_is_found_by_content_only(root: Path) -> None:
    folder = root / "tiny"
    lock = read_lock(folder)
    assert lock is not None
    assert content_problems(folder, lock) == []
    (folder / "net.safetensors").write_bytes(CONTENT[:-1] + b"t")
    assert size_problems(folder, lock) == []
    assert [problem.split()[:2] for problem in content_problems(folder, lock)] == [["net.safetensors", "has"]]


@pytest.mark.parametrize("damage", ['"format": 1', '"sha256"', '"net.safetensors"', "{"])
def test_a_damaged_lock_is_an_error(root: Path, damage: str) -> None:
    path = root / "tiny" / LOCK_FILE
    text = path.read_text()
    assert damage in text
    path.write_text(text.replace(damage, damage.replace("1", "9").replace("a", "/").replace("{", ""), 1))
    with pytest.raises(WeightsMismatch, match=r"bundle\.lock\.json cannot be read"):
        read_lock(root / "tiny")


def test_a_lock_names_no_file_elsewhere(root: Path) -> None:
    lock = read_lock(root / "tiny")
    assert lock is not None
    write_lock(root / "tiny", dataclasses.replace(lock, files={"../net": lock.files["net.safetensors"]}))
    with pytest.raises(WeightsMismatch, match="is not a file name"):
        read_lock(root / "tiny")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git-LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "HTML page"),
        (b"<html><body>", "HTML page"),
    ],
)
def test_placeholders_are_recognised(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    assert words in describe_placeholder(tmp_path / "net.pth")


def test_weights_are_no_placeholder(root: Path) -> None:
    assert describe_placeholder(root / "tiny" / "net.safetensors") == ""
