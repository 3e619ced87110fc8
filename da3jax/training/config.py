"""A run as one frozen dataclass, from a YAML file and `key=value` overrides."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import yaml

from da3jax.config import ModelConfig, NestedConfig, load_config
from da3jax.models.network import DTYPES
from da3jax.schema import at_least, from_dict, merge, one_of, parse_yaml, read_yaml, to_dict, yaml_problem
from da3jax.training.data import DataConfig, ProceduralConfig
from da3jax.training.losses import LOSSES, LossConfig, outputs_of, outputs_of_term
from da3jax.training.optimizer import OptimizerConfig

NO_PART_OF_THE_RESULT = (
    "folder", "remat", "stack_layers", "validation", "log_every", "checkpoint_every", "keep_last", "keep_best", "tensorboard",
    "data.workers",
)  # fmt: skip
"""Keys on which the weights do not depend, but for rounding."""

_FIRST_LINE = "# The configuration of a run, which writes it anew whenever it goes on."


@dataclass(frozen=True)
class MeshConfig:
    """Devices that share a batch: `data` × `fsdp` its scenes, `view` the views of each; -1 for what is left.

    Parameters and optimiser are split over `fsdp`. `view` is of one process's devices.
    """

    data: int = -1
    fsdp: int = 1
    view: int = 1


@dataclass(frozen=True)
class ValidationConfig:
    """What is looked at now and then, and never trained on."""

    data: DataConfig
    """Without its `augment`."""
    batches: int = 8
    every: int = 1000
    """Steps."""
    seed: int = 1_000_003
    """Of the scenes: another than the run's, where both draw procedural ones."""

    def __post_init__(self):
        for name in ("batches", "every"):
            at_least(f"validation.{name}", getattr(self, name), 1)
        _check_seed("validation.seed", self.seed)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run's result depends on, but for the files it reads."""

    model: ModelConfig
    folder: str
    """Where checkpoints, metrics and weights go; a run that finds its checkpoints there goes on."""
    steps: int
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    start_from: str | None = None
    """Weights: DA3's or DINOv2's by hub id or folder. None: random ones."""
    teacher: str | None = None
    """Weights of a network whose depth replaces ground truth from `losses.teacher_from` on."""
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] | None = None
    """Of the backbone's products, of gradients' one operand; None is float32 on a CPU and bfloat16 on accelerators. Parameters are float32
    in any case."""
    remat: bool = False
    """Compute the inner values of blocks and heads again for the gradient, rather than keep them: less memory, more to compute."""
    stack_layers: bool = False
    """Blocks in a loop of the program, which then compiles sooner; for deep networks."""
    mesh: MeshConfig = MeshConfig()
    validation: ValidationConfig | None = None
    log_every: int = 10
    """Steps from one row of the metrics to the next."""
    checkpoint_every: int = 1000
    keep_last: int = 2
    keep_best: int = 1
    """Of those that were validated: with the least error of depth."""
    tensorboard: bool = False

    def __post_init__(self):
        for name in ("steps", "log_every", "checkpoint_every", "keep_last"):
            at_least(name, getattr(self, name), 1)
        at_least("keep_best", self.keep_best, 0)
        if self.dtype is not None:
            one_of("dtype", self.dtype, DTYPES)
        _check_seed("seed", self.seed)
        for name in ("folder", "start_from", "teacher"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, os.path.expanduser(value))  # noqa: PTH111  (leaves hub ids alone)
        if not self.folder:
            raise ValueError("folder is empty; it is the folder that the run writes to")
        self._check_losses()
        if not self.data.labelled:
            self._check_unlabelled()
        drawn = self.validation is not None and all(
            any(isinstance(source, ProceduralConfig) for source in data.sources) for data in (self.data, self.validation.data)
        )
        if drawn and self.validation.seed == self.seed:
            raise ValueError(
                f"validation.seed is {self.seed}, as is seed, and scenes that are trained on would be validated on; it is another"
            )
        if self.validation is not None and not self.validation.data.labelled:
            raise ValueError("validation.data has a source that is not labelled; errors are measured against labels")

    def _check_losses(self):
        if self.losses.weights.objects:
            raise ValueError(
                f"losses.weights.objects is {self.losses.weights.objects}, and no network of this version predicts objects; it is 0"
            )
        gives = set(self.model.outputs)
        for name, weight in dataclasses.asdict(self.losses.weights).items():
            if weight and (lacking := set(outputs_of_term(name)) - gives):
                fitting = [preset for preset, of in LOSSES.items() if gives.issuperset(outputs_of(of.weights)) and not of.weights.objects]
                or_else = f", or losses the preset {' or '.join(fitting)}" if fitting else ""
                raise ValueError(
                    f"losses.weights.{name} is {weight}, and {self.model.name} has no output {', '.join(sorted(lacking))} to learn it; "
                    f"it is 0{or_else}"
                )
        depth = self.model.backbone.depth
        if any(block >= depth for block in self.losses.feature_layers):
            raise ValueError(
                f"losses.correspondence_block is {self.losses.correspondence_block}; the network's blocks are 0 to {depth - 1}"
            )
        crossing = [block for block in range(depth) if self.model.backbone.cross_view(block)]
        for block in self.losses.attention_layers:
            one_of("losses.attention_blocks: cross-view block", block, crossing)
        if self.losses.attention_layers and self.losses.attention_heads > (heads := self.model.backbone.num_heads):
            raise ValueError(f"losses.attention_heads is {self.losses.attention_heads}; the network's blocks have {heads}")
        for name in ("correspondence", "attention") if self.stack_layers else ():
            if getattr(self.losses.weights, name):
                raise ValueError(
                    f"losses.weights.{name} looks into the blocks, and stack_layers hides them in a loop; one of the two is off"
                )

    def _check_unlabelled(self):
        losses, views = self.losses, list(self.data.views)
        for name, value, fits, wanted in (
            ("teacher", self.teacher, self.teacher is not None, "the weights of the network that labels them"),
            ("losses.teacher_from", losses.teacher_from, losses.teacher_from == 0, "0"),
            ("losses.units", losses.units, losses.units == "relative", "relative"),
            ("data.views", views, views == [1], "[1]"),
        ):
            if not fits:
                raise ValueError(f"{name} is {value} with images that are not labelled; it is {wanted}")


def _check_seed(name: str, seed: int) -> None:
    if not 0 <= seed < 2**32:  # a random key of JAX has no more
        raise ValueError(f"{name} is {seed}; it is from 0 to 2³² − 1")


def load_train_config(
    source: str | pathlib.Path | Mapping[str, Any], overrides: Sequence[str] = (), *, defaults: Mapping[str, Any] = MappingProxyType({})
) -> TrainConfig:
    """A run's configuration from a YAML file, or a dict, with overrides such as `optimizer.learning_rate=1e-4`.

    `model` is what `da3jax.config.load_config` takes: a preset's name, or fields on top of `preset`. `losses` may begin with
    `preset: anyview | teacher | mono | metric`. Without `folder` it is `runs/` and the file's name.

    Args:
        source: the file, one of the project's own by name such as `train/da3_small` or `finetune/small_frozen`, or the dict itself.
        overrides: `key=value`, the value in YAML; in a list a number is the key, as in `data.sources.0.weight=2`. Of a block
            (`optimizer={b1: 0.5}`) what it does not name stays as it is, but for an item of a list, which is replaced.
        defaults: what counts where the source says nothing.

    Raises:
        ValueError: an unknown or mistyped key, or a value that is not allowed; the sentence names it and the closest that is.
        FileNotFoundError: there is no such file, and the project has none of that name; the sentence names the closest that it has.
    """
    if isinstance(source, Mapping):
        fields, name = source, "run"
    else:
        path = _find(source)
        fields, name = read_yaml(path), path.stem
    fields = merge(merge({"folder": f"runs/{name}"}, defaults), fields)
    for override in overrides:
        fields = _overridden(fields, override)
    if "model" in fields:
        fields["model"] = load_config(fields["model"])
        if isinstance(fields["model"], NestedConfig):
            raise ValueError(f"model is {fields['model'].name}, a nested network; its two halves are trained by themselves")
    losses = fields.get("losses")
    if isinstance(losses, str) or (isinstance(losses, Mapping) and "preset" in losses):
        losses = {"preset": losses} if isinstance(losses, str) else dict(losses)
        preset = losses.pop("preset")
        one_of("losses.preset", preset, LOSSES)
        fields["losses"] = merge(to_dict(LOSSES[preset]), losses)
    return from_dict(TrainConfig, fields)


def _find(source: str | pathlib.Path) -> pathlib.Path:
    """The file, or the project's own of that name."""
    if pathlib.Path(source).is_file():
        return pathlib.Path(source)
    package = pathlib.Path(__file__).parents[1]
    # In an installed package they are inside; in a checkout, beside it.
    ours = next(folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir())
    found = {path.relative_to(ours).with_suffix("").as_posix(): path for path in sorted(ours.glob("*/*.yaml"))}
    name = str(source).removesuffix(".yaml")
    try:
        one_of("configuration", name, found)
    except ValueError as error:
        raise FileNotFoundError(f"there is no file {source}; {error}") from error
    return found[name]


def save_train_config(config: TrainConfig, path: pathlib.Path) -> None:
    """Writes what `load_train_config` reads."""
    path.write_text(f"{_FIRST_LINE}\n{yaml.safe_dump(to_dict(config), sort_keys=False)}")


def is_of_a_run(path: pathlib.Path) -> bool:
    """Whether `save_train_config` wrote the file."""
    return path.read_bytes().startswith(_FIRST_LINE.encode())


def differences(old: TrainConfig, new: TrainConfig, *, but_for: Sequence[str] = ()) -> list[str]:
    """The keys, with both values, in which two configurations differ, but for some keys and what is below them."""
    flat, passed_over = [_flat(to_dict(config)) for config in (old, new)], tuple(f"{name}." for name in but_for)
    keys = [key for key in dict.fromkeys((*flat[0], *flat[1])) if not f"{key}.".startswith(passed_over)]
    return [f"{key}: {flat[0].get(key)} → {flat[1].get(key)}" for key in keys if flat[0].get(key) != flat[1].get(key)]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {path: value}
    return {name: leaf for key, item in value.items() for name, leaf in _flat(item, f"{path}.{key}" if path else key).items()}


def _overridden(fields: Mapping[str, Any], override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ValueError(f"{override!r} is no override; one is key=value, such as steps=100 or optimizer.learning_rate=1e-4")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ValueError(f"the value of {override!r} is not YAML: {yaml_problem(error)}") from error
    return _put(fields, key.split("."), value, key)


def _put(place: Any, names: list[str], value: Any, key: str) -> Any:
    """A copy of a nested dict or list with the value at the end of `names`. A dict goes on top of the one there, but for a list's."""
    if isinstance(place, str) and (names or (isinstance(value, Mapping) and key in ("model", "losses"))):
        # A preset's name, of which something is to be another.
        place = {"preset": place}
    if not names:
        return merge(place, value)
    first, *rest = names
    if isinstance(place, list):
        if not first.isdecimal() or int(first) >= len(place):
            raise ValueError(f"{key} has {first!r} where the configuration has a list; it is a number from 0 to {len(place) - 1}")
        return [(_put(item, rest, value, key) if rest else value) if i == int(first) else item for i, item in enumerate(place)]
    if not isinstance(place, Mapping | None):
        raise ValueError(f"{key} goes on behind a value, {place!r}, that has no keys")
    return {**(place or {}), first: _put((place or {}).get(first), rest, value, key)}
