"""The caller's number in a From header, and the answer to a call."""

import re
import time
from typing import Final

from hypothesis import example, given, strategies as st

from caller import EVERYBODY, answer_to, caller_number, number_in
from openai_webhooks import SipHeader

NUMBER: Final = "+14155550100"
OTHER: Final = "+14155550199"

NUMBERS: Final = {
    # From OpenAI's example of the event.
    "address": f"sip:{NUMBER}@sip.example.com",
    "address with a tag": f"sip:{NUMBER}@sip.example.com;tag=a6c85cf",
    "brackets with parameters": f"<sip:{NUMBER}@sip.example.com;user=phone;transport=tls>;tag=a6c85cf",
    "name of words": f"Alice Example <sip:{NUMBER}@sip.example.com>;tag=a6c85cf",
    "name with an accent": f"Zoë <sip:{NUMBER}@sip.example.com>",
    "quoted name without a space": f'"Alice"<sip:{NUMBER}@sip.example.com>',
    "number as name": f'"{NUMBER}" <sip:{NUMBER}@sip.example.com>',
    "address in the name": f'"Mallory <sip:{OTHER}@sip.example.com> x" <sip:{NUMBER}@sip.example.com>;tag=1',
    "escaped quote in the name": rf'"a \" <sip:{OTHER}@sip.example.com> \\" <sip:{NUMBER}@sip.example.com>',
    "sips": f"<sips:{NUMBER}@sip.example.com>",
    "upper case": f"<SIP:{NUMBER}@SIP.EXAMPLE.COM>",
    "white space": f"  <sip:{NUMBER}@sip.example.com> ;tag=1 ",
    "port": f"sip:{NUMBER}@sip.example.com:5061",
    "IPv6": f"<sip:{NUMBER}@[2001:db8::1]:5060>",
    "headers of the address": f"<sip:{NUMBER}@sip.example.com?subject=x>",
    "password": f"<sip:{NUMBER}:secret@sip.example.com>",
    "parameters of the number": f"<sip:{NUMBER};npdi;rn=+14155550000@sip.example.com;user=phone>",
    "encoded plus": "<sip:%2B14155550100@sip.example.com>",
    "separators": "<sip:+1-415.555(01)00@sip.example.com>",
    "tel": f"tel:{NUMBER}",
    "tel, upper case": f"<TEL:{NUMBER}>",
    "line break after the address": f"<sip:{NUMBER}@sip.example.com>\r\n",
    "tel with parameters": "<tel:+1(415)555-0100;ext=1>",
}
"""Values whose number is NUMBER."""

NO_NUMBER: Final = {
    "empty": "",
    "anonymous": '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1',
    "user without a number": "<sip:alice@sip.example.com>",
    "number as host": f"<sip:{NUMBER}>",
    "no host": f"<sip:{NUMBER}@>",
    "number in a parameter": f"<sip:alice@sip.example.com;phone={NUMBER}>",
    "number in the tag": f"<sip:alice@sip.example.com>;tag={NUMBER}",
    "number in the password": f"<sip:alice:{NUMBER}@sip.example.com>",
    "number in the name": f'"{NUMBER}" <sip:alice@sip.example.com>',
    "address only in the name": f'"<sip:{NUMBER}@sip.example.com>"',
    "open quote": f'"Alice <sip:{NUMBER}@sip.example.com>',
    "quote after the address": f'<sip:{NUMBER}@sip.example.com> "Alice"',
    "two addresses": f"<sip:{NUMBER}@sip.example.com>, <sip:{OTHER}@sip.example.com>",
    "headers of an address without brackets": f"sip:{NUMBER}@sip.example.com?subject=x",
    "number before the address": f"tel:{OTHER}, <sip:{NUMBER}@sip.example.com>",
    "address with a comma in the name": f"sip:{OTHER}@host, x <sip:{NUMBER}@sip.example.com>",
    "address in a parameter of the header": f"<sip:{NUMBER}@sip.example.com>;x=<sip:{OTHER}@host>",
    "two at signs in parameters": f"<sip:{NUMBER}@sip.example.com;x=a@host>",
    "letters of other alphabets in the host": f"<sip:{NUMBER}@\u0435xample.com>",
    "space in the host": f"<sip:{NUMBER}@sip .example.com>",
    "address before brackets": f"sip:{NUMBER}@sip.example.com <sip:alice@sip.example.com>",
    "open bracket": f"<sip:{NUMBER}@sip.example.com",
    "nested brackets": f"<<sip:{NUMBER}@sip.example.com>>",
    "two at signs": f"<sip:{NUMBER}@evil.example.com@sip.example.com>",
    "encoded at sign": f"<sip:{NUMBER}%40sip.example.com>",
    "encoded twice": "<sip:%252B14155550100@sip.example.com>",
    "invalid encoding": "<sip:%2+14155550100@sip.example.com>",
    "encoded plus in tel": "<tel:%2B14155550100>",
    "no plus": "<sip:14155550100@sip.example.com>",
    "international prefix": "<sip:0014155550100@sip.example.com>",
    "plus only": "<sip:+@sip.example.com>",
    "separator before the plus": "<sip:-+14155550100@sip.example.com>",
    "country code 0": "<sip:+04155550100@sip.example.com>",
    "too long for E.164": "<sip:+1234567890123456@sip.example.com>",
    "letters": "<sip:+1415FLOWERS@sip.example.com>",
    "Arabic digits": "<sip:+١٤١٥٥٥٥٠١٠٠@sip.example.com>",
    "full-width plus": "<sip:\uff0b14155550100@sip.example.com>",
    "space in the number": "<sip:+1415 5550100@sip.example.com>",
    "number without a scheme": NUMBER,
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


def test_number_is_that_of_address() -> None:
    for case, value in NUMBERS.items():
        assert number_in(value) == NUMBER, case


def test_value_without_number_has_none() -> None:
    for case, value in NO_NUMBER.items():
        assert number_in(value) is None, case


def test_hostile_value_takes_linear_time() -> None:
    for case, value in SLOW.items():
        started = time.process_time()

        assert number_in(value) is None, case
        assert time.process_time() - started < 0.05, case


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
    assert number_in(f"{before}<sip:+12025550123@host>{after}") in {"+12025550123", None}


@given(st.lists(st.tuples(st.text(), st.text())))
def test_any_headers_get_answer(headers: list[tuple[str, str]]) -> None:
    answer = answer_to([SipHeader(name=name, value=value) for name, value in headers], frozenset({NUMBER}))

    assert answer.action == "reject"


HEADERS: Final[dict[str, tuple[list[tuple[str, str]], str | None]]] = {
    "one From": ([("To", "sip:+18005550100@host"), ("From", f"sip:{NUMBER}@host")], NUMBER),
    "compact form": ([("f", f"sip:{NUMBER}@host")], NUMBER),
    "white space around the name": ([("From ", f"sip:{NUMBER}@host")], NUMBER),
    "no headers": ([], None),
    "no From": ([("To", f"sip:{NUMBER}@host")], None),
    "two From": ([("From", f"sip:{NUMBER}@host"), ("From", f"sip:{OTHER}@host")], None),
    "From in both forms": ([("From", f"sip:{NUMBER}@host"), ("f", f"sip:{OTHER}@host")], None),
    # A caller can send these too, and a trunk may pass them on.
    "asserted identity": ([("P-Asserted-Identity", f"<sip:{NUMBER}@host>")], None),
    "other identities": ([("From", f"sip:{OTHER}@host"), ("P-Preferred-Identity", f"sip:{NUMBER}@host")], OTHER),
}


def test_caller_is_in_only_from_header() -> None:
    for case, (headers, expected) in HEADERS.items():
        assert caller_number(SipHeader(name=name, value=value) for name, value in headers) == expected, case


ANSWERS: Final[dict[str, tuple[str, set[str], tuple[str, str]]]] = {
    "allowed": (f"sip:{NUMBER}@host", {OTHER, NUMBER}, ("accept", "caller_allowed")),
    "not allowed": (f"sip:{OTHER}@host", {NUMBER}, ("reject", "caller_not_allowed")),
    "prefix of an allowed number": ("sip:+1415555010@host", {NUMBER}, ("reject", "caller_not_allowed")),
    "no number": ("sip:anonymous@host", {NUMBER}, ("reject", "no_single_caller")),
    "nobody is allowed": (f"sip:{NUMBER}@host", set(), ("reject", "caller_not_allowed")),
    "everybody is allowed, no number": ("sip:anonymous@host", {"*"}, ("accept", "everybody_allowed")),
    "star among numbers": (f"sip:{OTHER}@host", {"*", NUMBER}, ("reject", "caller_not_allowed")),
    "star as user": ("sip:*@host", {"*", NUMBER}, ("reject", "no_single_caller")),
}


def test_answer_follows_allow_list() -> None:
    for case, (value, allowed, expected) in ANSWERS.items():
        assert answer_to([SipHeader(name="From", value=value)], frozenset(allowed)) == expected, case
    assert answer_to([], EVERYBODY) == ("accept", "everybody_allowed")
