"""Published files: what is no checkpoint, or not this network's, is refused with a reason and a remedy."""

import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from services.motion_dit.strict_state import check_state, expected_shapes, read_pickle
from shared.errors import WeightsMismatch

REMEDY = "Fetch it again."
EXPECTED = {"weight": (2, 3), "bias": (2,)}


class RunsCode:
    """An object whose unpickling would create a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.victim,)


def good_state() -> dict[str, object]:
    return {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}


def test_what_torch_saved_is_read(tmp_path: Path) -> None:
    torch.save({"state": good_state(), "epoch": 3}, tmp_path / "good.pth")
    content = read_pickle(tmp_path / "good.pth", REMEDY)
    assert content["epoch"] == 3
    torch.testing.assert_close(content["state"], good_state())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read as weights"),
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a git-LFS pointer"),
        (b"<!DOCTYPE html><html>log in</html>", "an HTML page"),
        (b"\x80\x02 these bytes are no pickle", "cannot be read as weights"),
        (b"PK\x03\x04 and then nothing", "cannot be read as weights"),
    ],
)
def test_what_is_no_checkpoint_is_named(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "motion.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsMismatch, match=f"motion.pth.*{reason}.*{REMEDY}"):
        read_pickle(path, REMEDY)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "motion.pth"
    torch.save(good_state(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsMismatch, match="may be missing or truncated"):
        read_pickle(path, REMEDY)


def test_a_file_never_runs_code(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.save({"state": RunsCode(victim)}, tmp_path / "evil.pth")
    with pytest.raises(WeightsMismatch, match="cannot be read as weights"):
        read_pickle(tmp_path / "evil.pth", REMEDY)
    assert not victim.exists()


def test_a_flipped_byte_of_the_pickle_is_refused_or_read(tmp_path: Path) -> None:
    """Whatever the damage, the answer is content or the typed error."""
    path = tmp_path / "motion.pth"
    torch.save(good_state(), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    refused = 0
    for index in range(0, len(members[name]), 3):
        damaged = bytearray(members[name])
        damaged[index] ^= 0x41
        with zipfile.ZipFile(path, "w") as archive:
            for member, data in members.items():
                archive.writestr(member, bytes(damaged) if member == name else data)
        try:
            read_pickle(path, REMEDY)
        except WeightsMismatch:
            refused += 1
    assert refused > 10


def test_the_right_tensors_are_accepted_in_any_order_and_float_format() -> None:
    check_state(Path("f"), good_state(), EXPECTED, REMEDY)
    check_state(Path("f"), {"bias": torch.zeros(2).half(), "weight": torch.ones(2, 3)}, EXPECTED, REMEDY)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("bias", None, "lacks bias"),
        ("extra", torch.zeros(1), "has unexpected extra"),
        ("weight", torch.ones(3, 2), r"other shapes: weight \(3, 2\), expected \(2, 3\)"),
        ("weight", torch.ones(2, 3, dtype=torch.int64), "no floating point numbers in weight"),
        ("weight", "text", "no floating point numbers in weight"),
        ("weight", torch.full((2, 3), torch.nan), "NaN or infinity in weight"),
        ("bias", torch.tensor([0.0, torch.inf]), "NaN or infinity in bias"),
    ],
)
def test_another_state_is_refused_by_the_name_of_its_tensor(key: str, value: Tensor | str | None, reason: str) -> None:
    state = good_state() | {key: value}
    if value is None:
        del state[key]
    with pytest.raises(WeightsMismatch, match=f"{reason}.*{REMEDY}"):
        check_state(Path("f"), state, EXPECTED, REMEDY)


def test_a_message_names_some_tensors_and_counts_the_rest() -> None:
    with pytest.raises(WeightsMismatch, match="lacks t0, t1, t2, t3 and 6 more"):
        check_state(Path("f"), {}, {f"t{i}": (1,) for i in range(10)}, REMEDY)


def test_a_network_says_what_it_expects() -> None:
    assert expected_shapes(nn.Linear(3, 2)) == EXPECTED
