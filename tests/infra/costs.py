"""The page ``docs/costs.md``, computed: its assumptions by name, and its formulas."""

import ast
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_ASSUMPTION = re.compile(r"^\| `(\w+)` \| ([\d.]+) \|", re.MULTILINE)
_COMPONENT = re.compile(r"^\| ([^|`]+?) \| `([^`]+)` \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
_PRICE = re.compile(r"^\| ([^|`]+?) \| `([^`]+)` \| ([\d.]+) \|$", re.MULTILINE)
_TOTAL = re.compile(r"^\| \*\*Total\*\* \| \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Component:
    """One row of the estimate.

    Attributes:
        name: what is paid for.
        formula: arithmetic over assumptions.
        daily: dollars a month as the page says.
        hourly: the same for the hourly schedule.
    """

    name: str
    formula: str
    daily: float
    hourly: float


def assumptions(page: str) -> dict[str, float]:
    """The assumptions by name."""
    return {name: float(value) for name, value in _ASSUMPTION.findall(page)}


def components(page: str) -> list[Component]:
    """The rows of the estimate."""
    return [
        Component(name, formula, float(daily), float(hourly))
        for name, formula, daily, hourly in _COMPONENT.findall(page)
    ]


def prices(page: str) -> list[tuple[str, str, float]]:
    """The rows beside the estimate, of what is off by default: what is paid for, its formula, and its dollars."""
    return [(name, formula, float(dollars)) for name, formula, dollars in _PRICE.findall(page)]


def total(page: str) -> tuple[float, float]:
    """The sums that the page says."""
    ((daily, hourly),) = _TOTAL.findall(page)
    return float(daily), float(hourly)


def value(formula: str, names: Mapping[str, float]) -> float:
    """The value of a formula.

    Raises:
        KeyError: a name is no assumption.
    """
    return _value(ast.parse(formula, mode="eval").body, names)


def _value(node: ast.expr, names: Mapping[str, float]) -> float:
    match node:
        case ast.BinOp():
            return float(_OPERATORS[type(node.op)](_value(node.left, names), _value(node.right, names)))
        case ast.Name():
            return names[node.id]
        case ast.Constant():
            return float(str(node.value))
    raise ValueError(f"A formula holds {ast.unparse(node)!r}.")


def differences(page: str) -> Iterator[str]:
    """Where the page says other dollars than its formulas."""
    known = assumptions(page)
    sums = [0.0, 0.0]
    for one in components(page):
        for index, (label, runs, said) in enumerate(
            (("daily", known["days"], one.daily), ("hourly", known["hours"], one.hourly))
        ):
            exact = value(one.formula, known | {"runs": runs})
            sums[index] += round(exact, 2)
            if f"{exact:.2f}" != f"{said:.2f}":
                yield f"{one.name}, {label}: {exact:.2f}, not {said:.2f}"
    for name, formula, dollars in prices(page):
        exact = value(formula, known)
        if f"{exact:.2f}" != f"{dollars:.2f}":
            yield f"{name}: {exact:.2f}, not {dollars:.2f}"
    if [f"{one:.2f}" for one in sums] != [f"{one:.2f}" for one in total(page)]:
        yield f"Total: {sums[0]:.2f} and {sums[1]:.2f}, not {total(page)}"
