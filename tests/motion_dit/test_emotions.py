import numpy as np
import pytest

from services.motion_dit.emotions import EMOTIONS, emotion_sliders
from shared.controls import Emotion
from shared.motion import SLIDER_INDEX, SLIDERS, slider_ranges


def test_every_emotion_is_described_by_sliders_within_their_ranges() -> None:
    assert set(EMOTIONS) == set(Emotion)
    low, high = slider_ranges().T
    for emotion in Emotion:
        sliders = emotion_sliders(emotion, 1.0)
        assert ((low <= sliders) & (sliders <= high)).all()
        assert set(EMOTIONS[emotion]) <= set(SLIDERS)


def test_neutral_adds_nothing_and_the_others_differ() -> None:
    assert not emotion_sliders(Emotion.NEUTRAL, 1.0).any()
    others = [emotion_sliders(emotion, 1.0) for emotion in Emotion if emotion is not Emotion.NEUTRAL]
    for index, one in enumerate(others):
        for other in others[:index]:
            cosine = float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
            assert cosine < 0.75


@pytest.mark.parametrize("emotion", Emotion)
def test_strength_is_a_factor_and_no_emotion_touches_the_jaw(emotion: Emotion) -> None:
    full = emotion_sliders(emotion, 1.0)
    assert np.allclose(emotion_sliders(emotion, 0.5), 0.5 * full)
    assert not emotion_sliders(emotion, 0.0).any()
    assert full[SLIDER_INDEX["jaw_open"]] == full[SLIDER_INDEX["upper_lip_raise"]] == 0.0
