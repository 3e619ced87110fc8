"""Frozen dataclasses from plain dicts and YAML files, and back; and what their fields may be."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import numbers
import pathlib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import yaml


def one_of(what: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raises a ValueError that names `value`, the allowed values and the closest of them, unless `value` is allowed."""
    allowed = list(allowed)
    if value in allowed:
        return
    close = difflib.get_close_matches(str(value), [str(option) for option in allowed], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{what} {value!r} is unknown; it is one of {', '.join(map(str, allowed))}{hint}")


def is_integer(value: Any) -> bool:
    """Whether `value` is a whole number by its type, Python's or NumPy's; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def blocks_of(name: str, blocks: Any) -> tuple[int, ...]:
    """Numbers of blocks as a tuple; raises a ValueError that names them unless they are whole numbers in a list or the like."""
    if not np.iterable(blocks) or not all(map(is_integer, blocks := tuple(blocks))):
        raise ValueError(f"{name} is {blocks!r}; it is a list of blocks, such as [2, 3]")
    return tuple(map(int, blocks))


def at_least(name: str, value: float, least: float) -> None:
    """Raises a ValueError that names `value` and `least`, unless it is that or more."""
    if not value >= least:
        raise ValueError(f"{name} is {value}; it is at least {least}")


class _SafeLoader(yaml.SafeLoader):
    """YAML in which no key stands twice: of two blocks of one name the first would be gone without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def parse_yaml(text: str | bytes) -> Any:
    """What YAML says; a yaml.YAMLError where it is none, or has a key twice."""
    try:
        return yaml.load(text, _SafeLoader)
    except ValueError as error:  # of dates and the like that there are not
        raise yaml.YAMLError(str(error)) from error
    except KeyError as error:
        raise yaml.YAMLError(f"{error} is no value of its tag") from error
    except RecursionError as error:
        raise yaml.YAMLError("it goes too deep") from error


def yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong with YAML, in one line, and where it is."""
    problem, mark = getattr(error, "problem", None) or str(error).splitlines()[0], getattr(error, "problem_mark", None)
    return problem if mark is None else f"{problem}, line {mark.line + 1}"


def read_yaml(path: str | pathlib.Path) -> Mapping[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ValueError: it is not YAML, or no mapping.
        OSError: it cannot be read.
    """
    try:
        found = parse_yaml(pathlib.Path(path).read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {yaml_problem(error)}") from error
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} holds no mapping of configuration keys")
    return found


def to_dict(config: Any) -> Any:
    """The plain dict that `from_dict` turns back into `config`."""
    if isinstance(config, tuple):
        return [to_dict(item) for item in config]
    if not dataclasses.is_dataclass(config):
        return config
    kind = {"type": config.type} if hasattr(config, "type") else {}
    return kind | {field.name: to_dict(getattr(config, field.name)) for field in dataclasses.fields(config)}


def merge(base: Any, override: Any) -> Any:
    """`override` on top of `base`, dict by dict; one of another `type` replaces the whole dict."""
    if not isinstance(base, Mapping) or not isinstance(override, Mapping) or override.get("type", base.get("type")) != base.get("type"):
        return override
    return {**base, **{key: merge(base.get(key), value) for key, value in override.items()}}


def from_dict(cls: type, fields: Any, path: str = "") -> Any:
    """An instance of the frozen dataclass `cls` from a nested dict, as YAML gives it.

    Of fields that may hold one of several dataclasses the dict has a `type`, the class variable of that name.

    Args:
        cls: what to build.
        fields: the dict.
        path: what stands before a field's name in messages, with a dot at the end.

    Raises:
        ValueError: an unknown key (with the closest match), a missing one, or a value of another type or not allowed.
    """
    if not isinstance(fields, Mapping):
        names = ", ".join(field.name for field in dataclasses.fields(cls))
        raise ValueError(f"{path.rstrip('.') or 'the configuration'} is {fields!r}; it is a mapping with the keys {names}")
    known = {field.name: field for field in dataclasses.fields(cls)}
    for key in fields:
        one_of("configuration key", f"{path}{key}", [f"{path}{name}" for name in known])
    required = (name for name, field in known.items() if field.default is field.default_factory is dataclasses.MISSING)
    missing = [f"{path}{name}" for name in required if name not in fields]
    if missing:
        raise ValueError(f"the configuration lacks {', '.join(missing)}")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _value(hints[name], value, f"{path}{name}") for name, value in fields.items()})


def _value(hint: Any, value: Any, path: str) -> Any:
    """`value` as the type that `hint` asks for."""
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    options = [option for option in typing.get_args(hint) if option is not types.NoneType] if union else [hint]
    if dataclasses.is_dataclass(value) and isinstance(value, tuple(option for option in options if isinstance(option, type))):
        return value
    if value is None and union and types.NoneType in typing.get_args(hint):
        return None
    kind = options[0]
    if len(options) > 1:
        return _one_type(options, value, path)
    if dataclasses.is_dataclass(kind):
        return from_dict(kind, value, f"{path}.")
    if typing.get_origin(kind) is tuple:
        return _tuple(typing.get_args(kind), value, path)
    scalar = str if typing.get_origin(kind) is Literal else kind
    if scalar is float and isinstance(value, int | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):  # YAML 1.1 reads 1e-4, which lacks a dot, as text
            return float(value)
    if not isinstance(value, scalar) or (scalar is int and isinstance(value, bool)):
        raise ValueError(f"{path} is {value!r}; it is of type {scalar.__name__}")
    return value


def _one_type(options: list[type], value: Any, path: str) -> Any:
    """`value` as that of several dataclasses which its `type` names."""
    named = {option.type: option for option in options}
    if not isinstance(value, Mapping) or "type" not in value:
        raise ValueError(f"{path} is {value!r}; it is a mapping with type, one of {', '.join(named)}, and what that type has")
    one_of(f"{path}.type", value["type"], named)
    return from_dict(named[value["type"]], {k: v for k, v in value.items() if k != "type"}, f"{path}.")


def _tuple(kinds: tuple, value: Any, path: str) -> tuple:
    """`value`, a list, as a tuple of these types; with an ellipsis at the end of any length."""
    any_length = kinds[-1] is Ellipsis
    if not isinstance(value, list | tuple) or not (any_length or len(value) == len(kinds)):
        what = {int: " integers", float: " numbers"}.get(kinds[0], "")
        raise ValueError(f"{path} is {value!r}; it is a list" + (" of" * bool(what) if any_length else f" of {len(kinds)}") + what)
    each = kinds[:1] * len(value) if any_length else kinds
    return tuple(_value(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(each, value, strict=True)))
