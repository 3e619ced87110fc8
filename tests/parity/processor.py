"""The official preprocessing, for tests. Imports the official package."""

import sys
import types

import numpy as np


def official_processor():
    """The official `InputProcessor`; where torchvision is missing, its three transforms that it uses stand in for it."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        transforms = types.ModuleType("torchvision.transforms")
        transforms.ToTensor, transforms.Normalize, transforms.CenterCrop = _to_tensor, _normalise, _crop
        package = types.ModuleType("torchvision")
        package.transforms = transforms
        sys.modules |= {"torchvision": package, "torchvision.transforms": transforms}
    from depth_anything_3.utils.io.input_processor import InputProcessor

    return InputProcessor()


def _to_tensor():
    import torch

    return lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)


def _normalise(mean, std):
    import torch

    mean, std = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return staticmethod(lambda image: (image - mean) / std)  # it becomes an attribute of a class


def _crop(size):
    def apply(image):
        top, left = (round((have - want) / 2) for have, want in zip(image.shape[-2:], size, strict=True))
        return image[..., top : top + size[0], left : left + size[1]]

    return apply
