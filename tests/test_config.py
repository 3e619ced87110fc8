"""Configurations: presets, overrides, and what is refused."""

import dataclasses
import re

import pytest
import yaml

from da3jax.config import (
    PRESETS,
    BackboneConfig,
    CameraConfig,
    DPTConfig,
    DualDPTConfig,
    GaussianHeadConfig,
    ModelConfig,
    NestedConfig,
    load_config,
    one_of,
    to_dict,
)

SMALL = PRESETS["da3-small"]


def tiny(**changes) -> dict:
    """A dict of a valid configuration; `part__field=value` changes a field of a part."""
    fields = {
        "name": "tiny",
        "backbone": {"width": 16, "depth": 4, "num_heads": 2, "taps": [0, 1, 2, 3], "alt_start": 1},
        "head": {"type": "dualdpt", "features": 8, "channels": [4, 4, 8, 8]},
        "camera": {"encoder_heads": 4},
    }
    for name, value in changes.items():
        part, _, field = name.partition("__")
        fields[part] = {**fields[part], field: value} if field else value
    return fields


@pytest.mark.parametrize("name", PRESETS)
def test_presets_come_back_from_their_dict_and_from_yaml(name, tmp_path):
    fields = to_dict(PRESETS[name])
    assert load_config(fields) == load_config(name) == load_config(PRESETS[name]) == PRESETS[name]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(fields))
    assert load_config(tmp_path / "config.yaml") == PRESETS[name]


def test_to_dict_holds_plain_values_only():
    assert to_dict(PRESETS["da3mono-large"]) == {
        "name": "da3mono-large",
        "backbone": {
            "width": 1024,
            "depth": 24,
            "num_heads": 16,
            "taps": [4, 11, 17, 23],
            "alt_start": -1,
            "qknorm_start": -1,
            "rope_start": -1,
            "cat_token": False,
            "mlp": "mlp",
            "pos_grid": 37,
        },
        "head": {"type": "dpt", "features": 256, "channels": [256, 512, 1024, 1024], "sky": True},
        "camera": None,
        "gaussians": None,
        "canonical_focal": None,
        "process_res": 504,
    }


def test_a_network_works_at_some_patch_at_least():
    assert (PRESETS["da3-giant"].process_res, PRESETS["da3nested-giant-large"].process_res, PRESETS["da3-tiny"].process_res) == (
        504,
        504,
        112,
    )
    with pytest.raises(ValueError, match="process_res is 13; it is at least 14 pixels"):
        load_config({"preset": "da3-tiny", "process_res": 13})


def test_a_canonical_focal_is_a_positive_number_and_what_makes_a_network_metric():
    assert load_config({"preset": "da3mono-large", "canonical_focal": 250}).canonical_focal == 250.0
    with pytest.raises(ValueError, match=r"canonical_focal is -1\.0; it is a positive number of pixels"):
        load_config({"preset": "da3mono-large", "canonical_focal": -1})
    with pytest.raises(ValueError, match="metric of a nested network needs canonical_focal, and da3mono-large has none"):
        NestedConfig("pair", SMALL, PRESETS["da3mono-large"])


def test_an_override_changes_only_what_it_names():
    config = load_config({"preset": "da3-small", "name": "mine", "backbone": {"rope_start": -1}, "head": {"features": 32}})
    assert config.backbone == dataclasses.replace(SMALL.backbone, rope_start=-1)
    assert config.head == DualDPTConfig(32, SMALL.head.channels)
    assert (config.name, config.camera) == ("mine", SMALL.camera)


def test_an_override_reaches_into_a_half_of_a_nested_network():
    nested = PRESETS["da3nested-giant-large"]
    config = load_config({"preset": nested.name, "anyview": {"backbone": {"depth": 41}, "gaussians": None}})
    assert config.anyview.backbone == dataclasses.replace(nested.anyview.backbone, depth=41)
    assert config.anyview.gaussians is None
    assert config.metric == nested.metric


@pytest.mark.parametrize("suffix", ["yaml", "yml"])
def test_a_yaml_file_overrides_a_preset(tmp_path, suffix):
    path = tmp_path / f"mine.{suffix}"
    path.write_text("preset: da3-base\ncamera: null\nbackbone: {taps: [2, 5, 8, 11]}\n")
    expected = dataclasses.replace(PRESETS["da3-base"], camera=None)
    expected = dataclasses.replace(expected, backbone=dataclasses.replace(expected.backbone, taps=(2, 5, 8, 11)))
    assert load_config(path) == load_config(str(path)) == expected


def test_a_head_of_another_type_replaces_the_whole_head():
    config = load_config({"preset": "da3-small", "head": {"type": "dpt", "features": 16, "channels": [4, 8, 12, 16], "sky": False}})
    assert config.head == DPTConfig(16, (4, 8, 12, 16), sky=False)
    assert config.outputs == ("depth", "cameras", "taps")


def test_the_source_of_an_override_is_left_as_it_is():
    source = {"preset": "da3-small", "backbone": {"width": 768}}
    load_config(source)
    assert source == {"preset": "da3-small", "backbone": {"width": 768}}


def test_a_configuration_without_a_preset_fills_in_the_defaults():
    assert load_config(tiny()) == ModelConfig(
        "tiny", BackboneConfig(16, 4, 2, (0, 1, 2, 3), alt_start=1), DualDPTConfig(8, (4, 4, 8, 8)), CameraConfig(4, 4)
    )


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("da3-small", ("depth", "ray", "cameras", "taps")),
        ("da3-giant", ("depth", "ray", "cameras", "taps", "raw_gs")),
        ("da3mono-large", ("depth", "sky", "taps")),
        ("da3nested-giant-large", ("depth", "ray", "cameras", "taps", "raw_gs", "sky", "metric_depth")),
    ],
)
def test_outputs_are_what_the_network_has(name, outputs):
    assert PRESETS[name].outputs == outputs


def test_outputs_of_a_nested_network_are_named_once_though_both_halves_have_sky():
    config = load_config("da3nested-giant-large")
    both = dataclasses.replace(config, anyview=dataclasses.replace(config.anyview, head=config.metric.head, gaussians=None))
    assert sorted(both.outputs) == sorted(set(both.outputs))
    assert "sky" in both.anyview.outputs


def test_swiglu_keeps_two_thirds_of_the_width_rounded_up_to_eight():
    assert PRESETS["da3-giant"].backbone.hidden == 4096
    assert BackboneConfig(32, 4, 2, (0, 1, 2, 3), mlp="swiglu").hidden == 88  # 128 · 2/3 = 85.3
    assert SMALL.backbone.hidden == 1536


def test_odd_blocks_attend_across_views_from_the_start_on():
    giant = PRESETS["da3-giant"].backbone
    assert [block for block in range(40) if giant.cross_view(block)] == list(range(13, 40, 2))
    assert [block for block in range(12) if SMALL.backbone.cross_view(block)] == [5, 7, 9, 11]
    assert not any(PRESETS["da3mono-large"].backbone.cross_view(block) for block in range(24))


def test_a_tap_has_twice_the_width_where_tokens_are_concatenated():
    assert SMALL.backbone.tap_width == 768
    assert PRESETS["da3mono-large"].backbone.tap_width == 1024


def test_one_of_names_value_options_and_the_closest():
    one_of("fruit", "apple", ("apple", "pear"))
    with pytest.raises(ValueError, match=r"^fruit 'aple' is unknown; it is one of apple, pear; did you mean 'apple'\?$"):
        one_of("fruit", "aple", ("apple", "pear"))
    with pytest.raises(ValueError, match=r"^fruit 7 is unknown; it is one of apple, pear$"):
        one_of("fruit", 7, iter(("apple", "pear")))


REFUSED = {
    "preset": ("da3-smal", r"preset 'da3-smal' is unknown; it is one of da3-small, .*; did you mean 'da3-small'\?"),
    "preset in a dict": ({"preset": "da3_giant"}, r"preset 'da3_giant' is unknown; .* did you mean 'da3-giant'\?"),
    "preset of another type": ({"preset": ["da3-small"]}, r"preset \['da3-small'\] is unknown"),
    "key": (tiny(heads={}), r"configuration key 'heads' is unknown; it is one of name, backbone, .*; did you mean 'head'\?"),
    "inner key": (tiny(backbone__widht=3), r"'backbone.widht' is unknown; .* did you mean 'backbone.width'\?"),
    "key of a head": (tiny(head__sky=True), r"'head.sky' is unknown; it is one of head.features, head.channels"),
    "key that is no string": ({**tiny(), 3: 4}, "configuration key '3' is unknown"),
    "missing keys": ({"name": "x", "head": tiny()["head"]}, "the configuration lacks backbone$"),
    "missing inner keys": (tiny(backbone={"width": 16, "taps": [0, 1, 2, 3]}), "lacks backbone.depth, backbone.num_heads$"),
    "part of another type": (tiny(backbone="vits"), "backbone is 'vits'; it is a mapping with the keys width, depth, "),
    "head of another type": (tiny(head=[1]), r"head is \[1\]; it is a mapping with type, one of dualdpt, dpt, and what that type has"),
    "head without type": (tiny(head={"features": 8}), "it is a mapping with type, one of dualdpt, dpt"),
    "type of head": (tiny(head__type="dptt"), r"head.type 'dptt' is unknown; it is one of dualdpt, dpt; did you mean 'dpt'\?"),
    "text for a number": (tiny(backbone__width="16"), "backbone.width is '16'; it is of type int"),
    "truth for a number": (tiny(backbone__depth=True), "backbone.depth is True; it is of type int"),
    "fraction for a number": (tiny(backbone__depth=4.0), "backbone.depth is 4.0; it is of type int"),
    "number for truth": (tiny(backbone__cat_token=1), "backbone.cat_token is 1; it is of type bool"),
    "number for text": (tiny(name=3), "name is 3; it is of type str"),
    "nothing for a number": (tiny(backbone__width=None), "backbone.width is None; it is of type int"),
    "nothing for a part": (tiny(backbone=None), "backbone is None; it is a mapping with the keys width"),
    "text in a list": (tiny(backbone__taps=[0, 1, 2, "3"]), r"backbone.taps\[3\] is '3'; it is of type int"),
    "truth in a list": (tiny(backbone__taps=[False, 1, 2, 3]), r"backbone.taps\[0\] is False; it is of type int"),
    "number for a list": (tiny(head__channels=4), "head.channels is 4; it is a list of 4"),
    "choice": (tiny(backbone__mlp="swiglus"), r"backbone.mlp 'swiglus' is unknown; it is one of mlp, swiglu; did you mean 'swiglu'\?"),
    "choice of another type": (tiny(backbone__mlp=3), "backbone.mlp is 3; it is of type str"),
    "zero": (tiny(backbone__width=0), "backbone.width is 0; it is at least 1"),
    "negative": (tiny(backbone__num_heads=-2), "backbone.num_heads is -2; it is at least 1"),
    "heads": (tiny(backbone__num_heads=3), "backbone.width 16 does not split into 3 heads whose width is a multiple of 4"),
    "three taps": (tiny(backbone__taps=[0, 1, 2]), r"backbone.taps is \[0, 1, 2\]; it is a list of 4"),
    "equal taps": (tiny(backbone__taps=[0, 1, 1, 3]), r"backbone.taps \[0, 1, 1, 3\] are not four increasing"),
    "falling taps": (tiny(backbone__taps=[0, 2, 1, 3]), r"backbone.taps \[0, 2, 1, 3\] are not four increasing"),
    "tap beyond the end": (
        tiny(backbone__taps=[0, 1, 2, 4]),
        r"backbone.taps \[0, 1, 2, 4\] are not four increasing blocks between 0 and 3",
    ),
    "negative tap": (tiny(backbone__taps=[-1, 1, 2, 3]), r"backbone.taps \[-1, 1, 2, 3\] are not four increasing"),
    "alt_start": (tiny(backbone__alt_start=4), "backbone.alt_start is 4; it is a block from 0 to 3, or -1 for off"),
    "qknorm_start": (tiny(backbone__qknorm_start=-2), "backbone.qknorm_start is -2; it is a block from 0 to 3, or -1 for off"),
    "rope_start": (tiny(backbone__rope_start=9), "backbone.rope_start is 9; it is a block from 0 to 3, or -1 for off"),
    "features": (tiny(head__features=12), r"a head with features 12, channels \[4, 4, 8, 8\] cannot be built"),
    "no features": (tiny(head__features=0), "a head with features 0,"),
    "three channels": (tiny(head__channels=[4, 4, 8]), r"head.channels is \[4, 4, 8\]; it is a list of 4"),
    "odd channels": (tiny(head__channels=[5, 4, 8, 8]), r"channels \[5, 4, 8, 8\] cannot be built; .* channels are four multiples of 4"),
    "negative channels": (tiny(head__channels=[-4, 4, 8, 8]), r"channels \[-4, 4, 8, 8\] cannot be built"),
    "gaussian features": (tiny(gaussians={"features": 4, "channels": [4, 4, 8, 8]}), "a head with features 4,"),
    "camera heads": (tiny(camera__encoder_heads=3), "backbone.width 16 does not split into camera.encoder_heads 3"),
    "fewer than no camera blocks": (tiny(camera__encoder_depth=-1), "camera.encoder_depth is -1; it is a number of blocks, from 0 on"),
    "no camera heads": (tiny(camera__encoder_heads=0), "backbone.width 16 does not split into camera.encoder_heads 0"),
    "gaussians without camera": (
        tiny(camera=None, gaussians={"features": 8, "channels": [4, 4, 8, 8]}),
        "gaussians needs camera: Gaussians are placed with the predicted cameras",
    ),
    "Gaussians of opacity alone": (
        tiny(gaussians={"features": 8, "channels": [4, 4, 8, 8], "output_dim": 1}),
        "gaussians.output_dim is 1; it is at least 2, the last one being the opacity",
    ),
    "inner of a nested network": (
        {"preset": "da3nested-giant-large", "anyview": {"backbone": {"dept": 3}}},
        r"'anyview.backbone.dept' is unknown; .* did you mean 'anyview.backbone.depth'\?",
    ),
    "nested network without camera": (
        {"preset": "da3nested-giant-large", "anyview": {"camera": None, "gaussians": None}},
        "anyview of a nested network needs camera: the metric scale depends on the focal length",
    ),
    "nested network without sky": (
        {"preset": "da3nested-giant-large", "metric": {"head": {"sky": False}}},
        "metric of a nested network needs a dpt head with sky",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_built_is_refused_with_the_reason(name):
    source, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        load_config(source)


def test_dataclasses_refuse_the_same_as_dicts():
    with pytest.raises(ValueError, match="gaussians needs camera"):
        ModelConfig("x", SMALL.backbone, SMALL.head, gaussians=GaussianHeadConfig(8, (4, 4, 8, 8)))
    with pytest.raises(ValueError, match="needs a dpt head with sky"):
        NestedConfig("x", SMALL, SMALL)


def test_a_missing_yaml_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none.yaml"))):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2", "is not YAML: "),
        (b"\xff\xd8\xff\xe0 an image", "is not YAML: "),
        (b"process_res: 112\nname: a\nprocess_res: 504\n", "is not YAML: the key 'process_res' is there twice, line 3$"),
        (b"backbone: {width: 8, width: 16}\n", "is not YAML: the key 'width' is there twice"),
        (b"? [a, b]\n: 1\n", "is not YAML: found unhashable key, line 1$"),
        (b"name: a\n{1\n", "is not YAML: .*, line 3$"),
        (b"name: !!bool maybe\n", "is not YAML: 'maybe' is no value of its tag$"),
        (b"[" * 3000, "is not YAML: it goes too deep$"),
        (b"name: 2024-13-45\n", "is not YAML: month must be in 1..12"),
        (b"", "holds no mapping of configuration keys"),
        (b"- a\n- b\n", "holds no mapping of configuration keys"),
        (b"just words", "holds no mapping of configuration keys"),
    ],
)
def test_a_file_without_a_configuration_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} {message}"):
        load_config(path)


def test_yaml_runs_no_code(tmp_path):
    (tmp_path / "evil.yaml").write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ValueError, match=r"evil\.yaml is not YAML: "):
        load_config(tmp_path / "evil.yaml")
