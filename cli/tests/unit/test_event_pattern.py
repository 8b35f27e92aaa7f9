"""Event patterns. The rows are of kinds that AWS's own engine, event-ruler, judged so, or that its README explains."""

import json
from typing import Any, Final

import pytest

from openai_webhooks_cli.event_pattern import EventPattern, InvalidPattern

ABSENT: Final = object()


def event_of(value: Any) -> dict[str, Any]:
    return {} if value is ABSENT else {"x": value}


def matches(pattern: Any, event: dict[str, Any]) -> bool:
    return EventPattern(json.dumps(pattern)).matches(event)


CONDITIONS: Final[list[tuple[Any, list[Any], list[Any]]]] = [
    # Values compare by their JSON types.
    ("a", ["a", ["b", "a"]], ["A", "ab", "", 5, None, [], {}, ABSENT]),
    ("5", ["5"], [5, True]),
    ("", [""], [5, "1", ABSENT]),
    (5, [5, 5.0, [1, 5]], ["5", True, 6]),
    (1, [1, 1.0], [True, "1"]),
    (0.1, [0.1], [0, "0.1"]),
    (3.018e2, [301.8], [301]),
    (True, [True], [1, "true", False]),
    (False, [False], [0, None]),
    (None, [None, ["a", None]], ["null", 0, False, ABSENT]),
    # Texts
    ({"prefix": "ba"}, ["ba", "batch"], ["Batch", "a", 5, ABSENT]),
    ({"prefix": ""}, ["", "a"], [5]),
    ({"prefix": {"equals-ignore-case": "BA"}}, ["batch", "Ba"], ["ab"]),
    ({"suffix": ".png"}, ["a.png"], ["a.PNG", "png"]),
    ({"suffix": ""}, ["openai.com"], [5]),
    ({"suffix": {"equals-ignore-case": ".png"}}, ["a.PNG"], ["a.gif"]),
    ({"equals-ignore-case": "Batch"}, ["batch", "BATCH"], ["batches", 5]),
    ({"equals-ignore-case": "É"}, ["é"], ["e"]),
    # Wildcards
    ({"wildcard": "*"}, ["", "a", "a\nb"], [5, ABSENT]),
    ({"wildcard": "a*b"}, ["ab", "a*b", "axyb"], ["a", "b", "abc", "xab"]),
    ({"wildcard": "*a*"}, ["a", "xax"], ["b"]),
    ({"wildcard": "*.*.*"}, ["a.b.c", "..", "a.b.c.d"], ["a.b"]),
    ({"wildcard": "sip:*25"}, ["sip:+1425", "sip:25"], ["sip:2", "sip:+14255"]),
    ({"wildcard": "ab*ba"}, ["abba", "abxba"], ["aba"]),
    ({"wildcard": "a*a*a"}, ["aaa"], ["aa"]),
    ({"wildcard": "abc"}, ["abc"], ["abcd"]),
    ({"wildcard": "\\*"}, ["*"], ["a", "\\*"]),
    ({"wildcard": "a\\\\b*"}, ["a\\b", "a\\bc"], ["ab"]),
    ({"wildcard": "a" + "*a" * 30 + "*b"}, [], ["a" * 5_000]),
    # Anything but
    ({"anything-but": "a"}, ["b", 5, True, None, ["a", "b"]], ["a", ["a", "a"], [], ABSENT]),
    ({"anything-but": 5}, [6, "5"], [5, 5.0, ABSENT]),
    ({"anything-but": ["a", "b"]}, ["c", True, ["a", "c"]], ["a", "b", ABSENT]),
    ({"anything-but": [1, 5]}, [2, "1"], [1, 5.0]),
    ({"anything-but": {"prefix": "a"}}, ["b", 5], ["ab", ABSENT]),
    ({"anything-but": {"prefix": ["a", "b"]}}, ["c"], ["a", "bc"]),
    ({"anything-but": {"suffix": "a"}}, ["ab", 5], ["ba", ABSENT]),
    ({"anything-but": {"suffix": ["a", "b"]}}, ["c"], ["xb"]),
    ({"anything-but": {"equals-ignore-case": "A"}}, ["b", ["a", "b"]], ["a", "A"]),
    ({"anything-but": {"equals-ignore-case": ["A", "b"]}}, ["c"], ["B"]),
    ({"anything-but": {"wildcard": "*.completed"}}, ["a", 5, ["x.completed", "a"]], ["x.completed", ABSENT]),
    ({"anything-but": {"wildcard": ["a*", "*b"]}}, ["c", 0.1], ["ac", "cb", ABSENT]),
    # Numbers
    ({"numeric": ["=", 5]}, [5, 5.0], [6, "5", True, ABSENT]),
    ({"numeric": [">", 0]}, [0.1, ["a", 1]], [0, -1, "1"]),
    ({"numeric": [">=", 5]}, [5], [4.9]),
    ({"numeric": ["<", 5]}, [-1e9, 4], [5]),
    ({"numeric": ["<=", 5]}, [5], [301.8, "5"]),
    ({"numeric": [">", 0, "<=", 5]}, [1, 5], [0, 6]),
    # Addresses
    ({"cidr": "10.0.0.0/24"}, ["10.0.0.255"], ["10.0.1.0", "a", -1, "10.0.0", ABSENT]),
    ({"cidr": "10.0.0.7/24"}, ["10.0.0.1"], []),
    ({"cidr": "0.0.0.0/0"}, ["1.2.3.4", 10000000000.0], ["2001:db8::1", "0", 5]),
    ({"cidr": "2001:db8::/32"}, ["2001:db8::1", "2001:0db8:0::"], ["2001:db9::1", "10.0.0.1"]),
    # Presence, of a value that is no object and no array
    ({"exists": True}, ["", None, 0, False, ["a"], [{}, 1]], [[], {}, {"y": 1}, ABSENT]),
    ({"exists": False}, [[], {}, {"y": 1}, ABSENT], ["", None, 0, ["a"]]),
]
"""A condition, and values of the field that match and do not match."""


@pytest.mark.parametrize(
    ("condition", "matching", "others"), CONDITIONS, ids=[json.dumps(row[0]) for row in CONDITIONS]
)
def test_value_meets_condition(condition: Any, matching: list[Any], others: list[Any]) -> None:
    for value in matching:
        assert matches({"x": [condition]}, event_of(value)), value
    for value in others:
        assert not matches({"x": [condition]}, event_of(value)), value


HEADERS: Final = {"call": {"headers": [{"name": "From", "value": "a"}, {"name": "To", "value": "b"}]}}
FIELDS: Final[dict[str, tuple[Any, list[Any], list[Any]]]] = {
    "all fields": ({"a": [1], "b": [2]}, [{"a": 1, "b": 2, "c": 3}], [{"a": 1}, {"a": 1, "b": 3}]),
    "one condition of a field": ({"a": [1, {"prefix": "x"}]}, [{"a": 1}, {"a": "xy"}], [{"a": 2}]),
    "absent or a value": ({"a": [{"exists": False}, 1]}, [{}, {"a": 1}], [{"a": 2}]),
    "objects": ({"a": {"b": {"c": [1]}}}, [{"a": {"b": {"c": 1}}}], [{"a": {"b": 1}}, {"a": {"c": 1}}]),
    "a dot in a name": ({"a.b": [1]}, [{"a.b": 1}, {"a": {"b": 1}}], [{"a": 1}]),
    "no condition for an object": ({"a": [1]}, [], [{"a": {"b": 1}}]),
    "array of arrays": ({"a": [1]}, [{"a": [[2], [3, [1]]]}], [{"a": [[2]]}]),
    "object in an array": ({"a": {"b": [1]}}, [{"a": [{"b": 2}, {"b": 1}]}], [{"a": [{"b": 2}, 1]}]),
    "same element of an array": (
        {"call": {"headers": {"name": ["From"], "value": ["a"]}}},
        [HEADERS],
        [{"call": {"headers": [{"name": "From", "value": "b"}, {"name": "To", "value": "a"}]}}],
    ),
    "elements of two arrays": (
        {"a": {"x": [1]}, "b": {"y": [2]}},
        [{"a": [{"x": 0}, {"x": 1}], "b": [{"y": 2}]}],
        [{"a": [{"x": 1}], "b": [{"y": 1}]}],
    ),
    "nested arrays": (
        {"a": {"x": [1], "b": {"y": [2]}}},
        [{"a": [{"x": 0, "b": [{"y": 2}]}, {"x": 1, "b": [{"y": 1}, {"y": 2}]}]}],
        [{"a": [{"x": 1, "b": [{"y": 1}]}, {"x": 0, "b": [{"y": 2}]}]}],
    ),
    "absent in every element": ({"a": {"x": [{"exists": False}]}}, [{"a": [{"y": 1}]}], [{"a": [{"y": 1}, {"x": 1}]}]),
    "$or": (
        {"a": [1], "$or": [{"b": [2]}, {"c": [3]}]},
        [{"a": 1, "b": 2}, {"a": 1, "c": 3}],
        [{"a": 1}, {"b": 2}, {"a": 1, "b": 3}],
    ),
    "$or below": ({"d": {"$or": [{"b": [2]}, {"c": [3]}]}}, [{"d": {"c": 3}}], [{"c": 3}]),
    "$or in $or": (
        {"$or": [{"a": [1]}, {"b": [1], "$or": [{"c": [1]}, {"d": [1]}]}]},
        [{"a": 1}, {"b": 1, "d": 1}],
        [{"b": 1}, {"c": 1}],
    ),
    "$or and the same element": (
        {"a": {"x": [1]}, "$or": [{"a": {"y": [2]}}, {"a": {"y": [3]}}]},
        [{"a": [{"x": 1, "y": 3}]}],
        [{"a": [{"x": 1, "y": 1}, {"x": 2, "y": 3}]}],
    ),
    "$or with the same field": ({"a": [1], "$or": [{"a": [2]}, {"b": [3]}]}, [{"a": 2}, {"a": 1, "b": 3}], [{"a": 1}]),
}
"""A pattern, and events that match and do not match."""


@pytest.mark.parametrize(("pattern", "matching", "others"), FIELDS.values(), ids=FIELDS)
def test_event_matches_fields(pattern: Any, matching: list[Any], others: list[Any]) -> None:
    for event in matching:
        assert matches(pattern, event), event
    for event in others:
        assert not matches(pattern, event), event


INVALID: Final[list[tuple[str, str]]] = [
    ("{", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[]", "not an object"),
    ("{}", "empty objects"),
    ('{"a": {}}', "empty objects"),
    ('{"a": []}', "empty arrays"),
    ('{"a": "b"}', '"a" must be an object or an array'),
    ('{"a": null}', '"a" must be an object or an array'),
    ('{"a": {"prefix": "b"}}', '"prefix" must be an object or an array'),
    ('{"a": [["b"]]}', "a value must be"),
    ('{"a": [{}]}', "exactly one key"),
    ('{"a": [{"prefix": "a", "suffix": "b"}]}', "exactly one key"),
    ('{"a": [{"prefx": "a"}]}', "unrecognized operator prefx"),
    ('{"a": [{"prefix": ["a", "b"]}]}', "prefix must be a string"),
    ('{"a": [{"prefix": 1}]}', "prefix must be a string"),
    ('{"a": [{"suffix": {"equals-ignore-case": 1}}]}', "suffix must be a string"),
    ('{"a": [{"suffix": {"wildcard": "a"}}]}', "suffix accepts only"),
    ('{"a": [{"equals-ignore-case": 1}]}', "equals-ignore-case must be a string"),
    ('{"a": [{"wildcard": 1}]}', "wildcard must be a string"),
    ('{"a": [{"wildcard": "a**b"}]}', "consecutive"),
    (r'{"a": [{"wildcard": "\\x"}]}', "backslash"),
    (r'{"a": [{"wildcard": "a\\"}]}', "backslash"),
    ('{"a": [{"exists": "yes"}]}', "exists must be"),
    ('{"a": [{"cidr": 1}]}', "cidr must be a string"),
    ('{"a": [{"cidr": "10.0.0.0"}]}', "mask"),
    ('{"a": [{"cidr": "10.0.0.0/32"}]}', "less than 32"),
    ('{"a": [{"cidr": "10.0.0.0/99"}]}', "cidr"),
    ('{"a": [{"cidr": "x/8"}]}', "cidr"),
    ('{"a": [{"numeric": 5}]}', "numeric must be a list"),
    ('{"a": [{"numeric": []}]}', "numeric must be a list"),
    ('{"a": [{"numeric": ["~", 1]}]}', "unrecognized numeric operator ~"),
    ('{"a": [{"numeric": [">"]}]}', "the value of > must be numeric"),
    ('{"a": [{"numeric": [">", "1"]}]}', "must be numeric"),
    ('{"a": [{"numeric": ["=", true]}]}', "must be numeric"),
    ('{"a": [{"numeric": [">", 5, "<", 1]}]}', "less than its top"),
    ('{"a": [{"numeric": ["<", 5, ">", 1]}]}', "a numeric range is"),
    ('{"a": [{"numeric": [">", 1, "<", 5, "<", 6]}]}', "a numeric range is"),
    ('{"a": [{"anything-but": null}]}', "the value of anything-but"),
    ('{"a": [{"anything-but": true}]}', "the value of anything-but"),
    ('{"a": [{"anything-but": []}]}', "in the list of anything-but"),
    ('{"a": [{"anything-but": ["a", 1]}]}', "in the list of anything-but"),
    ('{"a": [{"anything-but": {"numeric": [">", 1]}}]}', "anything-but: numeric"),
    ('{"a": [{"anything-but": {"prefix": []}}]}', "empty arrays"),
    ('{"a": [{"anything-but": {"prefix": ""}}]}', "an empty prefix"),
    ('{"a": [{"anything-but": {"prefix": 1}}]}', "prefix must be a string"),
    ('{"$or": [{"a": [1]}]}', "at least two"),
    ('{"$or": ["a", "b"]}', "list of at least two objects"),
    ('{"$or": {"a": [1]}}', "list of at least two objects"),
    ('{"$or": [{"a": [1]}, {}]}', "empty objects"),
    ('{"$or": [{"a": {"prefix": [1]}}, {"b": [1]}]}', "prefix is the name of an operator"),
    (json.dumps({"$or": [{str(n): [1]} for n in range(1_001)]}), "1,000"),
]


@pytest.mark.parametrize(("pattern", "reason"), INVALID, ids=[row[0][:60] for row in INVALID])
def test_invalid_pattern_is_refused_with_reason(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidPattern, match=reason):
        EventPattern(pattern)


EVENT: Final = {"source": "openai.com", "detail-type": "batch.failed", "detail": {"data": {"id": "b1"}} | HEADERS}
REASONS: Final[list[tuple[Any, str]]] = [
    (
        {"source": ["openai.com"], "detail-type": ["batch.completed"]},
        "detail-type is batch.failed, the rule wants batch.completed",
    ),
    ({"detail-type": [{"prefix": "video."}]}, 'detail-type is batch.failed, the rule wants {"prefix": "video."}'),
    ({"detail": {"data": {"id": ["b2"]}}}, "detail.data.id is not b2"),
    ({"detail": {"error": [1]}}, "the event has no detail.error, the rule wants 1"),
    (
        {"detail": {"call": {"headers": {"name": ["From"], "value": ["b"]}}}},
        "detail.call.headers.value matches only in another element than the fields before it",
    ),
    # Of alternatives, the one of which most fields match.
    (
        {"$or": [{"source": ["a"]}, {"source": ["openai.com"], "detail-type": ["b"]}]},
        "detail-type is batch.failed, the rule wants b",
    ),
]


@pytest.mark.parametrize(("pattern", "reason"), REASONS)
def test_mismatch_has_reason(pattern: Any, reason: str) -> None:
    mismatch = EventPattern(json.dumps(pattern)).mismatch(EVENT)
    assert mismatch
    assert mismatch.text(with_payload=False) == reason


def test_reason_has_payload_only_where_it_may() -> None:
    mismatch = EventPattern('{"detail": {"data": {"id": ["b2"]}}}').mismatch(EVENT)
    assert mismatch
    assert mismatch.text(with_payload=True) == "detail.data.id is b1, the rule wants b2"
