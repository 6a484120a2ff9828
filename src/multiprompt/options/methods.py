"""The methods that an experiment compares, each with its options; defaults are the published ones (docs/methods.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from multiprompt.options.records import MethodOptions, method_record, method_records


class Methods(Mapping[str, MethodOptions]):
    """Methods by name with their options, in the order of lists: ``Methods(mpt=MptOptions(), lora=LoraOptions())``.

    Args:
        options: by the name of the method; those that are None do not take part.

    Raises:
        UnknownNameError: there is no such method.
    """

    def __init__(self, **options: MethodOptions | None) -> None:
        for name in options:
            method_record(name)
        chosen = {record.name: options.get(record.name) for record in method_records()}
        self._chosen = {name: each for name, each in chosen.items() if each is not None}

    def __getitem__(self, name: str) -> MethodOptions:
        return self._chosen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def __repr__(self) -> str:
        return f"Methods({', '.join(f'{name}={options!r}' for name, options in self.items())})"

    def chosen(self) -> dict[str, Any]:
        """Name and options of those that take part."""
        return dict(self._chosen)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: Any) -> Any:
        """How plain values become methods: by the options of those that are known now."""
        from pydantic_core import PydanticKnownError, core_schema

        def made(value: Any, read: Any) -> Methods:
            if isinstance(value, Methods):
                return value
            if not isinstance(value, Mapping):
                raise PydanticKnownError("dataclass_type", {"class_name": cls.__name__})
            return cls(**read(dict(value)))

        options = {
            record.name: core_schema.typed_dict_field(
                core_schema.nullable_schema(handler.generate_schema(record.options)), required=False
            )
            for record in method_records()
        }
        return core_schema.no_info_wrap_validator_function(made, core_schema.typed_dict_schema(options))


def default_methods() -> Methods:
    """The first of all methods, with its default options."""
    first = method_records()[0]
    return Methods(**{first.name: first.options()})
