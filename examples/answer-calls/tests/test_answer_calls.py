"""The caller's number in a From header, and the answer to a call; and what is special in the template."""

import json
import re
import time
from typing import Any, Final

import pytest
from hypothesis import example, given, strategies as st
from moto.events.models import EventPattern

from caller import EVERYBODY, answer_to, caller_number, number_in
from examples.tests.support.example_functions import SECONDS_FOR_AWS
from examples.tests.support.templates import EXAMPLES
from openai_webhooks import CATALOG, SipHeader

STACK: Final = EXAMPLES["answer-calls"].defaults
NUMBER: Final = "+14155550100"
OTHER: Final = "+14155550199"

NUMBERS: Final = {
    # From OpenAI's example of the event.
    "address": f"sip:{NUMBER}@sip.example.com",
    "address with a tag": f"sip:{NUMBER}@sip.example.com;tag=a6c85cf",
    "brackets": f"<sip:{NUMBER}@sip.example.com>",
    "brackets with parameters": f"<sip:{NUMBER}@sip.example.com;user=phone;transport=tls>;tag=a6c85cf",
    "name of words": f"Alice Example <sip:{NUMBER}@sip.example.com>;tag=a6c85cf",
    "name with an accent": f"Zoë <sip:{NUMBER}@sip.example.com>",
    "quoted name": f'"Alice" <sip:{NUMBER}@sip.example.com>;tag=a6c85cf',
    "quoted name without a space": f'"Alice"<sip:{NUMBER}@sip.example.com>',
    "number as name": f'"{NUMBER}" <sip:{NUMBER}@sip.example.com>',
    "address in the name": f'"Mallory <sip:{OTHER}@sip.example.com> x" <sip:{NUMBER}@sip.example.com>;tag=1',
    "escaped quote in the name": rf'"a \" <sip:{OTHER}@sip.example.com> \\" <sip:{NUMBER}@sip.example.com>',
    "sips": f"<sips:{NUMBER}@sip.example.com>",
    "upper case": f"<SIP:{NUMBER}@SIP.EXAMPLE.COM>",
    "white space": f"  <sip:{NUMBER}@sip.example.com> ;tag=1 ",
    "port": f"sip:{NUMBER}@sip.example.com:5061",
    "IPv4": f"sip:{NUMBER}@192.0.2.1:5060",
    "IPv6": f"<sip:{NUMBER}@[2001:db8::1]:5060>",
    "headers of the address": f"<sip:{NUMBER}@sip.example.com?subject=x>",
    "password": f"<sip:{NUMBER}:secret@sip.example.com>",
    "parameters of the number": f"<sip:{NUMBER};npdi;rn=+14155550000@sip.example.com;user=phone>",
    "encoded plus": "<sip:%2B14155550100@sip.example.com>",
    "encoded digits": "<sip:+1415%35%35%350100@sip.example.com>",
    "separators": "<sip:+1-415.555(01)00@sip.example.com>",
    "tel": f"tel:{NUMBER}",
    "tel, upper case": f"<TEL:{NUMBER}>",
    "line break after the address": f"<sip:{NUMBER}@sip.example.com>\r\n",
    "tel with separators": "<tel:+1-415-555-0100>;tag=1",
    "tel with parameters": "<tel:+1(415)555-0100;ext=1>",
}
"""Values whose number is NUMBER."""

NO_NUMBER: Final = {
    "empty": "",
    "white space": "   ",
    "anonymous": '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1',
    "user without a number": "<sip:alice@sip.example.com>",
    "no user": "<sip:sip.example.com>",
    "number as host": f"<sip:{NUMBER}>",
    "no host": f"<sip:{NUMBER}@>",
    "number in the host": f"<sip:alice@{NUMBER}>",
    "number in a parameter": f"<sip:alice@sip.example.com;phone={NUMBER}>",
    "number in the tag": f"<sip:alice@sip.example.com>;tag={NUMBER}",
    "number in the password": f"<sip:alice:{NUMBER}@sip.example.com>",
    "number in the name": f'"{NUMBER}" <sip:alice@sip.example.com>',
    "address only in the name": f'"<sip:{NUMBER}@sip.example.com>"',
    "open quote": f'"Alice <sip:{NUMBER}@sip.example.com>',
    "quote after the address": f'<sip:{NUMBER}@sip.example.com> "Alice"',
    "two addresses": f"<sip:{NUMBER}@sip.example.com>, <sip:{OTHER}@sip.example.com>",
    "two addresses without a comma": f"<sip:{NUMBER}@sip.example.com> <sip:{OTHER}@sip.example.com>",
    "headers of an address without brackets": f"sip:{NUMBER}@sip.example.com?subject=x",
    "number before the address": f"tel:{OTHER}, <sip:{NUMBER}@sip.example.com>",
    "address with a comma in the name": f"sip:{OTHER}@host, x <sip:{NUMBER}@sip.example.com>",
    "address in a parameter of the header": f"<sip:{NUMBER}@sip.example.com>;x=<sip:{OTHER}@host>",
    "two at signs in parameters": f"<sip:{NUMBER}@sip.example.com;x=a@host>",
    "letters of other alphabets in the host": f"<sip:{NUMBER}@\u0435xample.com>",
    "space in the host": f"<sip:{NUMBER}@sip .example.com>",
    "address before brackets": f"sip:{NUMBER}@sip.example.com <sip:alice@sip.example.com>",
    "address in a parameter": f"<sip:alice@sip.example.com>;x=<sip:{NUMBER}@sip.example.com>",
    "open bracket": f"<sip:{NUMBER}@sip.example.com",
    "nested brackets": f"<<sip:{NUMBER}@sip.example.com>>",
    "two at signs": f"<sip:{NUMBER}@evil.example.com@sip.example.com>",
    "encoded at sign": f"<sip:{NUMBER}%40sip.example.com>",
    "encoded semicolon": f"<sip:{NUMBER}%3Bx@sip.example.com>",
    "encoded twice": "<sip:%252B14155550100@sip.example.com>",
    "invalid encoding": "<sip:%2+14155550100@sip.example.com>",
    "encoded plus in tel": "<tel:%2B14155550100>",
    "no plus": "<sip:14155550100@sip.example.com>",
    "national number": "<sip:4155550100@sip.example.com>",
    "international prefix": "<sip:0014155550100@sip.example.com>",
    "local tel": "<tel:0100;phone-context=+1415555>",
    "plus only": "<sip:+@sip.example.com>",
    "separators only": "<sip:+--@sip.example.com>",
    "separator before the plus": "<sip:-+14155550100@sip.example.com>",
    "two pluses": "<sip:++14155550100@sip.example.com>",
    "country code 0": "<sip:+04155550100@sip.example.com>",
    "too long for E.164": "<sip:+1234567890123456@sip.example.com>",
    "letters": "<sip:+1415FLOWERS@sip.example.com>",
    "Arabic digits": "<sip:+١٤١٥٥٥٥٠١٠٠@sip.example.com>",
    "full-width plus": "<sip:\uff0b14155550100@sip.example.com>",
    "space in the number": "<sip:+1415 5550100@sip.example.com>",
    "number without a scheme": NUMBER,
    "no scheme": f"<{NUMBER}@sip.example.com>",
    "other scheme": f"<mailto:{NUMBER}@sip.example.com>",
    "scheme within a scheme": f"<x-sip:{NUMBER}@sip.example.com>",
    "line break": f"<sip:{NUMBER}@sip.example.com>\r\nFrom: <sip:{OTHER}@sip.example.com>",
    "null": f"<sip:{NUMBER}\x00@sip.example.com>",
    "lone surrogate": f"\udcff <sip:{NUMBER}@sip.example.com>",
    "too long": f'"{"x" * 1_000}" <sip:{NUMBER}@sip.example.com>',
}
"""Values without a caller's number."""

SLOW: Final = {
    "spaces": " " * 1_000,
    "open quote": '"' + "a" * 1_000,
    "spaces in the middle": "a" + " " * 1_000 + "<",
    "escapes": '"' + "\\" * 1_001,
    "escaped quotes": '"' + '\\"' * 500,
    "quotes": '"' * 1_000,
    "brackets": "<" * 1_000,
    "semicolons": "<sip:a@b>" + "; " * 500 + "<",
    "dashes": "sip:+" + "-" * 1_000,
    "colons": "sip:" + "a:" * 500 + "@",
    "at signs": "sip:" + "a@" * 500,
    "percent signs": "sip:" + "%" * 1_000 + "@b",
}
"""Values that could make a regular expression slow."""

A_PART = st.sampled_from(
    ['"', "\\", "<", ">", "sip:", "sips:", "tel:", NUMBER, OTHER, "@", "host", ":", ";", "tag=1", ",", "%2B", " ", "-"]
)


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS)
def test_number_is_that_of_address(value: str) -> None:
    assert number_in(value) == NUMBER


@pytest.mark.parametrize("value", NO_NUMBER.values(), ids=NO_NUMBER)
def test_value_has_no_number(value: str) -> None:
    assert number_in(value) is None


@pytest.mark.parametrize("value", SLOW.values(), ids=SLOW)
def test_hostile_value_takes_linear_time(value: str) -> None:
    started = time.process_time()

    assert number_in(value) is None
    assert time.process_time() - started < 0.05


@given(st.text() | st.lists(A_PART).map("".join))
@example(f"<sip:{NUMBER}@host>")
def test_any_text_has_e164_number_or_none(value: str) -> None:
    number = number_in(value)

    assert number is None or re.fullmatch(r"\+[1-9][0-9]{1,14}", number)


@given(name=st.text(), tag=st.text(alphabet="abc0123456789.-"))
def test_number_never_comes_from_quoted_name(name: str, tag: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')

    assert number_in(f'"{quoted}" <sip:alice@sip.example.com>;tag={tag}') is None
    assert number_in(f'"{quoted}" <sip:{NUMBER}@sip.example.com>;tag={tag}') in {NUMBER, None}


@given(before=st.lists(A_PART).map("".join), after=st.lists(A_PART).map("".join))
def test_number_is_in_last_brackets(before: str, after: str) -> None:
    number = number_in(f"{before}<sip:+12025550123@host>{after}")

    assert number in {"+12025550123", None}


@given(st.lists(st.tuples(st.text(), st.text())))
def test_any_headers_get_answer(headers: list[tuple[str, str]]) -> None:
    answer = answer_to([SipHeader(name=name, value=value) for name, value in headers], frozenset({NUMBER}))

    assert answer.action == "reject"


HEADERS: Final[dict[str, tuple[list[tuple[str, str]], str | None]]] = {
    "one From": ([("To", "sip:+18005550100@host"), ("From", f"sip:{NUMBER}@host")], NUMBER),
    "lower case": ([("from", f"sip:{NUMBER}@host")], NUMBER),
    "compact form": ([("f", f"sip:{NUMBER}@host")], NUMBER),
    "compact form, upper case": ([("F", f"sip:{NUMBER}@host")], NUMBER),
    "white space around the name": ([("From ", f"sip:{NUMBER}@host")], NUMBER),
    "no headers": ([], None),
    "no From": ([("To", f"sip:{NUMBER}@host")], None),
    "two From": ([("From", f"sip:{NUMBER}@host"), ("From", f"sip:{OTHER}@host")], None),
    "two equal From": ([("From", f"sip:{NUMBER}@host"), ("From", f"sip:{NUMBER}@host")], None),
    "From in both forms": ([("From", f"sip:{NUMBER}@host"), ("f", f"sip:{OTHER}@host")], None),
    "second From with a space": ([("From", f"sip:{NUMBER}@host"), ("from\t", f"sip:{OTHER}@host")], None),
    "second From empty": ([("From", f"sip:{NUMBER}@host"), ("From", "")], None),
    # A caller can send these too, and a trunk may pass them on.
    "asserted identity": ([("P-Asserted-Identity", f"<sip:{NUMBER}@host>")], None),
    "other identities": ([("From", f"sip:{OTHER}@host"), ("P-Preferred-Identity", f"sip:{NUMBER}@host")], OTHER),
}


@pytest.mark.parametrize(("headers", "expected"), HEADERS.values(), ids=HEADERS)
def test_caller_is_in_only_from_header(headers: list[tuple[str, str]], expected: str | None) -> None:
    assert caller_number(SipHeader(name=name, value=value) for name, value in headers) == expected


ANSWERS: Final[dict[str, tuple[str, set[str], tuple[str, str]]]] = {
    "allowed": (f"sip:{NUMBER}@host", {OTHER, NUMBER}, ("accept", "caller_allowed")),
    "not allowed": (f"sip:{OTHER}@host", {NUMBER}, ("reject", "caller_not_allowed")),
    "prefix of an allowed number": ("sip:+1415555010@host", {NUMBER}, ("reject", "caller_not_allowed")),
    "no number": ("sip:anonymous@host", {NUMBER}, ("reject", "no_single_caller")),
    "nobody is allowed": (f"sip:{NUMBER}@host", set(), ("reject", "caller_not_allowed")),
    "nobody is allowed, no number": ("sip:anonymous@host", set(), ("reject", "no_single_caller")),
    "everybody is allowed": (f"sip:{OTHER}@host", {"*"}, ("accept", "everybody_allowed")),
    "everybody is allowed, no number": ("sip:anonymous@host", {"*"}, ("accept", "everybody_allowed")),
    "star among numbers": (f"sip:{OTHER}@host", {"*", NUMBER}, ("reject", "caller_not_allowed")),
    "star as user": ("sip:*@host", {"*", NUMBER}, ("reject", "no_single_caller")),
}


@pytest.mark.parametrize(("value", "allowed", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_answer_follows_allow_list(value: str, allowed: set[str], expected: tuple[str, str]) -> None:
    assert answer_to([SipHeader(name="From", value=value)], frozenset(allowed)) == expected


def test_everybody_is_allowed_without_headers() -> None:
    assert answer_to([], EVERYBODY) == ("accept", "everybody_allowed")


ALLOWED_CALLERS: Final = {
    "": True,
    "*": True,
    NUMBER: True,
    "+12": True,
    "+123456789012345": True,
    "+1234567890123456": False,
    "14155550100": False,
    "+1-415-555-0100": False,
    "+1 415 555 0100": False,
    "+04155550100": False,
    "+1*": False,
    "**": False,
    "alice": False,
    f"{NUMBER}\n": False,
}
"""Items of the parameter, and whether CloudFormation accepts them."""


@pytest.mark.parametrize(("item", "accepted"), ALLOWED_CALLERS.items(), ids=map(repr, ALLOWED_CALLERS))
def test_parameter_accepts_e164_numbers(item: str, accepted: bool) -> None:  # noqa: FBT001
    pattern = STACK.parameters["AllowedCallers"]["AllowedPattern"]

    # CloudFormation matches the whole item, as Java's `matches` does.
    assert bool(re.fullmatch(pattern, item)) is accepted


def test_nobody_is_allowed_by_default() -> None:
    assert variables()["ALLOWED_CALLERS"] == ""


def test_environment_fits_in_4_kb() -> None:
    callers = ",".join(f"+1415555{number:04}" for number in range(100))
    instructions = "x" * int(STACK.parameters["Instructions"]["MaxLength"])

    # Lambda's limit: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    assert len(json.dumps(variables(AllowedCallers=callers, Instructions=instructions))) < 4_096


@pytest.mark.parametrize("event_type", CATALOG)
def test_only_incoming_calls_are_handled(event_type: str) -> None:
    pattern = EventPattern.load(json.dumps(STACK.value(STACK.properties("AnswerCallFunctionRule")["EventPattern"])))
    event: Any = {"source": "openai.com", "detail-type": event_type, "detail": {}}

    assert pattern.matches_event(event) == (event_type == "realtime.call.incoming")


def test_function_has_least_privilege() -> None:
    allowed = {
        action: statement["Resource"]
        for policy in STACK.properties("AnswerCallFunctionRole")["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    table = {"Fn::GetAtt": ["HandledEventsTable", "Arn"]}

    assert {action: allowed[action] for action in allowed if action.startswith("dynamodb:")} == {
        "dynamodb:PutItem": table,
        "dynamodb:UpdateItem": table,
        "dynamodb:DeleteItem": table,
    }
    assert len(allowed) == 5  # and the API key, and the dead-letter queue


def test_function_outlasts_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name, value in variables().items():
        monkeypatch.setenv(name, str(value))
    from answer_call import CALLS  # noqa: PLC0415  # the module reads the environment

    openai: Any = 2 * CALLS._client.timeout  # type: ignore[operator]  # seconds
    aws = 3 * SECONDS_FOR_AWS  # the API key, the claim, the result
    assert STACK.properties("AnswerCallFunction")["Timeout"] > openai + aws


def test_reject_status_is_a_refusal() -> None:
    declared = STACK.parameters["RejectStatusCode"]

    # RFC 3261, section 21: 4xx, 5xx and 6xx.
    assert (declared["MinValue"], declared["MaxValue"]) == (400, 699)


def test_function_has_full_vcpu() -> None:
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
    assert STACK.properties("AnswerCallFunction")["MemorySize"] >= 1_769


def test_schedule_keeps_instance_running_and_key_cached() -> None:
    rule = STACK.properties("AnswerCallFunctionKeepRunning")
    [target] = rule["Targets"]

    # The API key stays in the cache for 5 minutes. Lambda keeps an instance for longer than that.
    assert rule["ScheduleExpression"] == "rate(4 minutes)"
    assert rule.get("State", "ENABLED") == "ENABLED"
    assert target["Arn"] == {"Fn::GetAtt": ["AnswerCallFunction", "Arn"]}
    assert "Input" not in target  # the function recognizes the schedule by the event's source


def variables(**parameters: str) -> dict[str, Any]:
    stack = EXAMPLES["answer-calls"].at(**parameters)
    declared: dict[str, Any] = stack.value(stack.properties("AnswerCallFunction")["Environment"]["Variables"])
    return declared
