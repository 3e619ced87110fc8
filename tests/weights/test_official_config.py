"""config.json to our configuration and back; what is not such a file is refused in a sentence."""

import copy
import dataclasses
import json
import pathlib
import re

import pytest

from da3jax.config import (
    PRESETS,
    BackboneConfig,
    CameraConfig,
    DPTConfig,
    DualDPTConfig,
    GaussianHeadConfig,
    ModelConfig,
    NestedConfig,
)
from da3jax.weights.official_config import from_official, read_config, to_official


def made_by(path: str, name: str) -> dict:
    return {"__object__": {"path": f"depth_anything_3.model.{path}", "name": name, "args": "as_params"}}


def vit(name: str, taps: list[int], start: int, cat_token: bool = True) -> dict:
    starts = {"alt_start": start, "qknorm_start": start, "rope_start": start}
    return {**made_by("dinov2.dinov2", "DinoV2"), "name": name, "out_layers": taps, **starts, "cat_token": cat_token}


# The official YAML files, written out.
SMALL = {
    **made_by("da3", "DepthAnything3Net"),
    "net": vit("vits", [5, 7, 9, 11], 4),
    "head": {**made_by("dualdpt", "DualDPT"), "dim_in": 768, "output_dim": 2, "features": 64, "out_channels": [48, 96, 192, 384]},
    "cam_enc": {**made_by("cam_enc", "CameraEnc"), "dim_out": 384},
    "cam_dec": {**made_by("cam_dec", "CameraDec"), "dim_in": 768},
}
PYRAMID = {"features": 256, "out_channels": [256, 512, 1024, 1024]}
GIANT = {
    **made_by("da3", "DepthAnything3Net"),
    "net": vit("vitg", [19, 27, 33, 39], 13),
    "head": {**made_by("dualdpt", "DualDPT"), "dim_in": 3072, "output_dim": 2, **PYRAMID},
    "cam_enc": {**made_by("cam_enc", "CameraEnc"), "dim_out": 1536},
    "cam_dec": {**made_by("cam_dec", "CameraDec"), "dim_in": 3072},
    "gs_head": {**made_by("gsdpt", "GSDPT"), "dim_in": 3072, "output_dim": 38, **PYRAMID},
    "gs_adapter": {
        **made_by("gs_adapter", "GaussianAdapter"),
        "sh_degree": 2,
        "pred_color": False,
        "pred_offset_depth": True,
        "pred_offset_xy": True,
        "gaussian_scale_min": 1e-5,
        "gaussian_scale_max": 30.0,
    },
}
METRIC = {
    **made_by("da3", "DepthAnything3Net"),
    "net": vit("vitl", [4, 11, 17, 23], -1, cat_token=False),
    "head": {**made_by("dpt", "DPT"), "dim_in": 1024, "output_dim": 1, **PYRAMID},
}
NESTED = {**made_by("da3", "NestedDepthAnything3Net"), "anyview": GIANT, "metric": METRIC}

RELEASED = {"da3-small": SMALL, "da3-giant": GIANT, "da3metric-large": METRIC, "da3nested-giant-large": NESTED}

_FEATURES = {"features": 16, "channels": (4, 8, 12, 16)}
ODD = ModelConfig("odd", BackboneConfig(48, 5, 3, (0, 1, 3, 4), alt_start=3, rope_start=1, pos_grid=7), DualDPTConfig(**_FEATURES))
CUSTOM = {
    "other widths": ODD,
    "no sky": ModelConfig(
        "blind", BackboneConfig(48, 4, 3, (0, 1, 2, 3), cat_token=False, mlp="swiglu"), DPTConfig(**_FEATURES, sky=False)
    ),
    "a deeper encoder": dataclasses.replace(ODD, camera=CameraConfig(encoder_depth=7, encoder_heads=3)),
    "Gaussians of another size": dataclasses.replace(ODD, camera=CameraConfig(), gaussians=GaussianHeadConfig(8, (4, 4, 4, 4), 20)),
    "small without cameras": dataclasses.replace(PRESETS["da3-small"], name="mine", camera=None),
    "small at another size": dataclasses.replace(
        PRESETS["da3-small"], backbone=dataclasses.replace(PRESETS["da3-small"].backbone, pos_grid=16)
    ),
}


@pytest.mark.parametrize("config", [*PRESETS.values(), *CUSTOM.values()], ids=[*PRESETS, *CUSTOM])
def test_a_configuration_survives_the_way_to_json_and_back(config):
    content = json.loads(json.dumps(to_official(config)))
    assert from_official(content["config"], config.name) == config


def test_a_changed_preset_has_a_name_that_the_official_code_does_not_know_and_comes_back_under_its_own(tmp_path):
    config = dataclasses.replace(PRESETS["da3-small"], backbone=dataclasses.replace(PRESETS["da3-small"].backbone, taps=(2, 5, 8, 11)))
    nested = dataclasses.replace(PRESETS["da3nested-giant-large"], anyview=config)
    for changed in (config, nested):
        assert to_official(changed)["model_name"] == f"{changed.name}-custom"
        assert read_config(written(tmp_path, to_official(changed))).name == changed.name
    assert read_config(written(tmp_path, to_official(config))) == config
    assert to_official(dataclasses.replace(config, name="mine"))["model_name"] == "mine"


@pytest.mark.parametrize(
    ("preset", "field", "value"),
    [("da3-tiny", "process_res", 504), ("da3-tiny", "process_res", 112), ("da3metric-large", "canonical_focal", None)],
)
def test_a_network_that_is_called_like_a_changed_preset_keeps_what_the_presets_name_would_tell_otherwise(tmp_path, preset, field, value):
    config = dataclasses.replace(PRESETS[preset], name=f"{preset}-custom", **{field: value})
    assert getattr(read_config(written(tmp_path, to_official(config))), field) == value


def test_halves_of_a_nested_network_that_is_no_preset_are_called_by_their_role():
    anyview = dataclasses.replace(ODD, camera=CameraConfig(encoder_heads=3))
    config = NestedConfig("mine", anyview, PRESETS["da3metric-large"])
    back = from_official(to_official(config)["config"], "mine")
    assert back.anyview == dataclasses.replace(anyview, name="anyview")
    assert back.metric == dataclasses.replace(PRESETS["da3metric-large"], name="metric")


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_config_is_the_preset_and_is_written_as_it_was(name):
    assert from_official(RELEASED[name], name) == PRESETS[name]
    assert to_official(PRESETS[name]) == {"model_name": name, "config": RELEASED[name]}


def test_what_the_official_code_takes_for_granted_may_be_absent():
    short = copy.deepcopy(SMALL)
    del short["head"]["output_dim"], short["__object__"], short["net"]["cat_token"]
    assert from_official(short, "da3-small") == PRESETS["da3-small"]
    assert from_official({**SMALL, "gs_head": None, "gs_adapter": None}, "da3-small") == PRESETS["da3-small"]


def test_the_focal_length_of_metres_follows_from_the_name_and_else_stands_beside(tmp_path):
    metric = PRESETS["da3metric-large"]
    assert from_official(METRIC, "da3metric-large").canonical_focal == 300
    assert from_official(METRIC, "da3mono-large").canonical_focal is None
    for config in (
        dataclasses.replace(metric, name="mine"),
        dataclasses.replace(metric, canonical_focal=250.0),
        NestedConfig("pair", PRESETS["da3-small"], dataclasses.replace(metric, name="metric", canonical_focal=250.0)),
    ):
        back = read_config(written(tmp_path, to_official(config)))
        assert getattr(back, "metric", back).canonical_focal == getattr(config, "metric", config).canonical_focal


def written(tmp_path, content) -> pathlib.Path:
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_name_in_the_file_is_the_name_of_the_configuration(tmp_path):
    config = read_config(written(tmp_path, {"model_name": "my-small", "config": SMALL}))
    assert config == dataclasses.replace(PRESETS["da3-small"], name="my-small")


@pytest.mark.parametrize("content", [{"model_name": "da3-large"}, {"model_name": "da3-large", "config": None}])
def test_without_a_description_a_known_name_is_enough(tmp_path, content):
    assert read_config(written(tmp_path, content)) == PRESETS["da3-large"]


def test_without_a_description_an_unknown_name_is_refused_with_the_closest(tmp_path):
    with pytest.raises(ValueError, match=r"config.json: model_name 'da3-larg' is unknown; .*did you mean 'da3-large'\?"):
        read_config(written(tmp_path, {"model_name": "da3-larg"}))


def test_a_missing_file_is_never_guessed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json is missing: it says which network the weights are for; copy it"):
        read_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", r"config.json is not JSON: Expecting value"),
        ('{"model_name": "da3-sm', r"config.json is not JSON: Unterminated string"),
        ("[1, 2]", r"config.json is not the config.json of a DA3 network: it has neither model_name nor config"),
        ('{"architectures": ["BertModel"]}', r"is not the config.json of a DA3 network"),
        ('{"config": []}', r"config.json: config is \[\]; it is a mapping"),
        ('{"config": {"hidden_size": 768}}', r"config.json: key of config 'hidden_size' is unknown; it is one of net, head"),
        ('{"config": {}}', r"config.json: config lacks net, head"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_config(written(tmp_path, content))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not JSON"):
        read_config(tmp_path / "config.json")


LEAVE_OUT = object()


@pytest.mark.parametrize(
    ("base", "place", "value", "sentence"),
    [
        (SMALL, "cam_encc", {}, r"key of config 'cam_encc' is unknown; .*did you mean 'cam_enc'\?"),
        (SMALL, "__object__.name", "DepthAnything2Net", r"network 'DepthAnything2Net' is unknown; .*did you mean 'DepthAnything3Net'\?"),
        (SMALL, "net", None, r"net is None; it is a mapping"),
        (SMALL, "net.name", "vitx", r"backbone 'vitx' is unknown; it is one of vits, vitb, vitl, vitg, custom; did you mean 'vit"),
        (SMALL, "net.name", LEAVE_OUT, r"backbone None is unknown"),
        (SMALL, "net.alt_strat", 4, r"key of net 'alt_strat' is unknown; .*did you mean 'alt_start'\?"),
        (SMALL, "net.width", 512, r"key of net 'width' is unknown; it is one of name, out_layers"),
        (SMALL, "net.name", "custom", r"the configuration lacks backbone.width, backbone.depth, backbone.num_heads"),
        (SMALL, "net.out_layers", LEAVE_OUT, r"net lacks out_layers"),
        (SMALL, "net.out_layers", 11, r"backbone.taps is 11; it is a list of 4 integers"),
        (SMALL, "net.out_layers", [5, 7, 9, 12], r"backbone.taps \[5, 7, 9, 12\] are not four increasing blocks between 0 and 11"),
        (SMALL, "net.cat_token", "yes", r"backbone.cat_token is 'yes'; it is of type bool"),
        (SMALL, "head.__object__", LEAVE_OUT, r"head None is unknown; it is one of DualDPT, DPT"),
        (SMALL, "head.__object__", "DualDPT", r"head None is unknown; it is one of DualDPT, DPT"),
        (SMALL, "head.__object__.name", "DualDPTs", r"head 'DualDPTs' is unknown; .*did you mean 'DualDPT'\?"),
        (SMALL, "head.dim_in", 384, r"head.dim_in is 384; only 768 fits this network"),
        (SMALL, "head.output_dim", 3, r"head.output_dim is 3; only 2 fits this network"),
        (SMALL, "head.feature", 64, r"key of head 'feature' is unknown; .*did you mean 'features'\?"),
        (SMALL, "head.use_sky_head", True, r"key of head 'use_sky_head' is unknown"),
        (SMALL, "head.features", "64", r"head.features is '64'; it is of type int"),
        (SMALL, "head.out_channels", None, r"head.channels is None; it is a list of 4 integers"),
        (SMALL, "cam_enc", LEAVE_OUT, r"cam_enc is None; it is a mapping"),
        (SMALL, "cam_enc.dim_out", 768, r"cam_enc.dim_out is 768; only 384 fits this network"),
        (SMALL, "cam_enc.depth", 4, r"key of cam_enc 'depth' is unknown; .*did you mean 'trunk_depth'\?"),
        (SMALL, "cam_enc.num_heads", 7, r"backbone.width 384 does not split into camera.encoder_heads 7"),
        (SMALL, "cam_dec.dim_in", 384, r"cam_dec.dim_in is 384; only 768 fits this network"),
        (METRIC, "head.use_sky_head", 1, r"head.sky is 1; it is of type bool"),
        (METRIC, "head.output_dim", 2, r"head.output_dim is 2; only 1 fits this network"),
        (GIANT, "gs_head.dim_in", 1536, r"gs_head.dim_in is 1536; only 3072 fits this network"),
        (GIANT, "gs_adapter", LEAVE_OUT, r"gs_adapter is None; it is a mapping"),
        (GIANT, "gs_adapter.sh_degree", 3, r"gs_adapter.sh_degree is 3; only 2 fits this network"),
        (GIANT, "gs_adapter.pred_color", True, r"gs_adapter.pred_color is True; only False fits this network"),
        (GIANT, "cam_dec", None, r"gaussians needs camera"),
        (NESTED, "metric", LEAVE_OUT, r"config lacks metric"),
        (NESTED, "metric.head.dim_in", 2048, r"head.dim_in is 2048; only 1024 fits this network"),
        (NESTED, "metric.head.use_sky_head", False, r"metric of a nested network needs a dpt head with sky"),
        (NESTED, "metric", NESTED, r"network of metric 'NestedDepthAnything3Net' is unknown; it is one of DepthAnything3Net"),
        (NESTED, "anyview", NESTED, r"network of anyview 'NestedDepthAnything3Net' is unknown; it is one of DepthAnything3Net"),
        (NESTED, "scale", 2, r"key of config 'scale' is unknown; it is one of anyview, metric"),
    ],
)
def test_what_this_package_does_not_build_is_refused(tmp_path, base, place, value, sentence):
    content = copy.deepcopy(base)
    *parents, last = place.split(".")
    part = content
    for parent in parents:
        part = part[parent]
    if value is LEAVE_OUT:
        del part[last]
    else:
        part[last] = value
    path = written(tmp_path, {"model_name": "x", "config": content})
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {sentence}"):
        read_config(path)


@pytest.mark.parametrize("preset", ["da3-small", "da3-tiny", "da3nested-giant-large"])
def test_a_size_to_work_at_that_the_name_does_not_tell_is_kept(tmp_path, preset):
    config = PRESETS[preset]
    assert "process_res" not in to_official(config)
    if isinstance(config, NestedConfig):
        other = dataclasses.replace(config, anyview=dataclasses.replace(config.anyview, process_res=252))
    else:
        other = dataclasses.replace(config, process_res=252)
    (tmp_path / "config.json").write_text(json.dumps(to_official(other)))
    assert read_config(tmp_path / "config.json") == other
