"""What the losses leave to choose."""

import dataclasses

import pytest

from da3jax.training.losses import LOSSES, LossConfig, LossWeights


def test_the_losses_are_those_of_the_paper():
    def weights(name):
        return {key: value for key, value in dataclasses.asdict(LOSSES[name].weights).items() if value}

    assert weights("anyview") == {"depth": 1, "ray": 1, "point": 1, "camera": 1, "gradient": 1}
    assert weights("teacher") == {"gradient": 0.5, "global_local": 1, "normal": 1, "sky": 1, "objects": 1}
    assert weights("mono") == {"gradient": 0.5, "global_local": 1, "normal": 1, "sky": 1}
    assert weights("metric") == {"depth": 1, "gradient": 0.5, "sky": 1}
    assert (LOSSES["anyview"].teacher_from, LOSSES["anyview"].pose_probability) == (120_000, 0.2)
    assert (LOSSES["metric"].canonical_focal, LOSSES["metric"].ground_truth_probability) == (300, 0.2)


def test_a_configuration_hashes_so_that_jit_takes_it_as_static():
    assert hash(LossConfig(local_levels=[4, 16])) == hash(LossConfig(local_levels=(4, 16)))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"units": "scenes"}, "units 'scenes' is unknown; it is one of scene, canonical, relative; did you mean 'scene'?"),
        ({"units": "canonical"}, "weights.ray is 1.0 with units canonical; it is 0 unless units are scene"),
        ({"confidence_reward": 0.0}, "confidence_reward is 0.0; it is a positive number"),
        ({"canonical_focal": float("inf")}, "canonical_focal is inf; it is a positive number"),
        ({"max_confidence": 1.0}, "max_confidence is 1.0; confidences start at 1, so it is above 1, or null for no guard"),
        ({"camera_fov": -1.0}, "camera_fov is -1.0; the weight of a loss is a finite number from 0 on"),
        ({"pose_probability": 1.5}, "pose_probability is 1.5; a probability is a number from 0 to 1"),
        ({"ground_truth_probability": float("nan")}, "ground_truth_probability is nan; a probability is a number from 0 to 1"),
        ({"gradient_scales": 0}, "gradient_scales is 0; it is at least 1"),
        ({"least_local_pixels": 1}, "least_local_pixels is 1; it is at least 2"),
        ({"teacher_from": -1}, "teacher_from is -1; it is at least 0"),
        ({"local_levels": (1, 4)}, r"local_levels are \[1, 4\]; a level is 2 windows a side or more"),
        ({"align_samples": 100}, "align_samples is 100; with these local_levels it is at least 128, two pixels a window"),
    ],
)
def test_a_wrong_value_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        LossConfig(**wrong)


def test_a_wrong_weight_is_refused():
    with pytest.raises(ValueError, match=r"weights\.ray is -1; the weight of a loss is a finite number from 0 on"):
        LossWeights(ray=-1)
    with pytest.raises(ValueError, match=r"all loss weights are 0; at least one of depth, ray, .* is positive"):
        LossWeights(**dict.fromkeys((field.name for field in dataclasses.fields(LossWeights)), 0))
