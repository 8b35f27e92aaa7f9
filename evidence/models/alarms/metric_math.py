"""The part of CloudWatch's metric math that the template's alarms use.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

type Points = NDArray[np.float64]
"""The points of a series: a row for each period, newest first, and a column for each evaluation. NaN is missing."""
type NoData = Literal["is filled", "stays empty", "empties the expression"]
"""What becomes of an operand that has no point in any of the periods. AWS does not document it."""
type Rule = Callable[[str], Points]
"""Returns MaxContributorValue of a Contributor Insights rule, by the rule's name."""

OPERATORS: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.And: np.logical_and,
    ast.Or: np.logical_or,
}


def evaluate(expression: str, series: Mapping[str, Points], *, rule: Rule, no_data: NoData = "is filled") -> Points:
    """Return the points of an expression. `series` has the metrics by id. Raises ValueError for unknown syntax."""

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant(constant):
                return constant
            case ast.Name(name):
                return series[name]
            case ast.BinOp(left, operation, right) | ast.Compare(left, [operation], [right]):
                return _combine(OPERATORS[type(operation)], value(left), value(right), no_data)
            case ast.BoolOp(operation, values):
                return reduce(lambda a, b: _combine(OPERATORS[type(operation)], a, b, no_data), map(value, values))
            case ast.Call(ast.Name(function), arguments):
                return call(function, arguments)
        raise ValueError(f"The simulation does not know this metric math: {ast.unparse(node)}")

    def call(function: str, arguments: list[ast.expr]) -> Points:
        match function, arguments:
            case "FILL", [of, ast.Name("REPEAT")]:
                return _repeat(value(of))
            case "FILL", [of, ast.Constant(filler)]:
                return _fill(value(of), filler, no_data)
            case "INSIGHT_RULE_METRIC", [ast.Constant(name), ast.Constant("MaxContributorValue")]:
                return rule(str(name))
        raise ValueError(f"The simulation does not know this call of {function}")

    # Python has the same syntax and precedence, except that it writes `and` and `or` in lower case.
    python = re.sub(r"\b(AND|OR)\b", lambda match: match[0].lower(), expression)
    points: Points = value(ast.parse(python, mode="eval").body)
    return points


def _combine(operation: Callable[[Any, Any], Any], a: Points | float, b: Points | float, no_data: NoData) -> Points:
    """Combine two series, or a series and a number. A missing point is 0 if the other series has a point."""
    series = [operand for operand in (a, b) if isinstance(operand, np.ndarray)]
    missing = np.logical_and.reduce([np.isnan(points) for points in series])
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Points = operation(np.nan_to_num(a), np.nan_to_num(b)).astype(float)
    result[missing | ~np.isfinite(result)] = np.nan  # A division by zero has no point.
    if no_data == "empties the expression":
        for points in series:
            result[:, np.isnan(points).all(axis=0)] = np.nan
    return result


def _fill(points: Points, filler: Any, no_data: NoData) -> Points:
    filled = np.where(np.isnan(points), filler, points)
    return filled if no_data == "is filled" else np.where(np.isnan(points).all(axis=0), np.nan, filled)


def _repeat(points: Points) -> Points:
    filled = points.copy()
    for newer, older in zip(filled[-2::-1], filled[:0:-1], strict=True):
        np.copyto(newer, older, where=np.isnan(newer))
    return filled
