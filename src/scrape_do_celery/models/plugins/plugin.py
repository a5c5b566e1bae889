"""A plugin and its parameter sets, and the check of the sets by the typed class of the plugin's key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from scrape_do_celery.models.concerns import note_concerns
from scrape_do_celery.models.foreign_models import ForeignModel, dump_foreign
from scrape_do_celery.models.request_models import RequestModel, merge_extra
from scrape_do_celery.models.sendable import (
    SAID,
    FilledText,
    as_json_list,
    as_list,
    is_kept,
    is_said,
    join_faults,
)
from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import show_key

from .fields import NOTES
from .parameters import PluginParams

P = TypeVar("P", bound=PluginParams)
#: Parameter sets: objects of one class, or dicts.
ParamSets: TypeAlias = Iterable[P | Mapping[str, Any] | ForeignModel]
#: Credits of a task whose plugin has no known price: no successful request costs less.
LEAST_CREDITS: Final = 1
#: The typed classes of the known plugins, by key.
PLUGINS: dict[str, type[TypedPlugin]] = {}


class Plugin(RequestModel):
    """A plugin, and one task for each of its parameter sets.

    The typed class of a known key checks the sets. The sets of another key are sent unchecked, with a `RequestWarning`.
    If you know that the key is right, `warnings.filterwarnings("ignore", "plugin.key")` silences the warning.
    """

    SHOWN: ClassVar[frozenset[str]] = frozenset({"key"})
    #: Types of arguments, as the signature of the constructor shows them.
    ARGUMENTS: ClassVar[dict[str, str]] = {"params": "Iterable[PluginParams | Mapping[str, Any] | ForeignModel]"}

    #: the plugin, such as `amazon/pdp` or `google/search`
    key: FilledText
    #: one set of parameters for each task, under the API's names
    params: list[dict[str, JsonValue]] = Field(repr=False)

    def __init__(self, key: str, params: ParamSets[PluginParams]) -> None:
        super().__init__(key=key, params=params)  # type: ignore[call-arg]

    @field_validator("params", mode="before")
    @classmethod
    def _check_params(cls, params: Any, info: ValidationInfo) -> Any:
        sets = as_list(params, "params", "parameter sets")
        if sets == []:
            raise ValueError("params must hold at least one parameter set")
        if sets is None:
            return None
        plugin = PLUGINS.get(info.data.get("key", ""))
        if is_kept(info):
            # A record has sets as they are sent. So a key `extra` in a record is a parameter that the API gets.
            return sets if plugin is None else [plugin.PARAMS.gather_new(one) for one in sets]
        if plugin is None:
            sets = [_plain_set(one, f"plugin.params[{position}]") for position, one in enumerate(sets)]
        else:
            sets = check_sets(plugin, sets, info)
        return as_json_list(sets, "params", "parameter sets")

    def hint_at_place(self) -> str:
        """Return the end of a message about a plugin in a wrong place."""
        return f"; write plugin={type(self).__name__}(...), in a call or in a JobCreationRequest"

    def wire_sets(self) -> list[dict[str, Any]]:
        """Return the parameter sets as they travel to the API, with the parameters of each `extra`."""
        return [merge_extra(one) for one in self.params] if self.key in PLUGINS else self.params

    def find_concerns(self) -> Iterator[str]:
        """Yield what the API may refuse or ignore."""
        if self.key not in PLUGINS:
            # Python shows equal texts once for each line: the text has the key, so that each key is shown.
            yield (
                f"plugin.key={show_key(self.key)}: this version knows no such plugin, so its parameters are sent "
                "unchecked; warnings.filterwarnings('ignore', 'plugin.key') silences this"
                f"{suggest_name(self.key, PLUGINS)}"
            )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that the API takes, with the parameters of each `extra`."""
        return {**super().to_wire(), "Params": self.wire_sets()}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from super().__repr_args__()
        yield "size", len(self.params)

    def estimated_credits(self) -> int:
        """Return the lowest cost in credits if all tasks succeed. A task of a plugin without known price counts 1."""
        plugin = PLUGINS.get(self.key)
        known = (plugin.credits_of(one) if plugin else None for one in self.params)
        return sum(one or LEAST_CREDITS for one in known)


#: The name of `Plugin` in earlier versions.
PluginRequest = Plugin


class TypedPlugin(Plugin):
    """The base class of the known plugins.

    Each plugin repeats the signature of `__init__` with its own parameter sets, because type checkers make one for each
    model.
    """

    model_config = ConfigDict(defer_build=True)

    #: The plugin's key.
    KEY: ClassVar[str]
    #: The class of its parameter sets.
    PARAMS: ClassVar[type[PluginParams]]
    #: Credits of one successful task; None if no source names them.
    CREDITS: ClassVar[int | None] = None
    #: A parameter set that can be sent.
    EXAMPLE: ClassVar[dict[str, Any]]

    def __init__(self, params: ParamSets[Any]) -> None:
        super().__init__(self.KEY, params)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Register the plugin under its key. A base class of several plugins has no key."""
        if "KEY" in vars(cls):
            PLUGINS[cls.KEY] = cls
            cls.ARGUMENTS = {"params": f"Iterable[{cls.PARAMS.__name__} | Mapping[str, Any] | ForeignModel]"}

    @classmethod
    def credits_of(cls, params: Mapping[str, Any]) -> int | None:  # noqa: ARG003
        """Return the credits of one successful task; None if no source names them.

        Args:
            params: the parameter set of the task.
        """
        return cls.CREDITS


def check_sets(plugin: type[TypedPlugin], sets: list[Any], info: ValidationInfo) -> list[dict[str, Any]]:
    """Return the parameter sets of a known plugin under the API's names, and warn once of all odd values.

    Raises:
        ValueError: a set has a wrong structure. The message names the positions of the first faults.
    """
    found: list[dict[str, Any]] = []
    faults: list[str] = []
    oddities: list[str] = []
    for position, one in enumerate(sets):
        path = f"plugin.params[{position}]"
        notes: list[str] = []
        # The caller was warned when the set was made.
        said = SAID if is_said(info) or isinstance(one, PluginParams) else {}
        try:
            found.append(_read_set(plugin.PARAMS, one, path, {NOTES: notes, **said}))
        except ValidationError as error:
            faults += _describe_faults(error, path)
        except ValueError as error:
            faults.append(str(error))
        oddities += [f"{path}: {note}" for note in notes]
    if faults:
        raise ValueError(join_faults(faults))
    if oddities:
        note_concerns([f"{plugin.KEY}: {join_faults(oddities)}"])
    return found


def _read_set(wanted: type[PluginParams], one: Any, path: str, context: dict[str, Any]) -> dict[str, Any]:
    if isinstance(one, PluginParams) and not isinstance(one, wanted):
        raise ValueError(f"{path}: {type(one).__name__} is for another plugin; use {wanted.__name__}")  # noqa: TRY004
    fields = one if isinstance(one, PluginParams) else _plain_set(one, path)
    if isinstance(fields, dict):
        known = wanted.known_names()
        unknown = [key for key in fields if key not in known]
        if unknown:
            raise ValueError(
                join_faults(unknown, lambda key: f"{path}: no parameter {show_key(key)}{wanted.hint_at_field(key)}")
            )
    return wanted.model_validate(fields, context=context).to_fields()


def _plain_set(one: Any, path: str) -> Any:
    """Return a parameter set as a dict: the set of another library dumps itself under the API's names."""
    if isinstance(one, PluginParams):
        return one.to_wire()
    return dict(one) if isinstance(one, Mapping) else dump_foreign(one, path)


def _describe_faults(error: ValidationError, path: str) -> list[str]:
    return [
        f"{'.'.join([path, *map(str, fault['loc'])])}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors(include_url=False, include_input=False)
    ]
