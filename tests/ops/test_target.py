"""Programs decide as on the device that they are made for."""

import jax
import numpy as np
import pytest

from da3jax.models import compute_dtype
from da3jax.models.by_views import views_at_a_time
from da3jax.ops.target import made_for, target_device, target_platform


class Device:
    """All that is asked of one."""

    def __init__(self, platform):
        self.platform = platform


def test_by_default_it_is_the_one_that_is_here():
    assert target_platform() == jax.default_backend() == "cpu"
    assert target_device() is jax.local_devices()[0]


@pytest.mark.parametrize(("name", "platform"), [("cuda", "gpu"), ("gpu", "gpu"), ("rocm", "gpu"), ("tpu", "tpu")])
def test_a_description_of_another_is_enough(name, platform):
    device = Device(name)
    with made_for(device):
        assert target_platform() == platform
        assert target_device() is device
        assert compute_dtype(None) == "bfloat16"
        assert views_at_a_time(16, 1 + 36 * 24) == 8
    assert compute_dtype(None) == "float32"
    assert views_at_a_time(16, 1 + 36 * 27) == 1


def test_a_function_is_traced_anew_for_another_device():
    platforms, gpu = [], Device("cuda")
    function = jax.jit(lambda x: (platforms.append(target_platform()), x)[1])
    for device in (None, gpu, gpu, None):
        with made_for(device):
            function(np.float32(0))
    assert platforms == ["cpu", "gpu"]
