from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.motion_dit.generator import MotionGenerator
from services.motion_dit.interface import Generated, Request
from services.motion_dit.window import WindowState, first_state, read_state
from shared.controls import Controls, Emotion
from shared.errors import BadMessage, NonFiniteOutput, ShapeError
from shared.motion import EXP, PYR, SLIDER_INDEX, sliders_from_exp
from shared.timeline import Geometry
from tests.motion_dit.conftest import SMALL, make_model

FloatArray = NDArray[np.float32]


def _features(seed: int, n_frames: int = 75) -> FloatArray:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_frames, SMALL.feature_size)).astype(np.float32)
    features[:, -1] = rng.uniform(0, 1, n_frames)
    return features


def _request(seed: int = 7, **changes: object) -> Request[WindowState]:
    return replace(Request(_features(seed), first_state(SMALL.context), seed), **changes)  # type: ignore[arg-type]


def _bytes(generated: Generated[WindowState]) -> bytes:
    return generated.rows.tobytes() + generated.next_state.to_bytes()


def test_the_same_window_gives_the_same_bytes(generator: MotionGenerator) -> None:
    assert _bytes(generator.generate([_request()])[0]) == _bytes(generator.generate([_request()])[0])


def test_a_fresh_process_would_give_the_same_bytes(generator: MotionGenerator) -> None:
    torch.manual_seed(123)  # torch's own generators play no part
    again = MotionGenerator(make_model())
    assert _bytes(generator.generate([_request()])[0]) == _bytes(again.generate([_request()])[0])


def test_bytes_do_not_depend_on_the_rest_of_the_batch(generator: MotionGenerator) -> None:
    requests = [_request(seed) for seed in (1, 2, 3)]
    together = generator.generate(requests)
    for request, one in zip(reversed(requests), reversed(together), strict=True):
        assert _bytes(generator.generate([request])[0]) == _bytes(one)


def test_seeds_differ(generator: MotionGenerator) -> None:
    one = generator.generate([_request()])[0]
    other = generator.generate([_request(seed=8, features=_request().features)])[0]
    assert not np.allclose(one.rows, other.rows)


def test_options_change_the_rows_but_never_the_state(generator: MotionGenerator) -> None:
    plain = generator.generate([_request()])[0]
    still = generator.generate([_request(controls=Controls(head_motion=0.0, expressiveness=0.5))])[0]
    assert still.next_state.to_bytes() == plain.next_state.to_bytes()
    assert not still.rows[:, PYR].any()
    assert plain.rows[:, PYR].any()


def test_gaze_and_emotion_never_reach_the_state_and_carry_on_over_windows(generator: MotionGenerator) -> None:
    controls = Controls(emotion=Emotion.SAD, gaze_x=1.0)
    plain = generator.generate([_request()])[0]
    sad = generator.generate([_request(controls=controls)])[0]
    assert sad.next_state.to_bytes() == plain.next_state.to_bytes()
    np.testing.assert_allclose(sad.rows[0], plain.rows[0], atol=1e-5)
    later = [
        generator.generate([_request(features=_features(2), state=plain.next_state, controls=chosen)])[0].rows
        for chosen in (Controls(), controls)
    ]
    added = sliders_from_exp(later[1][:, EXP] - later[0][:, EXP])[:, SLIDER_INDEX["gaze_x"]]
    assert added[0] > 0.2  # no second beginning


def test_the_blink_rate_reaches_the_events(generator: MotionGenerator) -> None:
    never = generator.generate([_request(controls=Controls(blinks_per_minute=0.0))])[0]
    often = generator.generate([_request(controls=Controls(blinks_per_minute=40.0))])[0]
    assert not never.next_state.tracks[:, 0].any()
    assert never.next_state.events.next_blink > often.next_state.events.next_blink
    assert not np.array_equal(never.rows, often.rows)


def test_windows_chain_through_bytes(generator: MotionGenerator) -> None:
    first = generator.generate([_request()])[0]
    state = read_state(first.next_state.to_bytes(), 1, SMALL.context)
    assert state.window == 1
    one = generator.generate([_request(features=_features(2), state=state)])[0]
    other = generator.generate([_request(features=_features(2), state=first.next_state)])[0]
    assert _bytes(one) == _bytes(other)
    assert one.next_state.window == 2


def test_the_past_matters(generator: MotionGenerator) -> None:
    first = generator.generate([_request()])[0].next_state
    moved = replace(first, rows=first.rows + np.float32(0.3))
    one = generator.generate([_request(state=first)])[0]
    assert not np.allclose(one.rows, generator.generate([_request(state=moved)])[0].rows)


@pytest.mark.parametrize("hop", [1, 8, 13, 65])
def test_any_hop_works(generator: MotionGenerator, hop: int) -> None:
    generated = generator.generate([_request(features=_features(1, SMALL.context + hop))])[0]
    assert generated.rows.shape == (hop, 70)
    assert generated.rows.dtype == np.float32
    assert generated.next_state.rows.shape == (SMALL.context, 70)
    assert generated.next_state.tracks.shape == (SMALL.context, 3)


def test_what_is_looked_ahead_at_is_drawn_but_not_given_away() -> None:
    config = replace(SMALL, lookahead=4)
    generator = MotionGenerator(make_model(config))
    first = generator.generate([_request(features=_features(1, 79))])[0]
    assert first.rows.shape == (65, 70)
    assert np.array_equal(first.next_state.rows[:, EXP], first.rows[-SMALL.context :, EXP])
    assert first.next_state.tracks.shape == (SMALL.context + 4, 3)
    state = generator.read_state(first.next_state.to_bytes(), 1)
    second = generator.generate([_request(features=_features(2, 79), state=state)])[0]
    assert second.rows.shape == (65, 70)
    with pytest.raises(BadMessage, match="event rows"):
        read_state(first.next_state.to_bytes(), 1, SMALL.context, lookahead=3)


def test_the_sound_ahead_changes_the_end_of_a_window() -> None:
    generator = MotionGenerator(make_model(replace(SMALL, lookahead=4)))
    features = _features(1, 79)
    other = features.copy()
    other[75:] += 1.0
    one, moved = (generator.generate([_request(features=f)])[0].rows for f in (features, other))
    assert not np.allclose(one[-1], moved[-1])


def test_events_looked_ahead_at_come_again_in_the_next_window() -> None:
    generator = MotionGenerator(make_model(replace(SMALL, lookahead=4)))
    request = _request(features=_features(1, 79))
    drawn, _ = generator._events(request)
    state = generator.generate([request])[0].next_state
    again, _ = generator._events(_request(features=_features(2, 79), state=state))
    assert np.array_equal(again[: SMALL.context + 4], drawn[65:])
    assert again.shape == drawn.shape == (79, 3)


def test_warm_up_runs_the_real_shape(generator: MotionGenerator) -> None:
    generator.warm_up(Geometry())


def test_features_of_another_encoder_are_refused(generator: MotionGenerator) -> None:
    with pytest.raises(ShapeError, match="features"):
        generator.generate([_request(features=np.zeros((75, 5), np.float32))])


def test_numbers_that_are_not_finite_fail_the_job(generator: MotionGenerator) -> None:
    features = _features(1)
    features[3, 2] = np.nan
    with pytest.raises(NonFiniteOutput):
        generator.generate([_request(features=features)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_cpu() -> None:
    requests = [_request(seed) for seed in (1, 2, 3)]
    cpu = MotionGenerator(make_model()).generate(requests)
    gpu = MotionGenerator(make_model(), "cuda").generate(requests)
    for one, other in zip(cpu, gpu, strict=True):
        assert np.allclose(one.rows, other.rows, atol=1e-3)
