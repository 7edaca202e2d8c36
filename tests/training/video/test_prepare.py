"""From files to shards: what is measured is what was drawn; interruptions and bad files cost nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from services.motion_dit.events import BLINK
from shared.errors import ConfigurationError
from shared.motion import EXP, lip_opening
from shared.timeline import SAMPLES_PER_FRAME
from tests.training.video.conftest import SMALL, Talk
from training.video.agreement import compare
from training.video.prepare import main, plan, prepare, split_of
from training.video.process import Recipe, process, stamps
from training.video.reader import read_manifest
from training.video.shards import shard_path


def test_measured_motion_is_the_drawn_motion(talk: Talk, shards: tuple[Path, dict[str, object]]) -> None:
    manifest = read_manifest(shards[0])
    (record,) = (r for r in manifest.records if r.clips)
    (clip,) = record.clips
    arrays = load_file(shard_path(shards[0], "motion", record.key))
    rows = arrays[f"{clip.name}.rows"]
    drawn = talk.rows[clip.first_frame : clip.first_frame + clip.n_frames]
    assert clip.n_frames == len(rows) == len(talk.rows)
    assert arrays[f"{clip.name}.pcm"].shape == (len(rows) * SAMPLES_PER_FRAME,)
    agreed = compare(rows, drawn)
    assert agreed["opening_r"] > 0.9
    assert agreed["closed_same"] > 0.9
    seen, shown = lip_opening(rows[:, EXP]), lip_opening(drawn[:, EXP])
    assert (seen[shown > 0.08] > 0.02).mean() > 0.95  # landmarks do not see a gap that is smaller
    assert (seen[shown < 0.02] < 0.02).mean() > 0.95
    for angle in ("pitch", "yaw", "roll"):
        assert agreed[f"{angle}_r"] > 0.9
        assert 0.5 < agreed[f"{angle}_slope"] < 1.3
    assert agreed["blinks_drawn"] == agreed["blinks_found"] == agreed["blinks_matched"] == len(talk.blinks)
    closure = arrays[f"{clip.name}.tracks"][:, BLINK]
    assert closure.max() > 0.7
    assert np.median(closure) == 0
    assert abs(clip.facts.lag_frames) <= 1
    assert clip.facts.sync_r > clip.facts.sync_null


def test_summary_counts_copies_and_damaged_files(shards: tuple[Path, dict[str, object]]) -> None:
    summary = shards[1]
    assert summary["videos"] == summary["clips"] == summary["new"] == 1
    assert summary["duplicates"] == 1
    assert summary["seconds_held"] == 5.2
    assert summary["seconds_train"] == 0.0
    failed = summary["failed"]
    assert isinstance(failed, dict)
    assert list(failed) == ["train/damaged.mp4"]
    assert failed["train/damaged.mp4"].startswith("unsupported_media: damaged.mp4")
    json.dumps(summary)


def test_a_second_run_makes_only_what_is_missing(
    talk: Talk, shards: tuple[Path, dict[str, object]], recipe_for: Callable[[Path], Recipe]
) -> None:
    out = shards[0]
    manifest = (out / "manifest.json").read_bytes()
    files = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*.safetensors")}
    assert len(files) == 2
    (features,) = (p for p in files if "features" in p.parts)
    features.write_bytes(files[features][0][:1000])  # as a full disk leaves it
    features.with_name("left.1.part").write_bytes(b"half")  # as a killed run leaves it
    tasks, duplicates = plan(talk.path.parents[1], 0.1, None)
    summary = prepare(tasks, recipe_for(out), 1, duplicates)
    assert summary["new"] == 0
    assert (out / "manifest.json").read_bytes() == manifest
    for path, (content, written) in files.items():
        assert path.read_bytes() == content
        assert (path.stat().st_mtime_ns == written) == (path != features)


def test_another_geometry_only_renews_the_features(recipe_for: Callable[[Path], Recipe], tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path)
    other = replace(recipe, geometry=replace(SMALL, lookahead=0))
    assert stamps(recipe)[0] == stamps(other)[0]
    assert stamps(recipe)[1] != stamps(other)[1]


@pytest.mark.parametrize(
    ("source", "split"), [("held/a.mp4", "held"), ("train/x/a.mp4", "train"), ("anna/1.mp4", None), ("b.mp4", None)]
)
def test_the_split_is_by_folder(source: str, split: str | None) -> None:
    found = split_of(source, 0.5)
    assert split is None or found == split
    assert split_of(source.replace("1.mp4", "2.mp4"), 0.5) == found


def test_the_share_of_held_out_videos_is_as_asked() -> None:
    held = [split_of(f"video{i}.mp4", 0.2) == "held" for i in range(2000)]
    assert 0.17 < np.mean(held) < 0.23


def test_a_folder_without_videos_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match="holds no video"):
        plan(tmp_path, 0.1, None)
    assert main(["--videos", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no video" in capsys.readouterr().err


def test_liveportrait_measures_the_same_clip(
    talk: Talk,
    shards: tuple[Path, dict[str, object]],
    recipe_for: Callable[[Path], Recipe],
    weights: Path,
    tmp_path: Path,
) -> None:
    recipe = replace(recipe_for(tmp_path), method="liveportrait", weights=weights)
    tasks, _ = plan(talk.path.parent, 0.1, None)
    done = process(tasks[0], recipe)
    (clip,) = done.record.clips
    (by_sliders,) = (c for r in read_manifest(shards[0]).records for c in r.clips)
    assert (clip.first_frame, clip.n_frames) == (by_sliders.first_frame, by_sliders.n_frames)
    assert clip.facts == by_sliders.facts
    rows = load_file(shard_path(tmp_path, "motion", done.record.key))[f"{clip.name}.rows"]
    assert rows.shape == (clip.n_frames, 70)
    assert rows[:, EXP].std() > 0
    assert stamps(recipe) != stamps(recipe_for(tmp_path))


def test_liveportrait_without_weights_is_a_clear_error(
    talk: Talk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--videos", str(talk.path.parent), "--out", str(tmp_path), "--motion", "liveportrait"]
    assert main(arguments) == 2
    assert "--weights" in capsys.readouterr().err


def test_clips_too_short_to_judge_are_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--videos", str(tmp_path), "--out", str(tmp_path), "--min-clip-s", "2"]) == 2
    assert "--min-clip-s is 2" in capsys.readouterr().err
