import pytest
import yaml

from da3jax.config import PRESETS
from da3jax.training.config import TrainConfig, differences, load_train_config, save_train_config
from da3jax.training.losses import LOSSES
from tests.training.tiny import run

FIELDS = {"model": "da3-small", "steps": 10}


def test_what_is_not_said_is_the_default(tmp_path):
    config = load_train_config(FIELDS)
    assert config == TrainConfig(PRESETS["da3-small"], "runs/run", 10)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(FIELDS))
    assert load_train_config(tmp_path / "mine.yaml").folder == "runs/mine"


def test_overrides_reach_into_dicts_and_lists_and_presets():
    fields = {"model": "da3metric-large", "steps": 10, "data": {"sources": [{"type": "procedural"}, {"type": "folder", "path": "a"}]}}
    overrides = [
        "optimizer.learning_rate=1e-4",
        "data.sources.1.weight=2",
        "data.views=[2, 3]",
        "losses.preset=metric",
        "model.head.features=32",
    ]
    config = load_train_config(fields, overrides)
    assert config.optimizer.learning_rate == 1e-4
    assert [source.weight for source in config.data.sources] == [1, 2]
    assert (config.data.views, config.model.head.features, config.model.backbone) == ((2, 3), 32, PRESETS["da3metric-large"].backbone)
    assert config.losses == LOSSES["metric"]


def test_an_override_with_keys_goes_on_top_of_what_is_there():
    defaults = {"optimizer": {"freeze": ["^backbone/"], "warmup_steps": 100}, "losses": "metric", "model": "da3metric-large"}
    config = load_train_config({"steps": 10}, ["optimizer={learning_rate: 1e-5}", "losses={confidence_reward: 0.3}"], defaults=defaults)
    assert (config.optimizer.learning_rate, config.optimizer.freeze, config.optimizer.warmup_steps) == (1e-5, ("^backbone/",), 100)
    assert (config.losses.confidence_reward, config.losses.units) == (0.3, "canonical")
    config = load_train_config(
        FIELDS,
        ["model={head: {features: 32}}", "data.sources.0={type: folder, path: a}"],
        defaults={"data": {"sources": [{"type": "procedural", "samples": 2}]}},
    )
    assert (config.model.head.features, config.model.backbone) == (32, PRESETS["da3-small"].backbone)
    assert config.data.sources[0].path == "a"


def test_home_is_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of-me")
    data = {"sources": [{"type": "folder", "path": "~/scenes"}]}
    config = load_train_config({**FIELDS, "folder": "~/runs/a", "start_from": "depth-anything/DA3-SMALL", "data": data})
    assert (config.folder, config.start_from, config.data.sources[0].path) == (
        "/home/of-me/runs/a",
        "depth-anything/DA3-SMALL",
        "/home/of-me/scenes",
    )


def test_defaults_count_where_the_file_says_nothing():
    config = load_train_config({**FIELDS, "optimizer": {"b1": 0.8}}, defaults={"optimizer": {"b1": 0.5, "freeze": ["^backbone/"]}})
    assert (config.optimizer.b1, config.optimizer.freeze) == (0.8, ("^backbone/",))


def test_a_loss_preset_is_what_the_rest_is_put_on():
    config = load_train_config({**FIELDS, "model": "da3mono-large", "losses": {"preset": "mono", "weights": {"sky": 2}}})
    assert (config.losses.weights.sky, config.losses.weights.normal, config.losses.units) == (2, 1, "relative")


def test_what_is_saved_is_loaded_again(tmp_path):
    config = run(
        tmp_path,
        losses={"weights": {"ray": 0.5}},
        validation={"data": {"views": [4]}},
        optimizer={"groups": [{"pattern": "head", "rate": 2}]},
    )
    save_train_config(config, tmp_path / "config.yaml")
    assert load_train_config(tmp_path / "config.yaml") == config


def test_differences_are_named():
    old, new = load_train_config(FIELDS), load_train_config(FIELDS, ["optimizer.b1=0.5", "steps=20"])
    assert differences(old, new) == ["steps: 10 → 20", "optimizer.b1: 0.9 → 0.5"]
    assert differences(old, new, but_for=("optimizer", "step")) == ["steps: 10 → 20"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rat=1", "configuration key 'optimizer.learning_rat' is unknown; .* did you mean 'optimizer.learning_rate'"),
        ("stepz=1", "configuration key 'stepz' is unknown; .* did you mean 'steps'"),
        ("steps=many", "steps is 'many'; it is of type int"),
        ("steps=0", "steps is 0; it is at least 1"),
        ("steps", "'steps' is no override; one is key=value, such as steps=100"),
        ("steps=[", r"the value of 'steps=\[' is not YAML"),
        ("optimizer={b1: 0.5, b1: 0.9}", "the value of 'optimizer={b1: 0.5, b1: 0.9}' is not YAML: the key 'b1' is there twice"),
        ("steps=2024-13-45", "the value of 'steps=2024-13-45' is not YAML: month must be in 1..12"),
        ("data.sources.3.weight=1", "data.sources.3.weight has '3' where the configuration has a list; it is a number from 0 to 0"),
        ("steps.x=1", r"steps.x goes on behind a value, \d+, that has no keys"),
        ("data.sources.0.type=folders", "data.sources.0..type 'folders' is unknown; .* did you mean 'folder'"),
        ("losses.preset=teachers", "losses.preset 'teachers' is unknown; .* did you mean 'teacher'"),
        ("model=da3-tall", "preset 'da3-tall' is unknown; .* did you mean"),
        ("model=da3nested-giant-large", "model is da3nested-giant-large, a nested network; its two halves are trained by themselves"),
        ("dtype=float16", "dtype 'float16' is unknown; .* did you mean 'bfloat16'"),
        (
            "losses={weights: {correspondence: 1}, correspondence_block: 12}",
            "losses.correspondence_block is 12; the network's blocks are 0 to 11",
        ),
        (
            "losses={weights: {attention: 1}, attention_blocks: [6]}",
            "losses.attention_blocks: cross-view block 6 is unknown; it is one of 5, 7, 9, 11",
        ),
        (
            "losses={weights: {attention: 1}, attention_blocks: [5], attention_heads: 9}",
            "losses.attention_heads is 9; the network's blocks have 6",
        ),
        ("losses={attention_blocks: [5]}", r"weights.attention is 0.* with attention_blocks \[5\]; the weight is positive if and only if"),
        (
            "losses={weights: {ray: 0, point: 0, camera: 0, correspondence: 1}, units: canonical}",
            "weights.correspondence is 1.* with units canonical; it is 0 unless units are scene",
        ),
        ("losses.preset=teacher", "losses.weights.objects is 1.*, and no network of this version predicts objects; it is 0"),
        (
            "losses=metric",
            r"losses.weights.sky is 1.0, and da3-small has no output sky to learn it; it is 0, or losses the preset anyview$",
        ),
        (
            "model=da3mono-large",
            "losses.weights.ray is 1.0, and da3mono-large has no output ray to learn it; .* the preset mono or metric$",
        ),
        ("model={camera: null}", "losses.weights.camera is 1.0, and da3-small.* has no output cameras to learn it; it is 0$"),
        ("folder={a: 1}", "folder is {'a': 1}; it is of type str"),
        ("seed=4294967296", "seed is 4294967296; it is from 0 to 2³² − 1"),
        ("validation={data: {}, seed: -1}", "validation.seed is -1; it is from 0 to 2³² − 1"),
        ("validation={data: {sources: [{type: procedural}]}, seed: 0}", "validation.seed is 0, as is seed, and scenes that are trained on"),
        ("model=null", "model None is no configuration of a network; that is the name of a preset, a YAML file or a dict"),
        ("model=[da3-small]", r"model \['da3-small'\] is no configuration of a network"),
        (f"optimizer.learning_rate={10**400}", "optimizer.learning_rate is 1000.*; it is of type float"),
        ("data.sources.²=2", "data.sources.² has '²' where the configuration has a list; it is a number from 0 to 0"),
        ("folder=''", "folder is empty; it is the folder that the run writes to"),
    ],
)
def test_mistakes_are_named_with_what_would_be_right(override, message):
    fields = {**FIELDS, "data": {"sources": [{"type": "procedural"}]}}
    with pytest.raises(ValueError, match=message):
        load_train_config(fields, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher=null", "teacher is None with images that are not labelled; it is the weights of the network that labels them"),
        ("losses.teacher_from=5", "losses.teacher_from is 5 with images that are not labelled; it is 0"),
        ("losses.units=canonical", "losses.units is canonical with images that are not labelled; it is relative"),
        (
            "validation={data: {sources: [{type: folder, path: b, labelled: false}]}}",
            "validation.data has a source that is not labelled; errors are measured against labels",
        ),
        ("data.views=[1, 2]", r"data.views is \[1, 2\] with images that are not labelled; it is \[1\]"),
    ],
)
def test_images_that_are_not_labelled_need_a_teacher_that_labels_each_by_itself(override, message):
    fields = {
        "model": "da3mono-large",
        "steps": 1,
        "teacher": "a",
        "losses": {"preset": "mono", "teacher_from": 0},
        "data": {"views": [1], "sources": [{"type": "folder", "path": "b", "labelled": False}]},
    }
    assert not load_train_config(fields).data.sources[0].labelled
    with pytest.raises(ValueError, match=message):
        load_train_config(fields, [override])


def test_a_configuration_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*mine.yaml; .* it is one of finetune/large_pod, .*train/teacher"):
        load_train_config(tmp_path / "mine.yaml")
    with pytest.raises(FileNotFoundError, match=r"there is no file train/techer; .* did you mean 'train/teacher'"):
        load_train_config("train/techer")
