"""A data configuration that cannot work says what is wrong with it."""

import pytest

from da3jax.training.data import AugmentConfig, DataConfig, FolderConfig, ProceduralConfig

WRONG = [
    (lambda: ProceduralConfig(weight=-1), "weight is -1; the weight of a source is a finite number from 0 on"),
    (lambda: ProceduralConfig(samples=0), "samples is 0; it is at least 1"),
    (lambda: FolderConfig(""), "path is empty; it is a folder that holds a folder for each scene"),
    (lambda: FolderConfig("a", window=0), "window is 0; it is at least 1"),
    (lambda: FolderConfig("a", depth_scale=0), "depth_scale is 0; it is a positive number of metres"),
    (lambda: AugmentConfig(crop=(0.9, 0.5)), r"crop is from 0.9 to 0.5; it lies above 0 and up to 1, the lower end first"),
    (lambda: AugmentConfig(flip=1.5), "flip is 1.5; it is a number from 0 to 1"),
    (lambda: AugmentConfig(hue=0.7), "hue is 0.7; it is a number from 0 to 0.5, half the circle of colours"),
    (lambda: AugmentConfig(blur_sigma=0), "blur_sigma is 0; it is a number of pixels above 0 and up to 4"),
    (lambda: DataConfig(()), r"sources are empty; a run needs at least one, such as \{type: procedural\}"),
    (lambda: DataConfig((ProceduralConfig(weight=0),)), "all sources have weight 0; at least one is positive"),
    (lambda: DataConfig(views=(0, 2)), r"views are \[0, 2\]; they are numbers from 1 on, at least one of them"),
    (lambda: DataConfig(sizes=()), r"sizes are empty; a run needs at least one \(height, width\)"),
    (lambda: DataConfig(sizes=((504, 500),)), r"a size is \(504, 500\); it is \(height, width\) in multiples of 14 pixels"),
    (lambda: DataConfig(batch_tokens=0), "batch_tokens is 0; it is at least 1"),
    (lambda: DataConfig(workers=-1), "workers is -1; it is at least 0"),
]


@pytest.mark.parametrize(("build", "message"), WRONG)
def test_a_wrong_value_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_default_needs_no_files_and_its_largest_batch_keeps_the_budget():
    config = DataConfig()
    assert {type(source) for source in config.sources} == {ProceduralConfig}
    assert max(config.views) * max(height * width // 196 for height, width in config.sizes) <= config.batch_tokens


def test_lists_as_a_file_has_them_become_tuples():
    config = DataConfig(views=[2, 4], sizes=[[14, 28]], augment=AugmentConfig(crop=[0.5, 1.0]))
    assert config == DataConfig(views=(2, 4), sizes=((14, 28),), augment=AugmentConfig(crop=(0.5, 1.0)))
    assert hash(config) == hash(DataConfig(views=(2, 4), sizes=((14, 28),), augment=AugmentConfig(crop=(0.5, 1.0))))
