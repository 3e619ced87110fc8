"""`config.json` of a released folder to our configuration, and back."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from da3jax.config import (
    CANONICAL_FOCAL,
    PRESETS,
    CameraConfig,
    Config,
    DualDPTConfig,
    ModelConfig,
    NestedConfig,
    load_config,
    one_of,
    to_dict,
)

_VITS = {
    "vits": {"width": 384, "depth": 12, "num_heads": 6, "mlp": "mlp"},
    "vitb": {"width": 768, "depth": 12, "num_heads": 12, "mlp": "mlp"},
    "vitl": {"width": 1024, "depth": 24, "num_heads": 16, "mlp": "mlp"},
    "vitg": {"width": 1536, "depth": 40, "num_heads": 24, "mlp": "swiglu"},
}
_CUSTOM = "custom"
"""Name of a backbone that is none of the four; its sizes stand beside it. The official code refuses the name."""

_OURS = {"canonical_focal": "metric", "process_res": "anyview"}
"""What `config.json` says beside the official fields where a network's name does not tell it; the half of a nested network that has it."""

_CHANGED = "-custom"
"""Behind the name of a preset whose network was changed. The official code builds what a name says and looks at nothing else: of this one
it knows nothing, and refuses it."""

_PYRAMID = {"features": "features", "out_channels": "channels"}

_ADAPTER = {
    "sh_degree": 2,
    "pred_color": False,
    "pred_offset_depth": True,
    "pred_offset_xy": True,
    "gaussian_scale_min": 1e-05,
    "gaussian_scale_max": 30.0,
}


def read_config(path: pathlib.Path) -> Config:
    """The configuration in the `config.json` at `path`.

    Raises:
        FileNotFoundError: there is none; which network the weights are for is never guessed.
        ValueError: it is not such a file, or describes a network that this package does not build.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: it says which network the weights are for; copy it from the model's page beside model.safetensors"
        )
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, Mapping) or not ("config" in content or "model_name" in content):
        raise ValueError(f"{path} is not the config.json of a DA3 network: it has neither model_name nor config")
    name = str(content.get("model_name", "da3"))
    if name.removesuffix(_CHANGED) in PRESETS:
        name = name.removesuffix(_CHANGED)
    try:
        if content.get("config") is None:
            one_of("model_name", name, PRESETS)
            return PRESETS[name]
        config = from_official(content["config"], name)
        for field, half in _OURS.items():
            if field in content:
                config = _with(config, field, half, content[field])
        return config
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _with(config: Config, field: str, half: str, value: Any) -> Config:
    if isinstance(config, NestedConfig):
        return dataclasses.replace(config, **{half: _with(getattr(config, half), field, half, value)})
    return load_config({**to_dict(config), field: value})


def _usual(config: Config, field: str) -> Any:
    """A field that the official file does not have, as the network's name tells it."""
    if isinstance(config, NestedConfig):
        return {"canonical_focal": CANONICAL_FOCAL, "process_res": ModelConfig.process_res}[field]
    return getattr(PRESETS.get(config.name.removesuffix(_CHANGED), ModelConfig), field)


def from_official(content: Mapping[str, Any], name: str) -> Config:
    """Our configuration of the official one (nested dicts with `__object__`).

    The halves of a nested network have no names there: they get those of the preset that they make up, or `anyview` and `metric`.

    Raises:
        ValueError: a key is unknown or missing, or a value is none that this package builds.
    """
    kind = _kind(_mapping(content, "config"), "DepthAnything3Net")
    one_of("network", kind, ("DepthAnything3Net", "NestedDepthAnything3Net"))
    if kind == "NestedDepthAnything3Net":
        _keys(content, "config", required=("anyview", "metric"))
        for half in ("anyview", "metric"):
            one_of(f"network of {half}", _kind(_mapping(content[half], half), "DepthAnything3Net"), ("DepthAnything3Net",))
        metric = dataclasses.replace(from_official(content["metric"], "metric"), canonical_focal=CANONICAL_FOCAL)
        nested = NestedConfig(name, from_official(content["anyview"], "anyview"), metric)
        preset = next((preset for preset in PRESETS.values() if _official(preset) == _official(nested)), nested)
        return dataclasses.replace(preset, name=name)
    _keys(content, "config", required=("net", "head"), optional=("cam_enc", "cam_dec", "gs_head", "gs_adapter"))
    net, head = (_mapping(content[part], part) for part in ("net", "head"))
    fields = {"name": name, "backbone": _backbone(net), "head": _head(head)}
    encoder = decoder = gaussians = None
    if content.get("cam_dec") is not None:
        encoder, decoder = (_mapping(content.get(part), part) for part in ("cam_enc", "cam_dec"))
        _keys(encoder, "cam_enc", required=("dim_out",), optional=("trunk_depth", "num_heads"))
        _keys(decoder, "cam_dec", required=("dim_in",))
        fields["camera"] = _renamed(encoder, {"trunk_depth": "encoder_depth", "num_heads": "encoder_heads"})
    if content.get("gs_head") is not None:
        gaussians = _mapping(content["gs_head"], "gs_head")
        _keys(gaussians, "gs_head", required=("dim_in", "output_dim", "features", "out_channels"))
        _fixed(_mapping(content.get("gs_adapter"), "gs_adapter"), "gs_adapter", _ADAPTER)
        fields["gaussians"] = _renamed(gaussians, {**_PYRAMID, "output_dim": "output_dim"})
    config = load_config(fields)
    config = dataclasses.replace(config, **{field: _usual(config, field) for field in _OURS})
    tap_width = config.backbone.tap_width
    _fixed(head, "head", {"dim_in": tap_width, "output_dim": 2 if isinstance(config.head, DualDPTConfig) else 1})
    _fixed(encoder or {}, "cam_enc", {"dim_out": config.backbone.width})
    _fixed(decoder or {}, "cam_dec", {"dim_in": tap_width})
    _fixed(gaussians or {}, "gs_head", {"dim_in": tap_width})
    return config


def to_official(config: Config) -> dict[str, Any]:
    """The content of `config.json` for a configuration."""
    content = {"model_name": config.name, "config": _official(config)}
    if config.name in PRESETS and content["config"] != _official(PRESETS[config.name]):
        content["model_name"] += _CHANGED
    for field, half in _OURS.items():
        value = getattr(getattr(config, half) if isinstance(config, NestedConfig) else config, field)
        if value != _usual(config, field):
            content[field] = value  # the official code lets it pass
    return content


def _official(config: Config) -> dict[str, Any]:
    if isinstance(config, NestedConfig):
        halves = {"anyview": _official(config.anyview), "metric": _official(config.metric)}
        return {**_object("model.da3", "NestedDepthAnything3Net"), **halves}
    backbone = config.backbone
    sizes = {key: getattr(backbone, key) for key in ("width", "depth", "num_heads", "mlp")}
    vit = next((vit for vit, known in _VITS.items() if known == sizes and backbone.pos_grid == 37), _CUSTOM)
    net = {
        **_object("model.dinov2.dinov2", "DinoV2"),
        "name": vit,
        **({**sizes, "pos_grid": backbone.pos_grid} if vit == _CUSTOM else {}),
        "out_layers": list(backbone.taps),
        **{key: getattr(backbone, key) for key in ("alt_start", "qknorm_start", "rope_start", "cat_token")},
    }
    dual = isinstance(config.head, DualDPTConfig)
    pyramid = {"features": config.head.features, "out_channels": list(config.head.channels)}
    head = {**(_object("model.dualdpt", "DualDPT") if dual else _object("model.dpt", "DPT")), "dim_in": backbone.tap_width}
    head |= {"output_dim": 2 if dual else 1, **pyramid, **({} if dual or config.head.sky else {"use_sky_head": False})}
    parts: dict[str, Any] = {**_object("model.da3", "DepthAnything3Net"), "net": net, "head": head}
    if config.camera:
        camera = config.camera
        trunk = {} if camera == CameraConfig() else {"trunk_depth": camera.encoder_depth, "num_heads": camera.encoder_heads}
        parts["cam_enc"] = {**_object("model.cam_enc", "CameraEnc"), "dim_out": backbone.width, **trunk}
        parts["cam_dec"] = {**_object("model.cam_dec", "CameraDec"), "dim_in": backbone.tap_width}
    if config.gaussians:
        gs = config.gaussians
        parts["gs_head"] = {**_object("model.gsdpt", "GSDPT"), "dim_in": backbone.tap_width, "output_dim": gs.output_dim}
        parts["gs_head"] |= {"features": gs.features, "out_channels": list(gs.channels)}
        parts["gs_adapter"] = {**_object("model.gs_adapter", "GaussianAdapter"), **_ADAPTER}
    return parts


def _object(module: str, name: str) -> dict[str, Any]:
    return {"__object__": {"path": f"depth_anything_3.{module}", "name": name, "args": "as_params"}}


def _backbone(net: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of our `BackboneConfig`, not yet checked."""
    one_of("backbone", net.get("name"), (*_VITS, _CUSTOM))
    sizes = () if net["name"] in _VITS else ("width", "depth", "num_heads", "mlp", "pos_grid")
    switches = ("alt_start", "qknorm_start", "rope_start", "cat_token")
    _keys(net, "net", required=("name", "out_layers"), optional=(*switches, *sizes))
    return {**_VITS.get(net["name"], {}), **_renamed(net, {"out_layers": "taps", **{key: key for key in (*switches, *sizes)}})}


def _head(head: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of our head, not yet checked."""
    kind = _kind(head)
    one_of("head", kind, ("DualDPT", "DPT"))
    optional = ("output_dim", "use_sky_head") if kind == "DPT" else ("output_dim",)
    _keys(head, "head", required=("dim_in", "features", "out_channels"), optional=optional)
    return {"type": kind.lower(), **_renamed(head, {**_PYRAMID, "use_sky_head": "sky"})}


def _kind(part: Mapping[str, Any], default: str | None = None) -> Any:
    described = part.get("__object__")
    return described.get("name") if isinstance(described, Mapping) else default


def _renamed(part: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Of `part` the keys in `names`, under our names."""
    return {ours: part[official] for official, ours in names.items() if official in part}


def _mapping(value: Any, part: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{part} is {value!r}; it is a mapping")
    return value


def _keys(part: Mapping[str, Any], name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    for key in part:
        if key != "__object__":
            one_of(f"key of {name}", key, (*required, *optional))
    missing = [key for key in required if key not in part]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}")


def _fixed(part: Mapping[str, Any], name: str, values: Mapping[str, Any]) -> None:
    """Refuses values other than those that follow from the rest, or that no released network has."""
    for key, value in values.items():
        if part.get(key, value) != value:
            raise ValueError(f"{name}.{key} is {part[key]!r}; only {value!r} fits this network")
