"""Registries: they map names in flags and configurations to implementations, and users can add to
them.

    @FAMILIES.register
    class Rain(Family):
        name = "rain"
        ...

    @CONFIGS.register
    def my_run(): ...

`load_module` imports a user's module, which registers its classes and functions; every command
calls it for its --import flags. A spawned process does not inherit registrations, so it is given
the result of `user_modules()` and calls `load_modules` with it.
"""

import importlib
import importlib.util
import inspect
import sys
import traceback
import weakref
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from sora_jax.config import nearest, nearest_file
from sora_jax.errors import UserError

T = TypeVar("T")
_REGISTRIES: list[weakref.ref] = []
_FILES: dict[str, str] = {}  # module name -> path, of files that `load_module` loaded


class Registry(dict[str, T]):
    """A dict of implementations by name. An unknown name raises UserError with the nearest known
    one.

    Args:
        kind: a noun for the values, for error messages.
        protocol: a `typing.Protocol` whose members the values must have. Default None: not checked,
            for functions.
        values: initial values, each added by `register`. Default: none.
        fault: a function that checks a value. It returns one line with the problem and the remedy,
            or None if the value is valid. Default None: no check.
    """

    def __init__(
        self,
        kind: str,
        protocol: type | None = None,
        values: Iterable[T] = (),
        fault: Callable[[T], str | None] | None = None,
    ):
        super().__init__()
        _REGISTRIES.append(weakref.ref(self))
        self.kind, self.protocol, self.fault = kind, protocol, fault
        self._module = sys._getframe(1).f_globals.get("__name__", "__main__")
        # name -> (module that registered it, what identifies the definition there)
        self._sources: dict[str, tuple[str, Any]] = {}
        for value in values:
            self.register(value)

    def register(self, value: Any) -> Any:
        """Adds a value under its `name`, or a function under the function's name. Also a decorator.

        A class is instantiated without arguments, and the instance is added. A definition that is
        executed again, as in a notebook, replaces the earlier one.

        Returns:
            `value`, unchanged.

        Raises:
            UserError: the name is missing or taken, a member of the protocol is missing or
                abstract, or `fault` reports a problem.
        """
        home = sys._getframe(1).f_globals.get("__name__", "__main__")
        place = self._place(home)
        members = _members(self.protocol)
        abstract = getattr(value, "__abstractmethods__", frozenset()).intersection(members)
        instance: Any = value() if isinstance(value, type) and not abstract else value
        name = getattr(instance, "name", None) or getattr(instance, "__name__", None)
        if not isinstance(name, str):
            raise UserError(f"{place}: the {self.kind} has no name; give it name = '...'")
        if missing := [m for m in members if m in abstract or not hasattr(instance, m)]:
            raise UserError(
                f"{self.kind} {name!r} of {place} lacks {', '.join(missing)}; "
                f"see {_qualified(self.protocol)}"
            )
        if self.fault and (fault := self.fault(instance)):
            raise UserError(f"{self.kind} {name!r} of {place}: {fault}")
        # A class or function is identified by its qualified name. An instance has none and is
        # identified by itself, except in a notebook, where its cell may be executed again.
        source = home, getattr(value, "__qualname__", None if home == "__main__" else value)
        if name in self and self._sources.get(name) != source:
            raise UserError(
                f"{self.kind} {name!r} is registered twice, by {self._place(self.home(name))} "
                f"and by {place}; rename one"
            )
        self[name] = instance
        self._sources[name] = source
        return value

    def home(self, name: str) -> str:
        """Returns the module that registered a name; "__main__" for a script or a notebook."""
        return self._sources.get(name, ("__main__",))[0]

    def _place(self, module: str) -> str:
        """Returns the name of a module for error messages: the path of a file that `load_module`
        loaded, else the dotted name. Initial values belong to the module that made the registry.
        """
        return self._module if module == __name__ else _FILES.get(module, module)

    def __missing__(self, name: str) -> T:
        hint = nearest(name, self)
        own = " (--import=FILE.py adds your own)" * hint.startswith("known")
        raise UserError(f"no {self.kind} {name!r}; {hint}{own}")


# name -> function that returns the nested values of a training run or of a tokenizer's training,
# like get_config() of a configuration file
CONFIGS: Registry[Any] = Registry("configuration")


def _members(protocol: type | None) -> list[str]:
    """Returns the names of the public members that a Protocol declares: annotations, methods and
    properties. [] for None.
    """
    if protocol is None:
        return []
    declared = [*inspect.get_annotations(protocol), *vars(protocol)]
    return [name for name in dict.fromkeys(declared) if not name.startswith("_")]


def _qualified(protocol: type | None) -> str:
    """Returns a Protocol's dotted name; "" for None."""
    return "" if protocol is None else f"{protocol.__module__}.{protocol.__qualname__}"


def load_module(name: str) -> None:
    """Imports a module by its dotted name, or a file by its path ending in .py.

    Raises:
        UserError: the module is not found, or fails; the message gives the line and the original
            error.
    """
    try:
        if name.endswith(".py"):
            if not Path(name).is_file():
                raise UserError(f"no file {name} to import; {nearest_file(name, 'docs/examples')}")
            _load_file(Path(name))
        else:
            importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        user_frames = [
            f for f in frames if "importlib" not in f.filename and f.filename != __file__
        ]
        at = f" ({user_frames[-1].filename}, line {user_frames[-1].lineno})" if user_frames else ""
        reason = " ".join(str(error).split())
        if isinstance(error, SyntaxError):  # its text contains part of the location
            reason, at = error.msg, f" ({error.filename}, line {error.lineno})"
        raise UserError(
            f"{name} cannot be imported: {type(error).__name__}: {reason}{at}; fix it, or give "
            "a module on PYTHONPATH or the path of a .py file"
        ) from error


def user_modules() -> list[str]:
    """Returns the modules outside this package that have registered something, as dotted names or
    paths of files, for `load_modules` in another process.

    Cells of a notebook are excluded, because no other process can load them.
    """
    found = {}
    for registry in filter(None, (reference() for reference in _REGISTRIES)):
        for home in map(registry.home, registry):
            if home.partition(".")[0] not in ("sora_jax", "__main__"):
                found[_FILES.get(home, home)] = None
    return list(found)


def load_modules(names: Iterable[str]) -> None:
    """Imports modules by their dotted names, or files by their paths, each by `load_module`."""
    for name in names:
        load_module(name)


def _load_file(path: Path) -> None:
    """Executes a file once, as a module with a unique name."""
    path = path.resolve()
    name = f"{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    _FILES[name] = str(path)
    try:
        spec.loader.exec_module(sys.modules[name])
    except BaseException:
        del sys.modules[name], _FILES[name]
        raise


def forget_file(path: str | Path) -> None:
    """Forgets that the file at `path` was loaded, so that `load_module` executes it again."""
    for name in [name for name, file in _FILES.items() if file == str(Path(path).resolve())]:
        del _FILES[name], sys.modules[name]
