"""Single steps of a job: every condition of every script, on a real Redis."""

import time
from dataclasses import asdict, replace

import numpy as np
import pytest
from redis import Redis

from shared.commits import Outcome
from shared.controls import Controls, Emotion
from shared.errors import JobNotFound, NoFaceFound, ShapeError
from shared.jobs import JobStore
from shared.protocol import (
    JobOptions,
    JobState,
    MotionPayload,
    MuxPayload,
    RenderPayload,
    Stage,
    Unit,
    heartbeat_key,
    job_key,
)
from shared.scripts import Limits
from tests.fakes import submit
from tests.shared.data_plane import Hands, dead_letters, keys_of, pending, turns, units

pytestmark = pytest.mark.redis


@pytest.fixture
def hands(store: JobStore) -> Hands:
    return Hands(store)


def test_a_new_job_is_queued_once(store: JobStore) -> None:
    options = JobOptions(
        seed=2**63 - 1, output="full", head_motion=0.5, blinks_per_minute=0.0, gaze_x=-0.1, emotion=Emotion.SAD
    )
    fields: dict[str, str | float] = {"created": 12.5, "portrait_file": "portrait.png", "audio_file": "audio.mp3"}
    assert store.create("0-a", options, "embedded", fields)
    assert not store.create("0-a", JobOptions(seed=1), "embedded", fields)
    record = store.get("0-a")
    assert (record.state, record.options, record.created) == (JobState.QUEUED, options, 12.5)
    assert (record.portrait_file, record.audio_file) == ("portrait.png", "audio.mp3")
    assert store.unfinished_count("0") == 1


def test_ingest_begins_until_the_job_is_planned(store: JobStore) -> None:
    assert not store.begin_ingest("0-a")
    store.create("0-a", JobOptions(seed=1), "embedded", {"created": 1.0})
    assert store.begin_ingest("0-a")
    assert store.begin_ingest("0-a")
    assert store.ready("0-a", 100, 2.5, "digest", warnings=["Stille"])
    assert not store.begin_ingest("0-a")
    assert not store.ready("0-a", 100, 2.5, "digest")
    record = store.get("0-a")
    assert (record.state, record.n_frames, record.n_windows, record.gain) == (JobState.RUNNING, 100, 2, 2.5)
    assert record.warnings == ("Stille",)


def test_unknown_jobs_are_an_error(store: JobStore) -> None:
    with pytest.raises(JobNotFound, match="0-none"):
        store.get("0-none")
    assert not store.finish("0-none", JobState.CANCELED)
    assert store.missing(["0-none"]) == ["0-none"]


def test_jobs_are_listed_newest_first_page_by_page(store: JobStore) -> None:
    for i in range(5):
        store.create(f"0-{i}", JobOptions(seed=1), "embedded", {"created": 1.0 if i in (1, 2) else i})
    ids = [record.id for record in store.list()]
    assert ids == ["0-4", "0-3", "0-2", "0-1", "0-0"]
    assert [record.id for record in store.list(2)] == ids[:2]
    assert [record.id for record in store.list(2, after="0-2")] == ["0-1", "0-0"]


def test_encoding_stays_two_windows_ahead_of_the_motion(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 650)
    assert units(hands.work(Stage.ENCODE)) == ["encode:0", "encode:1"]
    assert units(hands.work(Stage.PORTRAIT)) == ["portrait"]
    assert units(hands.work(Stage.MOTION)) == ["motion:0", "motion:1"]
    assert units(hands.work(Stage.ENCODE)) == ["encode:2", "encode:3"]
    assert set(turns(store.client, job_id)) >= {"motion:2", "render:0"}


def test_one_motion_turn_at_a_time_and_none_before_the_portrait(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 650)
    hands.work(Stage.ENCODE)
    assert "motion:0" not in turns(store.client, job_id)
    hands.work(Stage.PORTRAIT)
    assert [unit for unit in turns(store.client, job_id) if unit.startswith("motion")] == ["motion:0"]


def test_motion_stops_when_its_budget_is_spent_and_goes_on_when_a_window_is_muxed(
    store: JobStore, hands: Hands
) -> None:
    submit(store, "a", 1300)
    made = units(hands.work(Stage.ENCODE, Stage.PORTRAIT, Stage.MOTION))
    assert [unit for unit in made if unit.startswith("motion")] == [f"motion:{w}" for w in range(4)]
    hands.work(Stage.RENDER)
    hands.commit(hands.taken(Stage.MUX)[0])
    assert "motion:4" in units(hands.work(Stage.ENCODE, Stage.MOTION))


def test_first_window_is_cut_into_short_slices(store: JobStore, hands: Hands) -> None:
    submit(store, "a", 140)
    hands.work(Stage.ENCODE, Stage.PORTRAIT, Stage.MOTION)
    renders = hands.taken(Stage.RENDER)
    firsts = [task.unit.index for task in renders]
    assert firsts == [*range(0, 65, 5), *range(65, 130, 13), 130]
    lengths = [task.payload.n_slice_frames for task in renders if isinstance(task.payload, RenderPayload)]
    assert lengths == [5] * 13 + [13] * 5 + [10]


def test_the_payloads_carry_what_the_job_was_made_with(store: JobStore, hands: Hands) -> None:
    controls = Controls(0.25, 0.75, 30.5, -0.1, 1.0, Emotion.ANGRY, 0.3)
    options = JobOptions(seed=99, output="full", **asdict(controls))
    store.create("0-a", options, "embedded", {"created": 1.0, "portrait_file": "portrait.webp"})
    store.begin_ingest("0-a")
    store.ready("0-a", 70, 3.5, "digest")
    (encode, _), (portrait,) = hands.taken(Stage.ENCODE), hands.taken(Stage.PORTRAIT)
    assert (encode.payload.n_frames, encode.payload.hop, encode.payload.gain) == (70, 65, 3.5)  # type: ignore[union-attr]
    assert encode.payload.speech_file == "jobs/0-a/speech.pcm"  # type: ignore[union-attr]
    assert portrait.payload.portrait_file == "jobs/0-a/portrait.webp"  # type: ignore[union-attr]
    assert portrait.payload.output == "full"  # type: ignore[union-attr]
    features = np.arange(300, dtype=np.float32).reshape(75, 4)
    store.commit_portrait(portrait, b"x")
    store.commit_encode(encode, features)
    (motion,) = hands.taken(Stage.MOTION)
    assert isinstance(motion.payload, MotionPayload)
    assert motion.payload.features.tobytes() == features.tobytes()
    assert (motion.payload.seed, motion.payload.controls) == (99, controls)
    assert motion.payload.window_state == b""
    rows = np.random.default_rng(1).normal(size=(65, 70)).astype(np.float32)
    store.commit_motion(motion, b"next", rows, rows[3])
    render = hands.taken(Stage.RENDER)[1]
    assert isinstance(render.payload, RenderPayload)
    assert render.payload.reference is not None
    assert render.payload.reference.tobytes() == rows[3].tobytes()
    assert render.payload.motion.tobytes() == rows[5:10].tobytes()


def test_a_cached_portrait_is_not_prepared_again(store: JobStore, hands: Hands) -> None:
    store.store_appearance("0", "digest-b", b"appearance")
    job_id = submit(store, "b", 65)
    assert "portrait" not in turns(store.client, job_id)
    hands.work(Stage.ENCODE)
    assert "motion:0" in turns(store.client, job_id)
    assert store.load_appearance("0", "digest-b") == b"appearance"
    assert store.load_appearance("0", "other") is None


def test_waiting_jobs_have_their_portrait_prepared(store: JobStore, hands: Hands) -> None:
    jobs = [submit(store, f"job{i}", 65, created=float(i)) for i in range(5)]
    assert store.get(jobs[4]).state is JobState.READY
    assert units(hands.work(Stage.PORTRAIT)) == ["portrait"] * 5
    assert store.finish(jobs[0], JobState.CANCELED)
    assert store.get(jobs[4]).state is JobState.RUNNING
    assert set(turns(store.client, jobs[4])) == {"encode:0"}


def test_an_entry_that_is_not_mine_is_lost_and_not_acknowledged(store: JobStore, hands: Hands) -> None:
    submit(store, "a", 65)
    (entry,) = hands.read(Stage.ENCODE)
    assert hands.take(entry, "another") is None
    assert pending(store.client, Stage.ENCODE) == [entry.entry_id]


def test_a_repeated_commit_counts_once(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 65)
    hands.work(Stage.PORTRAIT)
    (encode,) = hands.taken(Stage.ENCODE)
    assert hands.commit(encode) is Outcome.DONE
    before = turns(store.client, job_id)
    assert hands.commit(encode) is Outcome.SKIPPED
    assert turns(store.client, job_id) == before
    (motion,) = hands.taken(Stage.MOTION)
    assert [hands.commit(motion), hands.commit(motion)] == [Outcome.DONE, Outcome.SKIPPED]
    renders = hands.taken(Stage.RENDER)
    for task in renders + renders:
        hands.commit(task)
    muxes = hands.read(Stage.MUX)
    assert len(muxes) == 1


def test_a_stale_worker_commits_first_and_the_heir_is_skipped(store: JobStore, hands: Hands) -> None:
    submit(store, "a", 65)
    (entry,) = hands.read(Stage.ENCODE)
    stale = hands.take(entry)
    heir = Hands(store, "heir")
    (claimed,) = heir.consumers[Stage.ENCODE].claim(0.0)
    again = heir.take(claimed)
    assert stale is not None
    assert again is not None
    assert again.tries == 2
    assert hands.commit(stale) is Outcome.DONE
    assert heir.commit(again) is Outcome.SKIPPED
    assert pending(store.client, Stage.ENCODE) == []


def test_renewing_does_not_steal_back(store: JobStore, hands: Hands) -> None:
    submit(store, "a", 65)
    (entry,) = hands.read(Stage.ENCODE)
    assert store.renew(entry.stream, "0", "hands", [entry.entry_id]) == 1
    Hands(store, "heir").consumers[Stage.ENCODE].claim(0.0)
    assert store.renew(entry.stream, "0", "hands", [entry.entry_id]) == 0
    assert hands.take(entry) is None


def test_a_unit_begun_too_often_is_a_dead_letter_and_its_job_fails(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 65)
    (entry,) = hands.read(Stage.ENCODE)
    tries = [task.tries for _ in range(5) if (task := hands.take(entry)) is not None]
    assert tries == [1, 2, 3, 4, 5]
    assert hands.take(entry) is None
    record = store.get(job_id)
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert record.error["code"] == "gave_up"
    assert "encode:0 was begun 5 times" in record.error["message"]
    (letter,) = dead_letters(store.client)
    assert (letter[b"job"], letter[b"unit"]) == (job_id.encode(), b"encode:0")
    assert pending(store.client, Stage.ENCODE) == []


def test_a_failed_unit_fails_its_job_with_a_readable_error(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 65)
    (task,) = hands.taken(Stage.PORTRAIT)
    assert store.fail(task, NoFaceFound("no face in 640 x 480 pixels")) is Outcome.DONE
    assert store.fail(task, NoFaceFound("again"), "twice") is Outcome.SKIPPED
    error = store.get(job_id).error
    assert error == {"code": "no_face_found", "message": "no face in 640 x 480 pixels", "retryable": False}
    assert dead_letters(store.client) == []


def test_an_undecodable_entry_becomes_a_dead_letter_once(store: JobStore, hands: Hands) -> None:
    stream = "th:{0}:render:embedded"
    store.client.xadd(stream, {"what": "ever"})
    (entry,) = hands.read(Stage.RENDER)
    assert store.bad(stream, "0", entry.entry_id, "no unit")
    assert not store.bad(stream, "0", entry.entry_id, "no unit")
    assert [letter[b"reason"] for letter in dead_letters(store.client)] == [b"no unit"]


def test_cancel_leaves_nothing_and_late_commits_resurrect_nothing(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 200)
    hands.work(Stage.PORTRAIT)
    encode, late_encode = hands.taken(Stage.ENCODE)
    hands.commit(encode)
    (motion,) = hands.taken(Stage.MOTION)
    hands.commit(motion)
    drawn, late_slice = hands.taken(Stage.RENDER)[:2]
    hands.commit(drawn)
    assert store.finish(job_id, JobState.CANCELED)
    assert not store.finish(job_id, JobState.FAILED)
    left = keys_of(store.client, job_id)
    assert left == {"", ":events", ":slice:0"}
    assert hands.commit(late_encode) is Outcome.SKIPPED
    assert hands.commit(late_slice) is Outcome.SKIPPED
    assert keys_of(store.client, job_id) == left
    assert hands.taken(Stage.RENDER) == []
    assert store.unfinished_count("0") == 0
    for key in left:
        assert store.client.ttl(job_key(job_id) + key) > 0


def test_ended_jobs_expire(redis_url: str) -> None:
    store = JobStore(redis_url, Limits(job_ttl_s=86_400, ended_slice_ttl_s=600))
    hands = Hands(store)
    job_id = submit(store, "a", 400)
    hands.work(*[stage for stage in Stage if stage is not Stage.MUX])
    while tasks := hands.work():
        assert tasks
    assert store.get(job_id).state is JobState.FINALIZING
    assert store.client.ttl(job_key(job_id)) == -1
    assert not store.finish("0-other", JobState.SUCCEEDED)
    assert store.finish(job_id, JobState.SUCCEEDED)
    assert 86_000 < int(store.client.ttl(job_key(job_id))) <= 86_400
    slices = [key for key in keys_of(store.client, job_id) if key.startswith(":slice:")]
    assert min(int(key.removeprefix(":slice:")) for key in slices) == store.get(job_id).tail_frame
    assert all(0 < int(store.client.ttl(job_key(job_id) + key)) <= 600 for key in slices)
    store.client.close()


def test_succeeded_only_from_finalizing(store: JobStore) -> None:
    job_id = submit(store, "a", 65)
    assert not store.finish(job_id, JobState.SUCCEEDED)
    assert store.get(job_id).state is JobState.RUNNING


def test_the_last_window_makes_the_job_finalizing_and_says_so_again(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 66)
    hands.work(Stage.ENCODE, Stage.PORTRAIT, Stage.MOTION, Stage.ENCODE, Stage.MOTION, Stage.RENDER)
    first, last = hands.taken(Stage.MUX)
    assert isinstance(last.payload, MuxPayload)
    assert last.payload.slices == ((65, 1),)
    assert hands.commit(last) is Outcome.DONE
    assert store.get(job_id).muxed_frames == 0
    assert hands.commit(first) is Outcome.FINALIZING
    assert hands.commit(first) is Outcome.FINALIZING
    assert store.get(job_id).muxed_frames == 66
    assert store.begin_assemble(job_id)
    assert not store.begin_ingest(job_id)
    assert store.finish(job_id, JobState.SUCCEEDED)
    assert not store.begin_assemble(job_id)


def test_muxed_frames_behind_the_viewer_tail_are_dropped(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 650)
    hands.work()
    tail = store.get(job_id).tail_frame
    assert 650 - 250 - 13 < tail <= 650 - 250
    firsts = {int(key.removeprefix(":slice:")) for key in keys_of(store.client, job_id) if ":slice:" in key}
    assert min(firsts) == tail


def test_a_slice_drawn_twice_does_not_come_back_behind_the_tail(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 650)
    hands.work(Stage.ENCODE, Stage.PORTRAIT, Stage.MOTION)
    again = hands.taken(Stage.RENDER)[0]
    hands.commit(again)
    while hands.work():
        pass
    # The rest of the first slices was taken by hand and is still outstanding.
    store.reconcile("0")
    assert hands.commit(again) is Outcome.SKIPPED
    assert store.get(job_id).state is JobState.RUNNING


def test_a_slice_that_vanished_before_its_commit_is_stored_again(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 65)
    hands.work(Stage.ENCODE, Stage.PORTRAIT, Stage.MOTION)
    task = hands.taken(Stage.RENDER)[0]
    args = (job_id, str(task.unit), task.entry_id, 0, 5)
    assert store._run("commit_slice", "0", *args, key=task.stream) == b"again"
    assert pending(store.client, Stage.RENDER)
    assert hands.commit(task) is Outcome.DONE


def test_lost_slices_are_drawn_again_and_the_mux_unit_withdrawn(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 65)
    hands.work(Stage.ENCODE, Stage.PORTRAIT, Stage.MOTION, Stage.RENDER)
    (mux,) = hands.taken(Stage.MUX)
    assert store.lost_slices(mux, [5, 10]) is Outcome.AGAIN
    store.client.delete(job_key(job_id, "slice", "5"))
    assert store.load_slices(job_id, [0, 5])[1] is None
    assert store.lost_slices(mux, [5, 10]) is Outcome.DONE
    assert set(turns(store.client, job_id)) == {"render:5"}
    assert store.lost_slices(mux, [5]) is Outcome.SKIPPED
    assert hands.commit(mux) is Outcome.SKIPPED
    assert units(hands.work()) == ["render:5", "mux:0"]
    assert store.get(job_id).state is JobState.FINALIZING


def test_two_newest_window_states_are_kept(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 250)
    hands.work(Stage.ENCODE, Stage.PORTRAIT, Stage.MOTION)
    kept = store.client.hkeys(job_key(job_id, "window"))
    assert sorted(kept) == [b"3", b"4"]


def test_wrong_shapes_are_refused_before_anything_is_written(store: JobStore, hands: Hands) -> None:
    submit(store, "a", 65)
    hands.work(Stage.ENCODE, Stage.PORTRAIT)
    (motion,) = hands.taken(Stage.MOTION)
    with pytest.raises(ShapeError, match="expected 65, 70"):
        store.commit_motion(motion, b"", np.ones((64, 70), np.float32), None)
    hands.commit(motion)
    render = hands.taken(Stage.RENDER)[0]
    with pytest.raises(ShapeError):
        store.commit_slice(render, [b"one"])


def test_a_motion_turn_without_features_has_them_encoded_again(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 65)
    hands.work(Stage.ENCODE, Stage.PORTRAIT)
    store.client.delete(job_key(job_id, "features"))
    assert hands.taken(Stage.MOTION) == []
    assert set(turns(store.client, job_id)) == {"encode:0"}
    hands.work()
    assert store.get(job_id).state is JobState.FINALIZING


def test_a_task_of_an_older_issue_is_skipped(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 65)
    (task,) = hands.taken(Stage.ENCODE)
    store.client.hset(job_key(job_id, "turns"), "encode:0", "1-1")
    assert hands.commit(replace(task, unit=Unit(Stage.ENCODE, 0))) is Outcome.SKIPPED


def test_live_workers_and_memory_are_reported(store: JobStore) -> None:
    store.client.set(heartbeat_key("renderer", "embedded", "one"), "1", ex=15)
    assert store.live_workers() == [("renderer", "embedded", "one")]
    assert store.memory_ratio() == 0.0
    store.client.config_set("maxmemory", "1gb")
    assert 0.0 < store.memory_ratio() < 0.5


def test_times_of_a_job_come_from_redis(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 65)
    hands.work()
    store.finish(job_id, JobState.SUCCEEDED)
    record = store.get(job_id)
    assert abs(record.ended_at - time.time()) < 60
    assert record.started_at <= record.ended_at
    assert isinstance(store.client, Redis)
