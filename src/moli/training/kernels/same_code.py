"""Modules that run the same code: transformers copies classes from one model to the next."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator, Sequence
from types import CellType, CodeType, FunctionType
from typing import Any

import torch

_CONSTANTS = (bool, int, float, complex, str, bytes)
_Pairs = tuple[tuple[Any, Any], ...]


def runs_same_code(module: torch.nn.Module, cls: type[torch.nn.Module]) -> bool:
    """Whether a module's forward pass is, instruction by instruction, that of another class.

    Every name that it uses must mean the same as well: globals, variables of an enclosing
    function, and the two classes' own methods. Comparing outputs for a few inputs would not do:
    some modules clamp what is large, or drop out in training.
    """
    forward = type(module).forward
    if "forward" in vars(module) or not _is_same(forward, cls.forward):
        return False
    names = forward.__code__.co_names
    methods = ([getattr(each, name, None) for name in names] for each in (type(module), cls))
    return all(
        _is_same(own, other)
        for own, other in zip(*methods, strict=True)
        if isinstance(own, FunctionType) or isinstance(other, FunctionType)
    )


def _is_same(one: Any, other: Any, compared: _Pairs = ()) -> bool:
    """Whether two values are one object, equal constants, or functions that do the same.

    Args:
        compared: pairs of functions that are being compared already, since a function may call
            itself.
    """
    if one is other or any(one is a and other is b for a, b in compared):
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, FunctionType):
        if one.__code__.co_code != other.__code__.co_code:  # most differ here, which costs little
            return False
        return _are_same(_meaning(one), _meaning(other), (*compared, (one, other)))
    if isinstance(one, CodeType):
        return _are_same(_instructions(one), _instructions(other), compared)
    if isinstance(one, tuple):
        return _are_same(one, other, compared)
    return isinstance(one, _CONSTANTS) and repr(one) == repr(other)  # 0.0 is not -0.0


def _are_same(some: Sequence[Any], others: Sequence[Any], compared: _Pairs) -> bool:
    """Whether two lists have the same values in the same order."""
    return len(some) == len(others) and all(
        _is_same(one, other, compared) for one, other in zip(some, others, strict=True)
    )


def _meaning(function: FunctionType) -> tuple[Any, ...]:
    """Everything that decides what a function does.

    It is the code, the defaults, and the values of the closure and of the globals it reads.
    """
    builtins = function.__globals__["__builtins__"]
    known = (builtins if isinstance(builtins, dict) else vars(builtins)) | function.__globals__
    return (
        function.__code__,
        function.__defaults__,
        tuple(sorted((function.__kwdefaults__ or {}).items())),
        tuple(map(_content, function.__closure__ or ())),
        tuple(known.get(name) for name in _global_names(function.__code__)),
    )


def _instructions(code: CodeType) -> tuple[Any, ...]:
    """Everything in a code object that decides about its result; not the names of its variables."""
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    takes_more = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return code.co_code, code.co_names, code.co_consts, counts, takes_more


def _global_names(code: CodeType) -> Iterator[str]:
    """Globals and builtins that a code object and the functions defined in it read, in order."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
        elif isinstance(instruction.argval, CodeType):
            yield from _global_names(instruction.argval)


def _content(cell: CellType) -> Any:
    """The value of a closure's variable; the cell itself while the variable has no value."""
    try:
        return cell.cell_contents
    except ValueError:
        return cell
