"""Who calls: the number in a SIP call's From header, and the answer that the caller gets. No I/O."""

import re
from collections.abc import Iterable, Set
from typing import Literal, NamedTuple
from urllib.parse import unquote

from openai_webhooks import SipHeader

EVERYBODY = frozenset({"*"})
_MAX_LENGTH = 1_024  # characters. A real From header has about 100.

# RFC 3261, section 25.1, without what could hide a second address. Every repetition is possessive, so matching takes
# linear time.
_NAME_ADDR = re.compile(
    r"""
    (?: "(?:[^"\\]|\\.)*+" [ ]*+ | [^"\\<>:;,@]*+ )  # display name: quoted, or plain words
    <([^<>"\ ]++)>                                   # address
    [ ]*+ (?: ; [^<>",]*+ )?                         # parameters, such as the tag
    """,
    re.VERBOSE,
)
# RFC 3261, section 20.10: without angle brackets, everything after a semicolon belongs to the header.
_ADDR_SPEC = re.compile(r'([^<>",;?\ ]++) [ ]*+ (?: ; [^<>",]*+ )?', re.VERBOSE)
# RFC 3261, sections 19.1.1 and 19.1.6: the user can be a telephone number with parameters. A password can follow.
_SIP_URI = re.compile(
    r"sips?: ([^@:;]++) (?: ; [^@:]*+ )? (?: : [^@:]*+ )? @ [\w.\[\]:-]++ (?: [;?] [^@]*+ )?",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_TEL_URI = re.compile(r"tel: ([^;]++) (?: ; .*+ )?", re.IGNORECASE | re.VERBOSE)
_VISUAL_SEPARATORS = str.maketrans("", "", "().-")  # RFC 3966, section 3
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")


class Answer(NamedTuple):
    """What a caller gets, and why."""

    action: Literal["accept", "reject"]
    reason: Literal["everybody_allowed", "caller_allowed", "caller_not_allowed", "no_single_caller"]


def answer_to(headers: Iterable[SipHeader], allowed: Set[str]) -> Answer:
    """Return the answer to a call. `allowed` has E.164 numbers, or is EVERYBODY."""
    if allowed == EVERYBODY:
        return Answer("accept", "everybody_allowed")
    caller = caller_number(headers)
    if caller is None:
        return Answer("reject", "no_single_caller")
    if caller not in allowed:
        return Answer("reject", "caller_not_allowed")
    return Answer("accept", "caller_allowed")


def caller_number(headers: Iterable[SipHeader]) -> str | None:
    """Return the E.164 number of the caller, such as `+14155550100`, or None.

    A call has exactly one From header (RFC 3261, section 20.20). If it has two, nobody knows which of them other
    programs read, so both count as none.
    """
    # RFC 3261, section 7.3.3: `f` is the compact form of the name.
    values = [header.value for header in headers if header.name.strip().lower() in {"from", "f"}]
    return number_in(values[0]) if len(values) == 1 else None


def number_in(value: str) -> str | None:
    """Return the E.164 number in the address of a From header, or None.

    The caller writes the value, so it can be anything. A display name never counts, because it is free text.
    """
    value = value.strip()
    if len(value) > _MAX_LENGTH or not value.isprintable():
        return None
    header = _NAME_ADDR.fullmatch(value) or _ADDR_SPEC.fullmatch(value)
    return _number_of(header[1]) if header else None


def _number_of(address: str) -> str | None:
    if sip := _SIP_URI.fullmatch(address):
        number = unquote(sip[1])
    elif tel := _TEL_URI.fullmatch(address):
        number = tel[1]
    else:
        return None
    number = number[0] + number[1:].translate(_VISUAL_SEPARATORS)
    return number if _E164.fullmatch(number) else None
