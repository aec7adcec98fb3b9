"""Modules with equal bytecode whose names mean different things, as in two models' files."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from moli.training.kernels.same_code import runs_same_code

SOURCE = """
import torch
{before}
class Block(torch.nn.Module):
    {method}
    def forward(self, x):
        return {result}
"""


def block(result: str, before: str = "", method: str = "") -> type[torch.nn.Module]:
    """A class from a module of its own."""
    names: dict[str, Any] = {"__name__": "a_model"}
    exec(SOURCE.format(result=result, before=before, method=method), names)
    made: type[torch.nn.Module] = names["Block"]
    return made


def same(one: type[torch.nn.Module], other: type[torch.nn.Module]) -> bool:
    assert runs_same_code(one(), one) and runs_same_code(other(), other)
    assert runs_same_code(one(), other) == runs_same_code(other(), one)
    return runs_same_code(one(), other)


DOUBLED, TRIPLED = "def f(x): return x * 2", "def f(x): return x * 3"


@pytest.mark.parametrize(
    ("result", "before", "other"),
    [
        ("f(x)", DOUBLED, TRIPLED),
        ("f(x)", DOUBLED, "f = torch.relu"),
        ("torch.relu(f(x))", f"{DOUBLED}\ng = f\ndef f(x): return g(x)", TRIPLED),
        ("[f(y) for y in x]", DOUBLED, TRIPLED),
        ("(lambda y: f(y))(x)", DOUBLED, TRIPLED),
        ("f(x)", "def f(x, by=2): return x * by", "def f(x, by=3): return x * by"),
        ("f(x)", "def f(x, *, by=2): return x * by", "def f(x, *, by=3): return x * by"),
        ("x * scale", "scale = 2", "scale = 2.0"),
        ("abs(x)", "", "def abs(x): return x"),
        (
            "f(x)",
            "def make(by):\n    return lambda x: x * by\nf = make(2)",
            "def make(by):\n    return lambda x: x * by\nf = make(3)",
        ),
        (
            "f(x, 3)",
            "def f(x, n): return f(x, n - 1) if n else g(x)\ng = abs",
            "def f(x, n): return f(x, n - 1) if n else g(x)\ng = len",
        ),
    ],
)
def test_a_name_that_means_something_else_makes_another_block(
    result: str, before: str, other: str
) -> None:
    assert same(block(result, before), block(result, before))
    assert not same(block(result, before), block(result, other))


def test_a_method_that_does_something_else_makes_another_block() -> None:
    doubled, tripled = (f"def f(self, x): return x * {by}" for by in (2, 3))
    assert same(block("self.f(x)", method=doubled), block("self.f(x)", method=doubled))
    assert not same(block("self.f(x)", method=doubled), block("self.f(x)", method=tripled))


@pytest.mark.parametrize(("one", "other"), [("x * 1", "x * 1.0"), ("x + 0.0", "x + -0.0")])
def test_constants_are_of_the_same_type_and_sign(one: str, other: str) -> None:
    assert not same(block(one), block(other))


def test_names_of_variables_and_of_the_class_do_not_matter() -> None:
    class Doubled(torch.nn.Module):
        def forward(self, inputs: Any) -> Any:
            return inputs * 2

    assert same(Doubled, block("x * 2"))


def test_a_module_whose_own_forward_was_replaced_is_another() -> None:
    made = block("x * 2")
    module = made()
    module.forward = torch.relu  # type: ignore[method-assign]
    assert not runs_same_code(module, made)


def test_a_class_without_python_code_is_another() -> None:
    class Borrowed(torch.nn.Module):
        forward = torch.relu

    assert not runs_same_code(Borrowed(), block("x * 2"))
