"""YAML without its traps: a key that stands twice, aliases that grow, and values that Python cannot make are errors."""

from __future__ import annotations

from typing import Any

import yaml

from multiprompt.errors import ConfigError
from multiprompt.text import is_unicode

LARGEST = 100_000
"""Values that a file may hold when every alias is written out; the largest experiment has some hundreds."""


def load_yaml(text: str, where: str) -> Any:
    """What a YAML text holds, aliases written out, so that a change of one place changes no other.

    Args:
        text: one document.
        where: what it is, for the error.

    Raises:
        ConfigError: it is not YAML, a key stands twice, or it is too large; the message names the line.
    """
    try:
        return _copy(yaml.load(text, _loader(where)))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{where} is not YAML: line {line} holds the character U+{error.character:04X}; "
            "write it as an escape in double quotes"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{where} is not YAML: {error}") from error
    except RecursionError:
        raise ConfigError(f"{where} is not YAML that can be read: it is nested too deeply") from None


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    return [_copy(each) for each in value] if isinstance(value, list) else value


def _loader(where: str) -> type[yaml.SafeLoader]:
    """A loader whose errors say where."""

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            again, line = self.check_event(yaml.AliasEvent), _line(self.peek_event())
            node: Any = super().compose_node(parent, index)
            if again and node not in self.sizes:
                raise ConfigError(f"{where}, line {line}: the alias stands within what it repeats")
            if not again:
                self.sizes[node] = 1 + sum(self.sizes[child] for child in _children(node))
            if self.sizes[node] > LARGEST:
                raise ConfigError(f"{where}, line {line}: with its aliases it has more than {LARGEST:,} values")
            return node

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen: dict[Any, int] = {}
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    value = key.value if key.tag == "tag:yaml.org,2002:merge" else self.construct_object(key)
                    if value in seen:
                        raise ConfigError(
                            f"{where}, line {_line(key)}: the key {key.value!r} stands twice (first in line "
                            f"{seen[value]}); keep one"
                        )
                    seen[value] = _line(key)
            return node

        def construct_scalar(self, node: Any) -> Any:
            value = super().construct_scalar(node)
            if not is_unicode(value):
                raise ConfigError(f"{where}, line {_line(node)}: {value!r} holds half of a character")
            return value

        sizes: dict[yaml.Node, int]

        def __init__(self, stream: str) -> None:
            super().__init__(stream)
            self.sizes = {}

    return Loader


def _line(marked: Any) -> int:
    return marked.start_mark.line + 1


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []
