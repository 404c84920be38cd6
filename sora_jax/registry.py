"""Registries: what a name of a flag or a configuration stands for, and what users add to them.

    @FAMILIES.register
    class Rain:
        name = "rain"
        ...

    @CONFIGS.register
    def my_run(): ...

A module that registers is loaded by `load_module`, which every command does for its --import. A
spawned process has not seen it: it is given `user_modules()`, and loads them by `load_modules`.
"""

import importlib
import importlib.util
import inspect
import sys
import traceback
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from sora_jax.config import nearest
from sora_jax.errors import UserError

T = TypeVar("T")
_REGISTRIES: list[weakref.ref] = []


class Registry(dict[str, T]):
    """Values by name. An unknown name raises UserError with the nearest one.

    Args:
        kind: what its values are, in one noun, for messages.
        protocol: a `typing.Protocol` that values must have the members of; None for functions.
        values: the first values.
    """

    def __init__(self, kind: str, protocol: type | None = None, values: Iterable[T] = ()):
        super().__init__()
        _REGISTRIES.append(weakref.ref(self))
        self.kind, self.protocol = kind, protocol
        for value in values:
            self.register(value)

    def register(self, value: Any) -> Any:
        """Adds a value under its `name`, a function under its own name; also a decorator.

        A class is made an instance first, without arguments. Returns `value` as it was given.

        Raises:
            UserError: the name is taken, or a member of the protocol is missing or abstract.
        """
        members = _members(self.protocol)
        abstract = getattr(value, "__abstractmethods__", frozenset()).intersection(members)
        made = value() if isinstance(value, type) and not abstract else value
        name = getattr(made, "name", None) or getattr(made, "__name__", None)
        if not isinstance(name, str):
            raise UserError(f"{_where(value)}: a {self.kind} needs a name; give it name = '...'")
        if missing := [m for m in members if m in abstract or not hasattr(made, m)]:
            raise UserError(
                f"{self.kind} {name!r} of {_where(value)} lacks {', '.join(missing)}; "
                f"{self.protocol.__module__}.{self.protocol.__name__} says what each is for"
            )
        if name in self:
            raise UserError(
                f"{self.kind} {name!r} is registered twice, by {_where(self[name])} and by "
                f"{_where(value)}; rename one"
            )
        self[name] = made
        return value

    def __missing__(self, name: str) -> T:
        raise UserError(f"no {self.kind} {name!r}; {nearest(name, self)}")


# name -> function that returns the nested values of a run or of a tokenizer's training, as
# get_config() of a configuration file does
CONFIGS: Registry[Any] = Registry("configuration")


def _members(protocol: type | None) -> list[str]:
    """The members that a Protocol declares: annotations, methods and properties."""
    if protocol is None:
        return []
    declared = [*inspect.get_annotations(protocol), *vars(protocol)]
    return [name for name in dict.fromkeys(declared) if not name.startswith("_")]


def _where(value: Any) -> str:
    owner = value if hasattr(value, "__module__") else type(value)
    return str(owner.__module__)


def load_module(name: str) -> None:
    """Imports a module by its dotted name, or a file by its path ending in .py.

    Raises:
        UserError: it cannot be found, or fails; the line and its own error are named.
    """
    try:
        if name.endswith(".py"):
            _load_file(Path(name))
        else:
            importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "importlib" not in f.filename and f.filename != __file__]
        at = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        if isinstance(error, SyntaxError):
            at = f" ({error.filename}, line {error.lineno})"
        said = " ".join(str(error).split())
        raise UserError(
            f"{name} cannot be imported: {type(error).__name__}: {said}{at}; mend it, or give "
            "a module on PYTHONPATH or the path of a .py file"
        ) from error


def user_modules() -> list[str]:
    """The modules outside this package that registered what is registered now, as `load_module`
    takes them. A notebook's own cells are none of them: no other process can load those.
    """
    found = {}
    for registry in filter(None, (reference() for reference in _REGISTRIES)):
        for module in map(_where, registry.values()):
            if module.partition(".")[0] not in ("sora_jax", "__main__"):
                file = getattr(sys.modules.get(module), "__file__", None)
                found[module if "." in module or file is None else file] = None
    return list(found)


def load_modules(names: Iterable[str]) -> None:
    """`load_module` of each."""
    for name in names:
        load_module(name)


def _load_file(path: Path) -> None:
    module = path.stem
    if module in sys.modules and getattr(sys.modules[module], "__file__", None) == str(
        path.resolve()
    ):
        return
    spec = importlib.util.spec_from_file_location(module, path.resolve())
    sys.modules[module] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[module])
    except BaseException:
        del sys.modules[module]
        raise
