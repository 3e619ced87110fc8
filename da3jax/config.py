"""What a network is made of: frozen dataclasses, and one preset a released variant."""

from __future__ import annotations

import math
import pathlib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from da3jax.schema import from_dict, merge, one_of, read_yaml, to_dict

PATCH_SIZE = 14
"""Pixels a side of a patch, in every variant."""

CANONICAL_FOCAL = 300.0
"""`canonical_focal` of the released metric network."""

PACKAGED = "da3-tiny"
"""The preset whose weights are part of this package."""

REF_VIEW_STRATEGIES = ("saddle_balanced", "saddle_sim_range", "middle", "first")
"""Ways to choose the reference view; the first is the default."""


@dataclass(frozen=True)
class BackboneConfig:
    """A DINOv2 ViT whose later blocks alternate between attention inside a view and across views.

    A start of -1 switches that feature off. `taps` are the blocks (from 0) whose outputs go to the heads.
    """

    width: int
    depth: int
    num_heads: int
    taps: tuple[int, int, int, int]
    alt_start: int = -1
    """From this block on odd blocks attend across views; the class token becomes a camera token."""
    qknorm_start: int = -1
    rope_start: int = -1
    cat_token: bool = True
    """A tap is the last in-view output beside the block's own: twice the width."""
    mlp: Literal["mlp", "swiglu"] = "mlp"
    pos_grid: int = 37
    """Side of the grid that the position embedding is stored for."""

    def __post_init__(self):
        object.__setattr__(self, "taps", tuple(self.taps))  # a list would not hash
        for name in ("width", "depth", "num_heads", "pos_grid"):
            if getattr(self, name) < 1:
                raise ValueError(f"backbone.{name} is {getattr(self, name)}; it is at least 1")
        if self.width % (4 * self.num_heads):
            raise ValueError(
                f"backbone.width {self.width} does not split into {self.num_heads} heads whose width is a multiple of 4 "
                f"(two image axes, two halves for the rotary embedding)"
            )
        one_of("backbone.mlp", self.mlp, ("mlp", "swiglu"))
        if len(self.taps) != 4 or list(self.taps) != sorted(set(self.taps)) or not 0 <= self.taps[0] <= self.taps[-1] < self.depth:
            raise ValueError(f"backbone.taps {list(self.taps)} are not four increasing blocks between 0 and {self.depth - 1}")
        for name in ("alt_start", "qknorm_start", "rope_start"):
            if not -1 <= getattr(self, name) < self.depth:
                raise ValueError(f"backbone.{name} is {getattr(self, name)}; it is a block from 0 to {self.depth - 1}, or -1 for off")

    @property
    def tap_width(self) -> int:
        return self.width * (2 if self.cat_token else 1)

    @property
    def hidden(self) -> int:
        """Width inside the MLP; SwiGLU keeps two thirds of 4 × width, rounded up to a multiple of 8."""
        return 4 * self.width if self.mlp == "mlp" else (int(4 * self.width * 2 / 3) + 7) // 8 * 8

    def cross_view(self, block: int) -> bool:
        """Whether `block` attends over the tokens of all views."""
        return self.alt_start != -1 and block >= self.alt_start and block % 2 == 1


@dataclass(frozen=True)
class DualDPTConfig:
    """Depth and rays, each with a confidence, from one pyramid."""

    type: ClassVar[str] = "dualdpt"
    features: int
    channels: tuple[int, int, int, int]


@dataclass(frozen=True)
class DPTConfig:
    """Depth, and how much of a pixel is sky."""

    type: ClassVar[str] = "dpt"
    features: int
    channels: tuple[int, int, int, int]
    sky: bool = True


@dataclass(frozen=True)
class GaussianHeadConfig:
    """Raw parameters of one Gaussian a pixel, opacity last."""

    features: int
    channels: tuple[int, int, int, int]
    output_dim: int = 38


@dataclass(frozen=True)
class CameraConfig:
    """Camera encoder (poses to tokens) and decoder (token to pose)."""

    encoder_depth: int = 4
    encoder_heads: int = 16


@dataclass(frozen=True)
class ModelConfig:
    """One network: a backbone and what reads it."""

    name: str
    backbone: BackboneConfig
    head: DualDPTConfig | DPTConfig
    camera: CameraConfig | None = None
    gaussians: GaussianHeadConfig | None = None
    canonical_focal: float | None = None
    """Focal length, in pixels, at which depth is in metres: metres are depth · focal length / this. None: depth up to a scale."""
    process_res: int = 504
    """Pixels of a side that `inference` brings images to unless it is told otherwise: about what the network was trained on."""

    def __post_init__(self):
        if self.process_res < PATCH_SIZE:
            raise ValueError(f"process_res is {self.process_res}; it is at least {PATCH_SIZE} pixels")
        if self.canonical_focal is not None and not 0 < self.canonical_focal < math.inf:
            raise ValueError(f"canonical_focal is {self.canonical_focal}; it is a positive number of pixels")
        if self.canonical_focal is not None and self.camera:
            raise ValueError("canonical_focal with camera: depth would be in metres and cameras not; a nested network brings both there")
        for head in (self.head, self.gaussians):
            if head is None:
                continue
            if len(head.channels) != 4 or head.features % 8 or any(c % 4 for c in head.channels) or min(*head.channels, head.features) < 4:
                widths = f"features {head.features}, channels {list(head.channels)}"
                raise ValueError(f"a head with {widths} cannot be built; features is a multiple of 8, channels are four multiples of 4")
        if self.camera and (self.camera.encoder_heads < 1 or self.backbone.width % self.camera.encoder_heads):
            raise ValueError(f"backbone.width {self.backbone.width} does not split into camera.encoder_heads {self.camera.encoder_heads}")
        if self.camera and self.camera.encoder_depth < 0:
            raise ValueError(f"camera.encoder_depth is {self.camera.encoder_depth}; it is a number of blocks, from 0 on")
        if self.gaussians and self.gaussians.output_dim < 2:
            raise ValueError(f"gaussians.output_dim is {self.gaussians.output_dim}; it is at least 2, the last one being the opacity")
        if self.gaussians and not self.camera:
            raise ValueError("gaussians needs camera: Gaussians are placed with the predicted cameras")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names that `outputs=` of `forward` accepts for this network."""
        dual = isinstance(self.head, DualDPTConfig)
        return (
            "depth",
            *(("ray",) if dual else ()),
            *(("sky",) if not dual and self.head.sky else ()),
            *(("cameras",) if self.camera else ()),
            "taps",
            *(("raw_gs",) if self.gaussians else ()),
        )


@dataclass(frozen=True)
class NestedConfig:
    """An any-view network and a metric one that gives it a scale."""

    name: str
    anyview: ModelConfig
    metric: ModelConfig

    def __post_init__(self):
        if "cameras" not in self.anyview.outputs:
            raise ValueError("anyview of a nested network needs camera: the metric scale depends on the focal length")
        if "sky" not in self.metric.outputs:
            raise ValueError("metric of a nested network needs a dpt head with sky")
        if self.metric.canonical_focal is None:
            raise ValueError(
                f"metric of a nested network needs canonical_focal, and {self.metric.name} has none: its depth is up to a scale; "
                f"da3metric-large has one"
            )

    @property
    def process_res(self) -> int:
        """As `ModelConfig.process_res`."""
        return self.anyview.process_res

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names that `outputs=` of `forward` accepts for this network."""
        return tuple(dict.fromkeys((*self.anyview.outputs, "sky", "metric_depth")))


Config = ModelConfig | NestedConfig

_WIDE = {"features": 256, "channels": (256, 512, 1024, 1024)}


def _anyview(
    name: str, width: int, depth: int, heads: int, taps: tuple, start: int, features: int, channels: tuple, **kwargs
) -> ModelConfig:
    mlp = kwargs.pop("mlp", "mlp")
    backbone = BackboneConfig(width, depth, heads, taps, alt_start=start, qknorm_start=start, rope_start=start, mlp=mlp)
    return ModelConfig(name, backbone, DualDPTConfig(features, channels), CameraConfig(), **kwargs)


def _single_view(name: str, **kwargs) -> ModelConfig:
    return ModelConfig(name, BackboneConfig(1024, 24, 16, (4, 11, 17, 23), cat_token=False), DPTConfig(**_WIDE), **kwargs)


_GIANT = _anyview(
    "da3-giant", 1536, 40, 24, (19, 27, 33, 39), 13, **_WIDE, mlp="swiglu", gaussians=GaussianHeadConfig(**_WIDE)
)  # fmt: skip

_TINY = ModelConfig(
    "da3-tiny",
    BackboneConfig(192, 12, 3, (5, 7, 9, 11), alt_start=2, qknorm_start=2, rope_start=2, pos_grid=12),
    DualDPTConfig(32, (24, 48, 96, 192)),
    CameraConfig(encoder_depth=2, encoder_heads=3),
    process_res=112,
)

_METRIC = _single_view("da3metric-large", canonical_focal=CANONICAL_FOCAL)

PRESETS: Mapping[str, Config] = types.MappingProxyType(
    {
        config.name: config
        for config in (
            _anyview("da3-small", 384, 12, 6, (5, 7, 9, 11), 4, 64, (48, 96, 192, 384)),
            _anyview("da3-base", 768, 12, 12, (5, 7, 9, 11), 4, 128, (96, 192, 384, 768)),
            _anyview("da3-large", 1024, 24, 16, (11, 15, 19, 23), 8, **_WIDE),
            _GIANT,
            _single_view("da3mono-large"),
            _METRIC,
            NestedConfig("da3nested-giant-large", _GIANT, _METRIC),
            _TINY,
        )
    }
)
"""The released variants by name, and da3-tiny, which this project trains."""


def load_config(source: str | pathlib.Path | Mapping[str, Any] | Config) -> Config:
    """A network's configuration from a preset name, a YAML file or a dict.

    A dict (or YAML) has the fields of `ModelConfig` or `NestedConfig`, nested; `head` says its `type`, `dualdpt` or `dpt`. With
    `preset: NAME` it starts from that preset and overrides only what it names; `camera: null` removes a part.

    Raises:
        ValueError: an unknown preset, key or value (with the closest match), or a combination that cannot be built.
        FileNotFoundError: `source` names a YAML file that is not there.
    """
    if isinstance(source, ModelConfig | NestedConfig):
        return source
    if isinstance(source, str | pathlib.Path):
        if not str(source).endswith((".yaml", ".yml")):
            one_of("preset", str(source), PRESETS)
            return PRESETS[str(source)]
        source = read_yaml(source)
    if not isinstance(source, Mapping):
        raise ValueError(f"model {source!r} is no configuration of a network; that is the name of a preset, a YAML file or a dict")
    fields = dict(source)
    preset = fields.pop("preset", None)
    if preset is not None:
        one_of("preset", preset, PRESETS)
        fields = merge(to_dict(PRESETS[preset]), fields)
    return from_dict(NestedConfig if "anyview" in fields else ModelConfig, fields)
