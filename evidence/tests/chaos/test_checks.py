from dataclasses import replace

import pytest

from evidence.chaos import checks
from evidence.chaos.deliveries import OLD_SECRET, Delivery
from evidence.chaos.journal import Invocation, Journal, Made

DELIVERY = Delivery("wh_1", b'{"id":"evt_1","type":"x"}', due=0)
INTRUDER = DELIVERY._replace(intruder="forged")
ENTRY = {"Source": "openai.com", "DetailType": "x", "Detail": '{"id":"evt_1","type":"x"}'}

CLAIMED = Made("PutItem", 100.001, fault="", took_effect=True)
NOT_CLAIMED = Made("PutItem", 100.001, fault="", took_effect=False)
NO_TABLE = Made("PutItem", 100.001, fault="reset", took_effect=False)
CLAIM_ANSWER_LOST = Made("PutItem", 100.001, fault="answer lost", took_effect=True)
PUBLISHED = Made("PutEvents", 100.002, fault="", took_effect=True)
PUBLISHED_ANSWER_LOST = Made("PutEvents", 100.002, fault="answer lost", took_effect=True)
REFUSED = Made("PutEvents", 100.002, fault="throttled", took_effect=False)
RECORDED = Made("UpdateItem", 100.003, fault="", took_effect=True)
NOT_RECORDED = Made("UpdateItem", 100.003, fault="error 500", took_effect=False)
RELEASED = Made("DeleteItem", 100.003, fault="", took_effect=True)
NOT_RELEASED = Made("DeleteItem", 100.003, fault="hang", took_effect=False)
READ = Made("GetSecretValue", 100.0, fault="", took_effect=True)
NOT_READ = Made("GetSecretValue", 100.0, fault="reset", took_effect=False)


def invocation(
    *calls: Made, status: int | None = 200, outcome: str = "published", later: float = 0, took: float = 0.01
) -> Invocation:
    """Return an invocation that starts at 100 s, or `later` seconds after."""
    return Invocation(
        DELIVERY,
        attempt="1",
        caller="PROCESS1",
        began=100 + later,
        calls=[call._replace(at=call.at + later) for call in calls],
        ended=100 + later + took,
        status=status,
        outcome=outcome,
    )


def killed(*calls: Made) -> Invocation:
    return invocation(*calls, status=None, outcome="killed")


def journal(*invocations: Invocation) -> Journal:
    result = Journal()
    for one in invocations:
        result.begin(one)
        calls, one.calls = one.calls, []
        for call in calls:
            result.add(one, call, retry=False)
    return result


@pytest.mark.parametrize(
    ("delivery", "entry", "violation"),
    [
        pytest.param(DELIVERY, ENTRY, "", id="the signed body"),
        pytest.param(DELIVERY, ENTRY | {"Detail": ENTRY["Detail"] + " "}, "forged", id="another text"),
        pytest.param(DELIVERY, ENTRY | {"Source": "example.com"}, "forged", id="another source"),
        pytest.param(INTRUDER, ENTRY, "forged", id="an intruder"),
    ],
)
def test_only_signed_bodies_reach_the_bus(delivery: Delivery, entry: dict[str, str], violation: str) -> None:
    assert checks.published(replace(invocation(), delivery=delivery), entry) == violation


@pytest.mark.parametrize(
    ("earlier", "again", "cause"),
    [
        pytest.param(invocation(CLAIMED, PUBLISHED, RECORDED), [CLAIMED], "", id="recorded"),
        pytest.param(invocation(CLAIMED, PUBLISHED), [CLAIMED], "", id="record missing"),
        pytest.param(invocation(CLAIMED, PUBLISHED, NOT_RECORDED), [CLAIMED], "table", id="record failed"),
        pytest.param(invocation(NO_TABLE, PUBLISHED), [CLAIMED], "table", id="claim failed"),
        pytest.param(invocation(CLAIMED, PUBLISHED, RECORDED), [NO_TABLE], "table", id="second claim failed"),
        pytest.param(invocation(CLAIMED, PUBLISHED, RECORDED), [], "", id="no second claim"),
        pytest.param(killed(CLAIMED, PUBLISHED), [CLAIMED], "crash", id="killed"),
        pytest.param(killed(CLAIMED, PUBLISHED, RECORDED), [CLAIMED], "", id="killed after the record"),
        pytest.param(
            invocation(CLAIMED, PUBLISHED_ANSWER_LOST, REFUSED, RELEASED, status=503),
            [CLAIMED],
            "answer lost",
            id="answer lost",
        ),
    ],
)
def test_duplicate_needs_an_allowed_cause(earlier: Invocation, again: list[Made], cause: str) -> None:
    assert checks.cause(earlier, invocation(*again, PUBLISHED, later=11)) == cause


def test_claim_survives_its_process() -> None:
    assert checks.cause(killed(CLAIMED, PUBLISHED), invocation(CLAIMED, PUBLISHED, later=9)) == ""


@pytest.mark.parametrize(("first", "cause"), [(PUBLISHED_ANSWER_LOST, "answer lost"), (PUBLISHED, "")])
def test_retried_publish_needs_an_allowed_cause(first: Made, cause: str) -> None:
    only = invocation(CLAIMED, first, PUBLISHED)
    assert checks.cause(only, only) == cause


@pytest.mark.parametrize(
    ("seen", "violations"),
    [
        pytest.param(invocation(CLAIMED, PUBLISHED, RECORDED), [], id="200, published"),
        pytest.param(invocation(CLAIMED, REFUSED), ["unbacked"], id="200, not published"),
        pytest.param(invocation(CLAIMED, status=None, outcome="raised"), ["raised"], id="raised"),
        pytest.param(invocation(CLAIMED, PUBLISHED, took=5.1), ["over time"], id="too late"),
        pytest.param(
            invocation(CLAIMED, REFUSED, RELEASED, status=503, outcome="PublishFailed"), [], id="503 with a fault"
        ),
        pytest.param(
            invocation(CLAIMED, PUBLISHED, RELEASED, status=503, outcome="PublishFailed"),
            ["refused"],
            id="503 without a fault",
        ),
        pytest.param(invocation(NOT_READ, status=503, outcome="NotConfigured"), [], id="no secret, with a fault"),
        pytest.param(invocation(READ, status=401, outcome="SignatureMismatch"), ["refused"], id="401 without a fault"),
        pytest.param(invocation(READ, status=400, outcome="Malformed"), ["refused"], id="400 without a fault"),
        pytest.param(
            invocation(CLAIM_ANSWER_LOST, NOT_CLAIMED, status=409, outcome="InProgress"),
            ["stuck"],
            id="409 for its own claim",
        ),
        pytest.param(
            invocation(CLAIMED._replace(fault="trickle"), status=None, outcome="timed out", took=10), [], id="trickled"
        ),
        pytest.param(replace(invocation(CLAIMED, PUBLISHED), delivery=INTRUDER), ["unbacked"], id="intruder accepted"),
    ],
)
def test_answer_keeps_the_promises(seen: Invocation, violations: list[str]) -> None:
    assert list(checks.answered(journal(seen), seen)) == violations


@pytest.mark.parametrize(
    ("other", "later", "violations"),
    [
        pytest.param(invocation(CLAIMED, PUBLISHED, RECORDED, took=1), 0.0005, [], id="other copy at work"),
        pytest.param(invocation(CLAIMED, REFUSED, RELEASED), 5, ["stuck"], id="released"),
        pytest.param(invocation(CLAIMED, REFUSED, NOT_RELEASED), 5, [], id="release failed"),
        pytest.param(invocation(CLAIMED, REFUSED), 5, ["stuck"], id="never released"),
        pytest.param(invocation(CLAIMED, REFUSED, NOT_RELEASED), 10.1, ["stuck"], id="claim expired"),
        pytest.param(killed(CLAIMED), 9.9, [], id="soon after a kill"),
        pytest.param(killed(CLAIMED), 9.9999, [], id="at the end of the claim"),
        pytest.param(killed(CLAIMED), 10.1, ["stuck"], id="long after a kill"),
        pytest.param(invocation(NO_TABLE, PUBLISHED), 5, ["stuck"], id="never claimed"),
    ],
)
def test_409_needs_a_claim(other: Invocation, later: float, violations: list[str]) -> None:
    refused = invocation(NOT_CLAIMED, status=409, outcome="InProgress", later=later)
    assert list(checks.answered(journal(other, refused), refused)) == violations


@pytest.mark.parametrize(
    ("reads", "stored", "later", "violations"),
    [
        pytest.param([READ, READ], 101, 5, [], id="not stored at the last of two reads"),
        pytest.param([READ], 101, 5, ["refused"], id="not read again"),
        pytest.param([], 101, 5, ["refused"], id="never read"),
        pytest.param([READ, READ], 99, 5, ["refused"], id="stored before the last read"),
        pytest.param([READ, READ], 101, 15, ["refused"], id="not read for longer than the limit"),
        pytest.param([READ, NOT_READ], 99, 5, [], id="last read failed"),
    ],
)
def test_refused_delivery_needs_an_unknown_secret(
    reads: list[Made], stored: float, later: float, violations: list[str]
) -> None:
    refused = invocation(status=401, outcome="SignatureMismatch", later=later)
    seen = journal(*map(invocation, reads), refused)
    seen.stored = {OLD_SECRET: stored}
    assert list(checks.answered(seen, refused)) == violations


@pytest.mark.parametrize(("stored", "violations"), [(101, []), (99, ["refused"])])
def test_read_before_refusal_needs_an_unknown_secret(stored: float, violations: list[str]) -> None:
    refused = invocation(READ, status=401, outcome="SignatureMismatch")
    seen = journal(refused)
    seen.stored = {OLD_SECRET: stored}
    assert list(checks.answered(seen, refused)) == violations


@pytest.mark.parametrize(("interval", "violations"), [(1, ["read too often"]), (5, [])])
def test_secret_is_read_only_as_often_as_the_limit_allows(interval: float, violations: list[str]) -> None:
    readers = [invocation(READ, CLAIMED, PUBLISHED, RECORDED, later=interval * number) for number in range(8)]
    assert list(checks.answered(journal(*readers), readers[-1])) == violations


def test_missing_event_is_lost() -> None:
    arrived = journal(invocation(CLAIMED, PUBLISHED, RECORDED))
    other = DELIVERY._replace(webhook_id="wh_2")
    assert checks.lost(arrived, [DELIVERY, other, other._replace(intruder="stale")]) == [other]
