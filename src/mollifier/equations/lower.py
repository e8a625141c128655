"""SymPy expressions -> straight-line programs over NumPy arrays or torch tensors.

A program is a tuple of instructions without branches, so torch can compile, batch and differentiate it.
Shared subexpressions are computed once; whole powers become multiplications.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import sympy

from mollifier.equations.functions import FUNCTIONS, Function, name_of
from mollifier.errors import EquationError
from mollifier.mollify.kernels import memo

_LARGEST_PRODUCT = 64  # whole powers up to here are repeated multiplications

_ARITHMETIC = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
    "pow": operator.pow,
}


@memo
def _function(name: str) -> Function:
    return FUNCTIONS[name]


class Instruction(NamedTuple):
    """One operation on earlier results: ``args`` are their places, ``value`` a number or a name to load."""

    operation: str
    args: tuple[int, ...] = ()
    value: float | str = 0.0


@dataclass(frozen=True)
class Program:
    """Instructions, and the places of the outputs among their results."""

    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays that the program loads."""
        return tuple(str(i.value) for i in self.instructions if i.operation == "load")

    def restricted(self, outputs: Sequence[int]) -> Program:
        """The program of some of the outputs, given by number, with the instructions that they need.

        >>> a, b = sympy.symbols("a b")
        >>> float(lower([a + b, a * b]).restricted([1]).run({"a": 2.0, "b": 3.0})[0])
        6.0
        """
        chosen = [self.outputs[i] for i in outputs]
        needed = set(chosen)
        for i in reversed(range(len(self.instructions))):
            if i in needed:
                needed.update(self.instructions[i].args)
        place = {old: new for new, old in enumerate(sorted(needed))}
        kept = (self.instructions[i] for i in place)
        instructions = tuple(one._replace(args=tuple(place[a] for a in one.args)) for one in kept)
        return Program(instructions, tuple(place[i] for i in chosen))

    def run(self, env: Mapping[str, Any]) -> list[Any]:
        """Values of the outputs for names with arrays that broadcast; torch tensors if any of these is one.

        Each has the shape that its own inputs broadcast to: ``()`` for a constant.
        """
        inputs = self.inputs
        missing = [name for name in inputs if name not in env]
        if missing:
            raise EquationError(
                f"No values were given for {', '.join(missing)}; given: "
                f"{', '.join(map(str, env)) or 'nothing'}."
            )
        module, loaded, constant = _namespace({name: env[name] for name in inputs}, env)
        results: list[Any] = []
        for operation, args, value in self.instructions:
            if operation == "load":
                result = loaded[str(value)]
            elif operation == "number":
                result = value
            elif operation in _ARITHMETIC:
                result = _ARITHMETIC[operation](*(results[i] for i in args))
            else:
                result = _function(operation).on_arrays(module, *(constant(results[i]) for i in args))
            results.append(result)
        return [constant(results[i]) for i in self.outputs]


def _namespace(used: dict[str, Any], env: Mapping[str, Any]) -> tuple[Any, dict[str, Any], Any]:
    """The array module for these values, the values as its arrays, and how to make a number one of them."""
    values = list((used or env).values())
    torch = sys.modules.get("torch")
    if torch is not None:
        tensors = [v for v in values if isinstance(v, torch.Tensor)]
        if tensors:
            floating = [v for v in tensors if v.is_floating_point() or v.is_complex()]
            dtype = floating[0].dtype if floating else torch.get_default_dtype()
            device = tensors[0].device

            def to_tensor(v: Any) -> Any:
                if isinstance(v, torch.Tensor):
                    return v if v.is_floating_point() or v.is_complex() else v.to(dtype)
                return torch.as_tensor(v, dtype=dtype, device=device)

            return torch, {n: to_tensor(v) for n, v in used.items()}, to_tensor
    floats = [v.dtype for v in values if isinstance(v, (np.ndarray, np.generic)) and v.dtype.kind in "fc"]
    dtype = np.result_type(*floats) if floats else np.dtype(float)

    def to_array(v: Any) -> Any:
        if isinstance(v, (np.ndarray, np.generic)) and v.dtype.kind in "fc":
            return v
        return np.asarray(v, dtype=dtype)

    return np, {n: to_array(v) for n, v in used.items()}, to_array


def lower(expressions: Sequence[sympy.Expr]) -> Program:
    """A program that computes the expressions.

    >>> u, k = sympy.symbols("u k")
    >>> [i.operation for i in lower([k * u**2 - 1]).instructions]
    ['number', 'load', 'load', 'mul', 'mul', 'sub']
    """
    emitter = _Emitter()
    replacements, reduced = sympy.cse(list(expressions), symbols=sympy.numbered_symbols("@"), order="none")
    for symbol, expr in replacements:
        emitter.places[symbol] = emitter.emit(expr)
    outputs = tuple(emitter.emit(expr) for expr in reduced)
    return Program(tuple(emitter.instructions), outputs)


class _Emitter:
    """Appends instructions, each different one once."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.index: dict[Instruction, int] = {}
        self.places: dict[Any, int] = {}

    def append(self, operation: str, *args: int, value: float | str = 0.0) -> int:
        instruction = Instruction(operation, args, value)
        if instruction not in self.index:
            self.index[instruction] = len(self.instructions)
            self.instructions.append(instruction)
        return self.index[instruction]

    def emit(self, expr: Any) -> int:
        """The place of an expression's value."""
        if expr not in self.places:
            self.places[expr] = self._emit(expr)
        return self.places[expr]

    def _emit(self, expr: Any) -> int:
        if expr.is_number:
            value = float(expr) if expr.is_extended_real is not False else np.nan
            if not np.isfinite(value):
                raise EquationError(f"The number {expr} is not finite and real.")
            return self.append("number", value=value)
        if expr.is_Symbol:
            return self.append("load", value=expr.name)
        if expr.is_Add:
            return self._add(expr)
        if expr.is_Mul:
            return self._mul(expr)
        if expr.is_Pow:
            return self._pow(*expr.args)
        name = name_of(expr.func)
        if name is None:
            raise EquationError(f"'{expr.func.__name__}' cannot be computed on arrays.")
        if _function(name).many:
            return self._fold(name, [self.emit(a) for a in expr.args])
        return self.append(name, self.emit(expr.args[0]))

    def _fold(self, operation: str, places: list[int]) -> int:
        result = places[0]
        for place in places[1:]:
            result = self.append(operation, result, place)
        return result

    def _add(self, expr: Any) -> int:
        split = [a.as_coeff_Mul() for a in expr.args]
        terms = [("sub" if c.is_negative else "add", self._scaled(abs(c), rest)) for c, rest in split]
        terms.sort(key=lambda term: term[0] == "sub")
        operation, result = terms[0]
        if operation == "sub":
            result = self.append("neg", result)
        for operation, place in terms[1:]:
            result = self.append(operation, result, place)
        return result

    def _scaled(self, c: Any, rest: Any) -> int:
        if rest is sympy.S.One:
            return self.emit(c)
        if c == 1:
            return self.emit(rest)
        if isinstance(c, sympy.Rational) and c.p == 1:
            return self.append("div", self.emit(rest), self.append("number", value=float(c.q)))
        return self.append("mul", self.append("number", value=float(c)), self.emit(rest))

    def _mul(self, expr: Any) -> int:
        c, rest = expr.as_coeff_Mul()
        if c.is_negative:
            return self.append("neg", self._scaled(-c, rest))
        if c != 1:
            return self._scaled(c, rest)
        above, below = [], []
        for factor in expr.args:
            if factor.is_Pow and factor.exp.is_Number and factor.exp.is_negative:
                below.append(self._pow(factor.base, -factor.exp))
            else:
                above.append(self.emit(factor))
        result = self._fold("mul", above) if above else self.append("number", value=1.0)
        return self.append("div", result, self._fold("mul", below)) if below else result

    def _pow(self, base: Any, exponent: Any) -> int:
        if exponent.is_Number and exponent.is_negative:
            return self.append("div", self.append("number", value=1.0), self._pow(base, -exponent))
        place = self.emit(base)
        if exponent == sympy.S.Half:
            return self.append("sqrt", place)
        if exponent.is_Integer and exponent <= _LARGEST_PRODUCT:
            return self._whole(place, int(exponent))
        return self.append("pow", place, self.emit(exponent))

    def _whole(self, place: int, n: int) -> int:
        if n == 1:
            return place
        half = self._whole(place, n // 2)
        square = self.append("mul", half, half)
        return self.append("mul", square, place) if n % 2 else square


@dataclass(frozen=True)
class ArrayFunction:
    """A SymPy expression that is called on arrays.

    >>> f = ArrayFunction(sympy.Symbol("u") ** 2)
    >>> f({"u": np.array([1.0, 2.0])})
    array([1., 4.])
    """

    expression: sympy.Expr

    @cached_property
    def program(self) -> Program:
        """The compiled program."""
        return lower([self.expression])

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names it needs, sorted."""
        return tuple(sorted(s.name for s in self.expression.free_symbols))  # type: ignore[attr-defined]

    def __call__(self, env: Mapping[str, Any]) -> Any:
        """Value on arrays, of the shape that the entries it needs broadcast to; ``()`` for a constant."""
        return self.program.run(env)[0]
