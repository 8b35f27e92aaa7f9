"""Event patterns, matched as EventBridge matches them, and why an event does not match.

The reference is AWS's own engine, https://github.com/aws/event-ruler, and the guide:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from itertools import count
from typing import Any, Final, NamedTuple

Json = Any
Elements = Mapping[int, int]
"""The elements of arrays that a value is in: by the array's number, the element's index."""
Alternative = Mapping[str, Sequence[Json]]
"""The conditions of each field, such as `detail.data.id`. All fields have to match, and one condition of each."""

_MAX_ALTERNATIVES: Final = 1_000
"""EventBridge refuses a pattern whose `$or` have more combinations."""


class InvalidPattern(ValueError):
    """EventBridge refuses the pattern. The text says why."""


class Mismatch(NamedTuple):
    """The first field of a pattern that an event does not match."""

    field: str
    """Such as `detail.data.id`."""
    found: tuple[Json, ...]
    """The field's values in the event: several in an array, none if the event has no such field."""
    wanted: Sequence[Json]
    """The field's conditions in the pattern."""
    matched: int
    """The number of fields before it, which match."""
    matches_elsewhere: bool = False
    """Whether the field matches, but in another element of an array than the fields before it."""

    def text(self, *, with_payload: bool) -> str:
        """Return the reason, for people. Without `with_payload`, it has no value of `detail`."""
        wanted = " or ".join(map(_shown, self.wanted))
        if not self.found:
            return f"the event has no {self.field}, the rule wants {wanted}"
        if self.matches_elsewhere:
            return f"{self.field} matches only in another element than the fields before it"
        if self.field.startswith("detail.") and not with_payload:
            return f"{self.field} is not {wanted}"
        return f"{self.field} is {', '.join(map(_shown, self.found))}, the rule wants {wanted}"


class EventPattern:
    """The pattern of a rule."""

    def __init__(self, pattern: str) -> None:
        """`pattern` is JSON. Raises InvalidPattern."""
        try:
            fields = json.loads(pattern)
        except (ValueError, RecursionError) as error:
            raise InvalidPattern(f"the pattern is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise InvalidPattern("the pattern is not an object")
        self._alternatives = _alternatives(fields, "", in_or=False)
        used = {field for alternative in self._alternatives for field in alternative}
        self._paths = {field[:end] for field in used for end in _ends(field)}
        """The fields, and the objects that they are in."""

    def matches(self, event: Mapping[str, Json]) -> bool:
        """Return whether the pattern matches an event as the bus passes it to targets."""
        return self.mismatch(event) is None

    def mismatch(self, event: Mapping[str, Json]) -> Mismatch | None:
        """Return the first field that does not match, or None if the event matches.

        If the pattern has alternatives (`$or`), it is the one of which most fields match.
        """
        values: Values = {}
        _collect(event, "", {}, self._paths, count(), values)
        mismatches = []
        for alternative in self._alternatives:
            mismatch = _compare(alternative, values)
            if not mismatch:
                return None
            mismatches.append(mismatch)
        return max(mismatches, key=lambda mismatch: mismatch.matched)


# ---- The event ----


Values = dict[str, list[tuple[Json, Elements]]]
"""By field: the values that are no object and no array, with the elements of arrays that they are in."""


def _collect(
    node: Json, field: str, elements: Elements, paths: Container[str], numbers: Iterator[int], values: Values
) -> None:
    """Add the values under a node to `values`, as far as `paths` has their fields."""
    if isinstance(node, Mapping):
        for name, child in node.items():
            path = _join(field, name)
            if path in paths:
                _collect(child, path, elements, paths, numbers, values)
    elif isinstance(node, list):
        array = next(numbers)
        for index, child in enumerate(node):
            _collect(child, field, {**elements, array: index}, paths, numbers, values)
    else:
        values.setdefault(field, []).append((node, elements))


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _ends(field: str) -> Iterator[int]:
    """Yield where each name in a field ends."""
    yield from (index for index, character in enumerate(field) if character == ".")
    yield len(field)


def _compare(alternative: Alternative, values: Values) -> Mismatch | None:
    """Return the first field that does not match, or None.

    Fields of objects in an array have to match in the same element.
    """
    arrays = ({array for _, elements in values.get(field, ()) for array in elements} for field in alternative)
    uses = Counter(array for used in arrays for array in used)
    chosen: set[frozenset[tuple[int, int]]] = {frozenset()}
    """The elements in which all fields so far match: an entry for each way to choose them."""
    for number, (field, conditions) in enumerate(alternative.items()):
        found = values.get(field, [])
        if not found and any(condition == {"exists": False} for condition in conditions):
            continue
        matching = {
            # An array that only one field uses restricts no other field.
            frozenset(item for item in elements.items() if uses[item[0]] > 1)
            for value, elements in found
            if any(_matches(condition, value) for condition in conditions)
        }
        consistent = {old | new for old in chosen for new in matching if _is_consistent(old | new)}
        if not consistent:
            return Mismatch(field, tuple(value for value, _ in found), conditions, number, bool(matching))
        chosen = consistent
    return None


def _is_consistent(elements: frozenset[tuple[int, int]]) -> bool:
    return len(elements) == len({array for array, _ in elements})


def _matches(condition: Json, value: Json) -> bool:
    """Return whether a value that is present meets a condition."""
    if not isinstance(condition, dict):
        return _equals(condition, value)
    [(operator, argument)] = condition.items()
    return _TESTS[operator](argument, value)


def _equals(wanted: Json, value: Json) -> bool:
    # In Python, 1 == True.
    return wanted == value and (type(wanted) is type(value) or (_is_number(wanted) and _is_number(value)))


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _is_anything_but(argument: Json, value: Json) -> bool:
    if isinstance(argument, dict):
        [(operator, items)] = argument.items()
        return not any(_TESTS[operator](item, value) for item in _list(items))
    return not any(_equals(item, value) for item in _list(argument))


def _is_in_range(comparisons: Json, value: Json) -> bool:
    pairs = zip(comparisons[::2], comparisons[1::2], strict=True)
    return _is_number(value) and all(_COMPARE[sign](value, bound) for sign, bound in pairs)


def _is_in_network(network: str, value: Json) -> bool:
    if _is_number(value):
        # An accident of the engine: it takes the first eight digits of a number for a hexadecimal address.
        digits = re.match(r"\d{8}", json.dumps(value))
        return digits is not None and ip_address(int(digits[0], 16)) in ip_network(network, strict=False)
    try:
        return isinstance(value, str) and ip_address(value) in ip_network(network, strict=False)
    except ValueError:
        return False


def _on_text(compare: Callable[[str, str], bool]) -> Callable[[Json, Json], bool]:
    """Return a comparison of a value with a text, or with `{"equals-ignore-case": text}`."""

    def compared(argument: Json, value: Json) -> bool:
        if not isinstance(value, str):
            return False
        if isinstance(argument, dict):
            return compare(argument["equals-ignore-case"].lower(), value.lower())
        return compare(argument, value)

    return compared


def _wildcard(pattern: str, value: str) -> bool:
    # Split at each * that is not escaped. A regular expression could take very long.
    first, *others = (re.sub(r"\\(.)", r"\1", part) for part in re.findall(r"(?:^|\*)((?:[^*\\]|\\.)*)", pattern))
    if not others:
        return value == first
    if not value.startswith(first):
        return False
    position = len(first)
    for part in others[:-1]:
        position = value.find(part, position)
        if position < 0:
            return False
        position += len(part)
    return value.endswith(others[-1]) and position <= len(value) - len(others[-1])


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": lambda value, bound: value == bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}
_TESTS: Final[Mapping[str, Callable[[Json, Json], bool]]] = {
    "prefix": _on_text(lambda start, value: value.startswith(start)),
    "suffix": _on_text(lambda end, value: value.endswith(end)),
    "equals-ignore-case": _on_text(lambda text, value: text.lower() == value.lower()),
    "wildcard": _on_text(_wildcard),
    "anything-but": _is_anything_but,
    "numeric": _is_in_range,
    "cidr": _is_in_network,
    "exists": lambda is_wanted, _: bool(is_wanted),
}
"""By operator: compares its argument with a value that is present."""


# ---- The pattern ----


def _alternatives(fields: Mapping[str, Json], field: str, *, in_or: bool) -> list[Alternative]:
    """Return the alternatives that an object of a pattern describes. Raises InvalidPattern."""
    if not fields:
        raise InvalidPattern("empty objects are not allowed")
    found: list[Alternative] = [{}]
    for name, child in fields.items():
        if name == "$or":
            if not isinstance(child, list) or len(child) < 2 or not all(isinstance(item, dict) for item in child):
                raise InvalidPattern("$or must be a list of at least two objects")
            choices = [choice for item in child for choice in _alternatives(item, field, in_or=True)]
        elif in_or and name in _TESTS:
            raise InvalidPattern(f"{name} is the name of an operator, which no field in $or can have")
        elif isinstance(child, dict):
            choices = _alternatives(child, _join(field, name), in_or=in_or)
        elif isinstance(child, list):
            _check_conditions(child)
            choices = [{_join(field, name): child}]
        else:
            raise InvalidPattern(f'"{name}" must be an object or an array')
        found = [{**alternative, **choice} for alternative in found for choice in choices]
        if len(found) > _MAX_ALTERNATIVES:
            raise InvalidPattern("the combinations of $or are more than 1,000")
    return found


def _check_conditions(conditions: Sequence[Json]) -> None:
    if not conditions:
        raise InvalidPattern("empty arrays are not allowed")
    for condition in conditions:
        if isinstance(condition, list):
            raise InvalidPattern("a value must be a string, a number, true, false or null")
        if isinstance(condition, dict):
            _check_operator(*_only_key(condition))


def _only_key(condition: Mapping[str, Json]) -> tuple[str, Json]:
    if len(condition) != 1:
        raise InvalidPattern("an operator is an object with exactly one key")
    return next(iter(condition.items()))


def _check_operator(operator: str, argument: Json) -> None:
    match operator:
        case "prefix" | "suffix" if isinstance(argument, dict):
            name, text = _only_key(argument)
            if name != "equals-ignore-case":
                raise InvalidPattern(f"{operator} accepts only a string or equals-ignore-case")
            _require_text(operator, text)
        case "prefix" | "suffix" | "equals-ignore-case":
            _require_text(operator, argument)
        case "wildcard":
            _require_text(operator, argument)
            _check_wildcard(argument)
        case "exists":
            if not isinstance(argument, bool):
                raise InvalidPattern("exists must be either true or false")
        case "cidr":
            _require_text(operator, argument)
            _check_network(argument)
        case "numeric":
            _check_numeric(argument)
        case "anything-but":
            _check_anything_but(argument)
        case _:
            raise InvalidPattern(f"unrecognized operator {operator}")


def _require_text(operator: str, argument: Json) -> None:
    if not isinstance(argument, str):
        raise InvalidPattern(f"{operator} must be a string")


def _check_wildcard(text: str) -> None:
    if re.sub(r"\\[\\*]", "", text).count("\\"):
        raise InvalidPattern(r"in a wildcard, a backslash can only escape * and itself: \* and \\")
    if "**" in re.sub(r"\\.", "-", text):
        raise InvalidPattern("consecutive wildcard characters")


def _check_network(text: str) -> None:
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidPattern(f"cidr: {error}") from None
    if "/" not in text or network.prefixlen == network.max_prefixlen:
        raise InvalidPattern(f"the mask of a cidr must be less than {network.max_prefixlen} bits")


def _check_numeric(comparisons: Json) -> None:
    if not isinstance(comparisons, list) or not comparisons:
        raise InvalidPattern("numeric must be a list of comparisons")
    signs, bounds = comparisons[::2], comparisons[1::2]
    for sign in signs:
        if sign not in _COMPARE:
            raise InvalidPattern(f"unrecognized numeric operator {sign}")
    if len(bounds) < len(signs) or not all(map(_is_number, bounds)):
        raise InvalidPattern(f"the value of {signs[0]} must be numeric")
    if len(signs) > 2 or (len(signs) == 2 and not (signs[0] in (">", ">=") and signs[1] in ("<", "<="))):
        raise InvalidPattern('a numeric range is [">" or ">=", number, "<" or "<=", number]')
    if len(bounds) == 2 and bounds[0] >= bounds[1]:
        raise InvalidPattern("the bottom of a numeric range must be less than its top")


def _check_anything_but(argument: Json) -> None:
    if isinstance(argument, dict):
        operator, items = _only_key(argument)
        if operator not in ("prefix", "suffix", "equals-ignore-case", "wildcard"):
            raise InvalidPattern(f"unsupported operator in anything-but: {operator}")
        if items == []:
            raise InvalidPattern("empty arrays are not allowed")
        for item in _list(items):
            _check_operator(operator, item)
            if operator in ("prefix", "suffix") and not item:
                raise InvalidPattern(f"an empty {operator} is not allowed in anything-but")
        return
    items = _list(argument)
    if not isinstance(argument, list) and not (isinstance(argument, str) or _is_number(argument)):
        raise InvalidPattern("the value of anything-but must be an array, a string or a number")
    if not items or not (all(isinstance(item, str) for item in items) or all(map(_is_number, items))):
        raise InvalidPattern("in the list of anything-but, all values must be strings, or all numbers")
