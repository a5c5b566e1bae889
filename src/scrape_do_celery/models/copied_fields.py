"""Fields of frozen models whose value may change, and of which each read gives a copy."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel


class CopiedField:
    """A view of a model's field that gives a copy at each read, so that no reader changes what another one sees.

    Pydantic reads the value from the model's `__dict__`. So dumps, comparisons and copies of the model are unchanged.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, model: BaseModel | None, owner: type[BaseModel] | None = None) -> Any:
        if model is None:
            # The class of a pydantic model has no attribute for a field, and a subclass would take one as the default.
            raise AttributeError(self._name)
        return copy.deepcopy(model.__dict__[self._name])

    def __set__(self, model: BaseModel, value: Any) -> None:
        # Python prefers the view to the `__dict__` only if the view can be set.
        raise AttributeError(self._name)


def give_copies(model: type[BaseModel], name: str) -> None:
    """Let each read of a field give a copy."""
    setattr(model, name, CopiedField(name))
