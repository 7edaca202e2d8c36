"""Sound to motion through the converted files, window after window, as the workers do it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from services.audio_encoder.model import AudioEncoder, load_encoder
from services.motion_dit.controls import add_lasting
from services.motion_dit.interface import Generated, Request
from services.motion_dit.joyvasa.bundle_folder import ENCODER_FOLDER, read_motion
from services.motion_dit.joyvasa.convert import convert
from services.motion_dit.joyvasa.generator import JoyVasaGenerator, Options, State, scale_motion
from services.motion_dit.joyvasa.guidance import Guidance, Past, predictor, project_frames, start_of
from services.motion_dit.joyvasa.network import Positions
from services.motion_dit.joyvasa.samplers import ddpm_states
from services.motion_dit.joyvasa.state import JoyVasaState
from services.motion_dit.joyvasa.template import FloatArray, smooth_pose
from services.motion_dit.sampler import noise
from shared.bundles import load_bundle
from shared.controls import Controls, Emotion
from shared.errors import BadMessage, NonFiniteOutput, ShapeError, VersionMismatch
from shared.motion import EXP, PYR, SLIDER_INDEX, sliders_from_exp
from shared.timeline import SAMPLES_PER_FRAME, encoder_span, window_at
from tests import tiny_joyvasa
from tests.tiny_joyvasa import TINY

GEOMETRY = load_bundle("joyvasa").geometry
N_FRAMES = 230
GAIN = 1.5


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    published = tmp_path_factory.mktemp("published")
    convert(*tiny_joyvasa.write_published(published), published / "joyvasa", Positions.INDEX)
    return published / "joyvasa"


@pytest.fixture(scope="module")
def encoder(folder: Path) -> AudioEncoder:
    return load_encoder(folder / ENCODER_FOLDER)


@pytest.fixture(scope="module")
def speech() -> FloatArray:
    return np.random.default_rng(1).normal(scale=0.1, size=N_FRAMES * SAMPLES_PER_FRAME).astype(np.float32)


def make_generator(folder: Path, **options: object) -> JoyVasaGenerator:
    return JoyVasaGenerator(*read_motion(folder), options=replace(Options(), **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def generator(folder: Path) -> JoyVasaGenerator:
    return make_generator(folder)


@pytest.fixture(scope="module")
def features(encoder: AudioEncoder, speech: FloatArray) -> list[FloatArray]:
    """Of three windows, heard as the encoder's worker hears them: silence outside the file."""
    heard = []
    for index in range(3):
        start, stop = encoder_span(window_at(index, N_FRAMES, GEOMETRY), GEOMETRY, encoder.receptive_field)
        padded = np.pad(speech, (100, 100 * SAMPLES_PER_FRAME))
        heard.append(encoder.encode(padded[start + 100 : stop + 100], GAIN, GEOMETRY))
    return heard


def run(generator: JoyVasaGenerator, features: list[FloatArray], seed: int = 3) -> list[Generated[State]]:
    """All windows; the state travels as bytes."""
    done: list[Generated[State]] = []
    for index, window in enumerate(features):
        state = generator.read_state(done[-1].next_state.to_bytes() if done else b"", index)
        done += generator.generate([Request(window, state, seed)])
    return done


def rows_of(windows: list[Generated[State]]) -> FloatArray:
    return np.concatenate([window.rows for window in windows])


def test_sound_becomes_absolute_motion_with_its_first_row_as_reference(
    generator: JoyVasaGenerator, features: list[FloatArray]
) -> None:
    windows = run(generator, features)
    for window in windows:
        assert window.rows.shape == (100, 70)
        assert window.rows.dtype == np.float32
        assert window.reference is not None
        np.testing.assert_array_equal(window.reference, windows[0].rows[0])
    assert rows_of(windows).std(axis=0).min() > 0


def test_equal_seed_and_window_give_equal_bytes_and_others_do_not(
    generator: JoyVasaGenerator, folder: Path, features: list[FloatArray]
) -> None:
    first = rows_of(run(generator, features))
    assert first.tobytes() == rows_of(run(make_generator(folder), features)).tobytes()
    assert not np.array_equal(first, rows_of(run(generator, features, seed=4)))
    state = generator.read_state(b"", 0)
    requests = [Request(features[0], state, seed) for seed in (3, 9)]
    assert generator.generate(requests)[0].rows.tobytes() == first[:100].tobytes()


def test_windows_one_by_one_equal_the_whole_file_at_once(folder: Path, features: list[FloatArray]) -> None:
    """The official loop, written out: what a window leaves is its last motion and sound."""
    network, template = read_motion(folder)
    streamed = rows_of(run(make_generator(folder, n_evaluations=0), features))
    past, latents = start_of(network, 1), []
    with torch.inference_mode():
        for index, window in enumerate(features):
            sound = project_frames(network, torch.from_numpy(window[None, :, :-1].copy()))
            drawn = torch.from_numpy(noise(3, index, (TINY.n_steps, 1, 100, TINY.motion_size)))
            predict = predictor(network, past, sound, Guidance())
            *_, latent = ddpm_states(predict, network.diffusion_sched, drawn[0], drawn[1:].unbind())
            past = Past(latent[:, -TINY.context :], sound[:, -TINY.context :])
            latents.append(latent[0].numpy())
    np.testing.assert_array_equal(streamed, template.rows(np.concatenate(latents)))


def test_the_sound_matters(generator: JoyVasaGenerator, features: list[FloatArray]) -> None:
    silent = [np.zeros_like(window) for window in features]
    difference = rows_of(run(generator, features)) - rows_of(run(generator, silent))
    assert np.abs(difference).max() > 1e-3


def test_the_encoder_hears_a_window_alone(encoder: AudioEncoder, speech: FloatArray) -> None:
    """Ends are mirrored, so that the sound around a window changes nothing, as officially."""
    n_samples = encoder.span_samples(GEOMETRY)
    assert n_samples == 64080
    span = speech[:n_samples].copy()
    rows = encoder.encode(span, 1.0, GEOMETRY)
    span[:40], span[-40:] = 0.3, -0.3
    assert encoder.encode(span, 1.0, GEOMETRY).tobytes() == rows.tobytes()
    span[40] += 0.1
    assert not np.array_equal(encoder.encode(span, 1.0, GEOMETRY), rows)


def test_smoothing_goes_on_across_windows(folder: Path, features: list[FloatArray]) -> None:
    raw = rows_of(run(make_generator(folder), features))
    smoothed = rows_of(run(make_generator(folder, pose_smoothing=0.01), features))
    np.testing.assert_allclose(smoothed, smooth_pose(raw, 0.01, None), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(smoothed[:, EXP], raw[:, EXP])
    steps, smooth_steps = (np.abs(np.diff(rows[:, PYR], axis=0)).mean() for rows in (raw, smoothed))
    assert smooth_steps < 0.1 * steps


def test_options_act_after_the_network_and_leave_the_state_alone(
    generator: JoyVasaGenerator, features: list[FloatArray]
) -> None:
    plain = Request(features[0], generator.read_state(b"", 0), seed=3)
    still = replace(plain, controls=Controls(head_motion=0.0, expressiveness=0.5))
    one, other = generator.generate([plain, still])
    assert one.next_state.to_bytes() == other.next_state.to_bytes()
    assert one.reference is not None
    np.testing.assert_array_equal(other.rows[:, PYR], np.tile(one.reference[PYR], (100, 1)))
    expected = scale_motion(one.rows, one.reference, still.controls)
    np.testing.assert_array_equal(other.rows, expected)


def test_gaze_and_emotion_are_added_to_what_the_portrait_shows(
    generator: JoyVasaGenerator, features: list[FloatArray]
) -> None:
    plain = Request(features[0], generator.read_state(b"", 0), seed=3)
    happy = replace(plain, controls=Controls(emotion=Emotion.HAPPY, gaze_x=-1.0))
    one, other = generator.generate([plain, happy])
    assert one.next_state.to_bytes() == other.next_state.to_bytes()
    assert one.reference is not None
    np.testing.assert_allclose(other.rows[0], one.rows[0], atol=1e-5)  # eased in: the first frame is the portrait
    seen = other.rows[50:, EXP] - one.reference[EXP]
    np.testing.assert_allclose(
        seen, add_lasting(one.rows[50:, EXP] - one.reference[EXP], happy.controls, 50), atol=1e-5
    )
    changed = sliders_from_exp(other.rows[50:, EXP] - one.rows[50:, EXP])
    assert (changed[:, SLIDER_INDEX["gaze_x"]] < -0.2).all()
    np.testing.assert_array_equal(other.rows[:, 63:], one.rows[:, 63:])


def test_states_of_other_windows_or_checkpoints_are_refused(
    generator: JoyVasaGenerator, features: list[FloatArray]
) -> None:
    left = run(generator, features[:1])[0].next_state
    with pytest.raises(BadMessage, match="window 1; expected window 2"):
        generator.read_state(left.to_bytes(), 2)
    with pytest.raises(BadMessage, match="state for window 0"):
        generator.read_state(b"", 1)
    assert isinstance(left, JoyVasaState)
    with pytest.raises(BadMessage, match="latent"):
        generator.read_state(replace(left, latent=np.zeros((25, 70), np.float32)).to_bytes(), 1)
    with pytest.raises(VersionMismatch):
        generator.read_state(left.to_bytes().replace(b"\xa1v\x01", b"\xa1v\x02"), 1)


def test_features_that_do_not_fit_and_numbers_that_are_none_are_refused(
    folder: Path, generator: JoyVasaGenerator, features: list[FloatArray]
) -> None:
    state = generator.read_state(b"", 0)
    with pytest.raises(ShapeError, match="window"):
        generator.generate([Request(features[0][:75], state, 0)])
    broken = make_generator(folder)
    broken.network.denoising_net.feature_proj.bias.data[0] = torch.nan
    with pytest.raises(NonFiniteOutput):
        broken.generate([Request(features[0], state, 0)])


def test_warm_up_runs_a_window(generator: JoyVasaGenerator) -> None:
    generator.warm_up(GEOMETRY)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_batch_agrees_with_single_windows_on_the_cpu(folder: Path, features: list[FloatArray]) -> None:
    on_gpu = JoyVasaGenerator(*read_motion(folder), device="cuda")
    requests = [Request(features[index], on_gpu.read_state(b"", 0), seed) for index, seed in ((0, 3), (1, 4))]
    for ours, expected in zip(on_gpu.generate(requests), make_generator(folder).generate(requests), strict=True):
        np.testing.assert_allclose(ours.rows, expected.rows, atol=2e-3)
