"""The page in a real browser, with a small host. Needs Chromium.

With UPDATE_SCREENSHOTS set, the tests also write the pictures in docs/.
"""

import json
import os
import queue
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page as Tab, expect, sync_playwright
from werkzeug import Request, Response

from openai_webhooks_cli.local import wsgi_server
from openai_webhooks_cli.local.moto_aws import MotoAws
from openai_webhooks_cli.page.app import Page
from openai_webhooks_cli.page.feed import Feed
from tests.support.paths import ROOT

Theme = Literal["light", "dark"]

DELIVERIES = "http://127.0.0.1:8787/webhooks/openai"
START = 1_795_521_600  # Unix seconds
WIDE, NARROW = (1200, 760), (360, 720)


class Host:
    """A web server with the page. It records the inputs of actions."""

    def __init__(self, port: int = 0) -> None:
        self.feed = Feed()
        self.inputs: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        actions = ("send", "send_as_new", "send_again", "run_again", "tamper", "save", "forward_again")
        self.page = Page(
            self.feed,
            actions={name: partial(self._act, name) for name in actions},
            info={
                "title": "OpenAI webhooks, local",
                "url": DELIVERIES,
                "types": ["batch.completed", "batch.failed"],
                "samples": {"batch.completed": {"id": "batch_1"}, "batch.failed": {"id": "batch_2"}},
            },
        )
        listener = socket.create_server((wsgi_server.LOOPBACK, port))
        self._server = wsgi_server.start(Request.application(self._respond), listener)
        self.port = self._server.port
        self.url = f"http://{self._server.host}:{self.port}"

    def close(self) -> None:
        self.page.close()
        wsgi_server.stop(self._server)

    def _respond(self, request: Request) -> Response:
        return self.page.respond(request) or Response("another part of the host")

    def _act(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        self.inputs.put((name, values))
        if values.get("event_type") == "refused":
            raise ValueError("The receiver refused it.")
        if name == "send":
            _add(self.feed, values["event_type"], webhook_id="wh_sent")
            return {"webhook_id": "wh_sent"}
        return {"path": "events/saved.json"}


@pytest.fixture(scope="module")  # while playwright runs, other tests cannot use asyncio
def browser() -> Iterator[Browser]:
    """Chromium of this machine. playwright's own browsers are not needed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        reason = "Chromium is not installed. Run `apt-get install chromium`, or set CHROMIUM to its path."
        if os.environ.get("E2E_REQUIRE_BROWSER"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)  # a browser is large, and the other tests run without it; CI requires it
    # Chromium's sandbox does not work for root, whom containers use.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=options) as running:
        yield running


@pytest.fixture
def host() -> Iterator[Host]:
    running = Host()
    yield running
    running.close()


@pytest.fixture
def errors() -> list[str]:
    """Errors in the browser's console, and dialogs that a script opened. A test that expects some removes them."""
    return []


@pytest.fixture
def theme() -> Theme:
    return "light"


@pytest.fixture
def size() -> tuple[int, int]:
    return WIDE


@pytest.fixture
def tab(browser: Browser, host: Host, errors: list[str], theme: Theme, size: tuple[int, int]) -> Iterator[Tab]:
    """The page, connected."""

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    def on_dialog(dialog: Dialog) -> None:
        errors.append(dialog.message)
        dialog.dismiss()

    with browser.new_context(
        color_scheme=theme,
        viewport={"width": size[0], "height": size[1]},
        timezone_id="UTC",
        permissions=["clipboard-read", "clipboard-write"],
    ) as context:
        tab = context.new_page()
        tab.on("console", on_console)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("dialog", on_dialog)
        tab.set_default_timeout(10_000)
        tab.goto(host.url)
        expect(tab.locator("#connection")).to_have_text("Connected")
        yield tab
    assert errors == []


def test_other_site_reads_and_changes_nothing(browser: Browser, host: Host) -> None:
    site = wsgi_server.start(Request.application(lambda _: Response("<p>", content_type="text/html")))
    signed = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/secretsmanager/aws4_request, Signature=x"
    attempts = """async ([page, aws, signed]) => {
        const read = (url, options) => fetch(url, options).then((answer) => answer.text(), () => "");
        const json = {"Content-Type": "application/json"};
        return Promise.all([
            read(page + "/page/info"),
            read(page + "/page/actions/send", {method: "POST", mode: "no-cors", body: "{}"}),
            read(page + "/page/actions/send", {method: "POST", headers: json, body: "{}"}),
            read(aws, {method: "POST", headers: {Authorization: signed, "X-Amz-Target": "secretsmanager.ListSecrets"}}),
            read(aws + "/moto-api/data.json"),
            read(aws + "/moto-api/reset", {method: "POST", mode: "no-cors"}),
        ]);
    }"""
    with closing(MotoAws()) as aws, browser.new_context() as context:
        aws.client("secretsmanager").create_secret(Name="mine", SecretString="secret")
        tab = context.new_page()
        tab.goto(f"http://127.0.0.1:{site.port}")

        assert tab.evaluate(attempts, [host.url, aws.url, signed]) == [""] * 6
        assert host.inputs.empty()
        assert len(aws.client("secretsmanager").list_secrets()["SecretList"]) == 1
    wsgi_server.stop(site)


def _add(feed: Feed, event_type: str = "batch.completed", **fields: Any) -> int:
    """Add a delivery that was published."""
    event = {"id": "evt_1", "object": "event", "type": event_type, "data": {"id": "batch_1"}}
    delivery = {
        "time": START,
        "kind": "delivery",
        "event_type": event_type,
        "event_id": "evt_1",
        "webhook_id": "wh_1",
        "status": 200,
        "outcome": "published",
        "duration_ms": 12.4,
        "headers": {"content-type": "application/json", "webhook-id": "wh_1"},
        "body": json.dumps(event),
        "subscribers": [{"name": "OnBatch", "ok": True, "duration_ms": 3.2, "result": "null", "log": ["collected"]}],
    }
    return feed.add(**delivery | fields)


def test_rows_and_details_follow_the_feed(host: Host, tab: Tab) -> None:
    unanswered = {"url": "localhost:8000", "status": None, "ms": 3, "text": "refused"}
    _add(host.feed, "batch.failed", forwards=[unanswered], subscribers=None)
    record_id = _add(host.feed, subscribers=[{"name": "OnBatch", "ok": None}])
    newest = tab.locator(".row").first

    expect(tab.locator(".row .type")).to_have_text(["batch.completed", "batch.failed"])
    for text in ("200", "published", "12 ms", "OnBatch …"):
        expect(newest).to_contain_text(text)
    expect(tab.locator(".row.failed .reached")).to_have_text("localhost:8000 no answer")
    newest.click()
    expect(tab.locator(".subscriber")).to_contain_text("running")

    host.feed.update(record_id, subscribers=[{"name": "OnBatch", "ok": False, "log": ["KeyError: 'id'"]}])

    expect(tab.locator(".subscriber")).to_contain_text("KeyError: 'id'")
    expect(tab.locator(".row.failed").first.locator(".reached")).to_have_text("OnBatch failed")
    ok, failed = ({"name": "OnBatch", "ok": ok} for ok in (True, False))
    targets = ["OnBatch", "Slow", "Queue (SQS)", "bus (logs)"]
    matched = {"rule": "Batches", "targets": targets, "matched": True, "reason": ""}
    disabled = {"rule": "Off", "targets": ["OnBatch"], "matched": False, "reason": "the rule is disabled"}

    host.feed.update(record_id, rules=[matched, disabled], subscribers=[failed, {**failed, "attempt": 2}, ok])

    rules = [f"Batches: matched, to {', '.join(targets)}", "Off: the rule is disabled"]
    expect(tab.locator(".rules li")).to_have_text(rules)
    expect(tab.locator(".subscriber > p:first-child")).to_have_text(
        ["OnBatchfailed", "OnBatchfailedattempt 2", "OnBatchsucceededrun 2", "Slowrunning"]
    )
    expect(tab.locator(".subscriber > .label")).to_have_text(["Rule: Batches"] * 4)
    expect(newest.locator(".reached")).to_have_text("OnBatch, Slow …, Queue (SQS)")
    expect(tab.locator(".row.failed")).to_have_count(1)  # the newest run of the other row's subscriber succeeded


def test_details_show_everything(host: Host, tab: Tab) -> None:
    _add(
        host.feed,
        reason="a reason",
        body='{"n":12345678901234567890,"n":1.0,"empty":[],"text":"a, {b}\\n"}',
        bus_event={"detail-type": "batch.completed"},
        forwards=[{"url": "http://localhost:8000/hook", "status": 502, "ms": 7, "text": "no upstream"}],
    )
    expect(tab.locator(".row.failed .reached")).to_have_text("a reason")
    tab.locator(".row").click()

    for text in (
        *("200 published", "a reason", "evt_1", "wh_1", "collected", '"detail-type"', "502", "no upstream"),
        "content-type: application/json",
    ):
        expect(tab.locator("#details")).to_contain_text(text)
    indented = '{\n  "n": 12345678901234567890,\n  "n": 1.0,\n  "empty": [],\n  "text": "a, {b}\\n"\n}'
    assert tab.locator("#content > pre").first.text_content() == indented


def test_actions_get_the_open_record(host: Host, tab: Tab) -> None:
    _add(host.feed, kind="event", headers=None, body=None)
    chosen = _add(host.feed, bus_event={})
    _add(host.feed)
    expect(tab.locator(".row")).to_have_count(3)
    tab.locator(".row").nth(1).click()

    for button, action, values in (
        ("Send as a new event", "send_as_new", {}),
        ("Send again", "send_again", {}),
        ("Run again: OnBatch", "run_again", {"subscriber": "OnBatch"}),
        ("Forward again", "forward_again", {}),
        ("signature", "tamper", {"part": "signature"}),
        ("timestamp", "tamper", {"part": "timestamp"}),
        ("body", "tamper", {"part": "body"}),
        ("Save as a file", "save", {}),
    ):
        tab.get_by_role("button", name=button, exact=True).click()
        assert host.inputs.get(timeout=10) == (action, {"record_id": chosen, **values}), button
    expect(tab.locator("#feedback")).to_contain_text("events/saved.json")
    again = tab.get_by_role("button", name="Run again")
    again.focus()
    host.feed.update(chosen, outcome="changed")
    expect(tab.locator("#details")).to_contain_text("200 changed")
    expect(again).to_be_focused()
    tab.locator(".row").last.click()  # no delivery
    expect(tab.locator("#actions button:visible")).to_have_text(["Forward again"])


def test_send_shows_errors_until_event_is_sent(host: Host, tab: Tab, errors: list[str]) -> None:
    event_type, fields = tab.get_by_label("Type", exact=True), tab.get_by_label("Fields")
    send = tab.get_by_role("button", name="Send", exact=True)
    alert = tab.get_by_role("alert")
    tab.get_by_role("button", name="Send an event").click()

    event_type.fill("batch.completed")
    expect(fields).to_have_value('{\n  "id": "batch_1"\n}')
    event_type.fill("refused")
    expect(fields).to_have_value("")
    for text in ("{", "[1]", "null", "7"):
        fields.fill(text)
        send.click()
        expect(alert, text).to_contain_text("not a JSON object")
    fields.fill("")
    send.click()
    expect(alert).to_have_text("The receiver refused it.")
    event_type.fill("batch.failed")
    fields.fill('{"id": "batch_7", "n": 2}')
    send.click()
    expect(tab.locator("#send")).to_be_hidden()
    expect(tab.locator("#details")).to_contain_text("wh_sent")

    assert host.inputs.get(timeout=10) == ("send", {"event_type": "refused"})
    data = {"id": "batch_7", "n": 2}
    assert host.inputs.get(timeout=10) == ("send", {"event_type": "batch.failed", "data": data})
    assert ["400" in error for error in errors] == [True]  # the browser logs every answer of 400
    errors.clear()


@pytest.mark.parametrize(
    "body",
    [
        "@/etc/passwd",
        '\'; touch /tmp/x; \' {"a": "it\'s $HOME `id` $(id) \\\\ \\" done!"}',
        "-d x\n--next\r\n\u001b[201~; id\n\u0007 ü \u202e",
    ],
    ids=["file", "quotes", "escapes"],
)
def test_copied_curl_command_sends_same_delivery(host: Host, tab: Tab, body: str) -> None:
    headers = {"webhook-id": body.replace("\n", " "), "x-empty": "", "Host": "h", "Content-Length": "3", "@file": "x"}
    _add(host.feed, headers=headers, body=body)
    tab.locator(".row").click()

    tab.get_by_role("button", name="Copy as curl").click()
    expect(tab.locator("#feedback")).to_contain_text("Copied")
    command = tab.evaluate("navigator.clipboard.readText()")

    script = f'curl() {{ printf "%s\\0" "$@"; }}\n{command}'
    output = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout.decode()
    options = ["-H", f"webhook-id: {headers['webhook-id']}", "-H", "x-empty;", "--data-raw", body]
    assert output.split("\0")[:-1] == [DELIVERIES, *options]
    assert not {"\u001b", "!"} & set(command)  # an interactive shell obeys them


def test_filters_choose_by_type_outcome_and_text(host: Host, tab: Tab) -> None:
    _add(host.feed, "batch.completed", event_id="evt_needle")
    _add(host.feed, "batch.failed", subscribers=[{"name": "OnBatch", "ok": False}])
    _add(host.feed, "batch.failed", outcome="Unverified", status=401, reason="The timestamp is old.")
    rows, count = tab.locator(".row"), tab.locator("#count")
    expect(rows).to_have_count(3)

    tab.get_by_label("Filter by type").select_option("batch.failed")
    expect(rows).to_have_count(2)
    tab.get_by_label("Filter by outcome").select_option("Unverified")
    expect(rows).to_have_count(1)
    expect(count).to_have_text("1 of 3 deliveries")
    tab.get_by_label("Filter by type").select_option("")
    tab.get_by_label("Filter by outcome").select_option("subscriber failed")
    expect(rows.locator(".reached")).to_have_text("OnBatch failed")
    tab.get_by_label("Filter by outcome").select_option("")
    tab.get_by_label("Filter by text").fill("NEEDLE")
    expect(rows.locator(".type")).to_have_text(["batch.completed"])
    _add(host.feed, "response.completed")  # hidden, and shown when the filter lets it through
    expect(count).to_have_text("1 of 4 deliveries")
    tab.get_by_label("Filter by text").fill("batch_1")  # in each body
    expect(rows).to_have_count(4)


def test_pause_holds_new_records_until_resume(host: Host, tab: Tab) -> None:
    types, pause = tab.locator(".row .type"), tab.locator("#pause")
    _add(host.feed, "batch.completed")
    expect(types).to_have_count(1)

    tab.keyboard.press("p")
    _add(host.feed, "batch.failed")
    expect(pause).to_have_text("Resume (1 new)")
    assert types.all_text_contents() == ["batch.completed"]

    pause.click()
    expect(types).to_have_text(["batch.failed", "batch.completed"])


def test_keyboard_moves_opens_and_closes(host: Host, tab: Tab) -> None:
    for number in range(100):
        _add(host.feed, f"type.{number}")
    rows, title = tab.get_by_role("listbox"), tab.locator("#details-title")
    selected = tab.locator("[aria-selected=true] .type")
    expect(tab.locator("#count")).to_have_text("100 deliveries")

    for key, event_type in (
        ("ArrowDown", "type.99"),
        ("ArrowDown", "type.98"),
        ("ArrowUp", "type.99"),
        ("End", "type.0"),
        ("Home", "type.99"),
    ):
        tab.keyboard.press(key)
        expect(selected, key).to_have_text(event_type)
        expect(tab.locator(f"#{rows.get_attribute('aria-activedescendant')} .type")).to_be_in_viewport()
    tab.keyboard.press("PageDown")
    expect(selected).not_to_have_text("type.99")
    tab.keyboard.press("Home")
    tab.keyboard.press("Enter")
    expect(title).to_have_text("type.99")
    expect(title).to_be_focused()
    tab.keyboard.press("Escape")
    expect(title).to_be_hidden()
    expect(rows).to_be_focused()
    tab.locator(".row").first.click()
    tab.keyboard.press("ArrowDown")
    expect(title).to_have_text("type.98")


def test_keys_focus_filter_and_show_help(host: Host, tab: Tab) -> None:
    _add(host.feed)
    text, dialog = tab.get_by_label("Filter by text"), tab.get_by_role("dialog")

    tab.keyboard.press("/")
    expect(text).to_be_focused()
    tab.keyboard.type("?p")
    expect(text).to_have_value("?p")
    expect(tab.locator("#empty")).to_be_visible()
    tab.keyboard.press("Escape")
    expect(text).to_have_value("")
    tab.keyboard.press("Escape")
    tab.keyboard.press("?")
    expect(dialog).to_be_visible()
    tab.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


HOSTILE = {
    "image": "<img src=x onerror=alert(1)>",
    "script": "</script><script>alert(1)</script>",
    "template": "${alert(1)} {{alert(1)}} javascript:alert(1)",
    "escapes": "\u001b]0;title\u0007\u001b[2J\u0000\u202eabc",
    "surrogates": "\ud800 and \udfff",
    "large": '{"text": "' + "x" * 1_000_000 + '"}',
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
}


def test_hostile_text_is_shown_as_text(host: Host, tab: Tab) -> None:
    elements = tab.locator("img, script").count()
    for number, (case, text) in enumerate(HOSTILE.items(), 1):
        short = text[:400]
        _add(
            host.feed,
            short,
            event_id=short,
            webhook_id=short,
            outcome=short,
            reason=short,
            headers={short: short},
            body=text,
            bus_event={short: [text]},
            subscribers=[{"name": short, "ok": False, "duration_ms": 1, "result": text, "log": [text]}],
            rules=[{"rule": short, "targets": [short], "matched": short == text, "reason": text}],
            forwards=[{"url": short, "status": 200, "ms": 1, "text": text}],
        )
        expect(tab.locator("#count")).to_contain_text(f"{number} deliver")
        tab.locator(".row").first.click()

        shown = tab.locator("#content pre").first.text_content() or ""
        expected = "".join(f"\\u{ord(c):04x}" if not c.isprintable() else c for c in text)
        assert shown == expected[: len(shown)], case
        assert len(shown) == min(len(expected), 100_000), case
        assert tab.locator("img, script").count() == elements, case


def test_deep_event_on_the_bus_is_shown_and_found(host: Host, tab: Tab) -> None:
    value: list[Any] = []
    for depth in range(1, 20_001):
        value = [value]
        if depth in (1_100, 5_000, 20_000):
            _add(host.feed, f"depth.{depth}", bus_event={"detail": value})
    expect(tab.locator(".row")).to_have_count(3)

    for depth in (1_100, 5_000, 20_000):
        tab.locator(".row", has_text=f"depth.{depth}").click()
        expect(tab.locator("#details-title")).to_have_text(f"depth.{depth}")
        expect(tab.get_by_text("Event on the bus")).to_be_visible()
    tab.get_by_label("Filter by text").fill("evt_1")
    expect(tab.locator(".row")).to_have_count(3)


def test_another_site_in_the_browser_gets_nothing(browser: Browser, host: Host) -> None:
    other = Host()
    with browser.new_context() as context:
        tab = context.new_page()
        tab.goto(f"{other.url}/elsewhere")  # has no CSP that keeps it from asking
        answers = tab.evaluate(
            """async (url) => {
                const stream = new EventSource(`${url}/page/events`);
                await new Promise((resolve) => (stream.onopen = stream.onerror = resolve));
                const read = await fetch(`${url}/page/info`).then(() => "read", () => "failed");
                const input = { method: "POST", mode: "no-cors", body: "{}" };
                await fetch(`${url}/page/actions/send`, input).catch(() => null);
                return [stream.readyState === EventSource.CLOSED, read];
            }""",
            host.url,
        )
    other.close()

    assert answers == [True, "failed"]
    assert host.inputs.empty()


def test_page_reconnects_after_restart(host: Host, tab: Tab, errors: list[str]) -> None:
    for _ in range(3):
        _add(host.feed, "batch.completed")
    tab.locator(".row").first.click()
    start = time.perf_counter()
    host.close()
    assert time.perf_counter() - start < 1  # it does not wait for the open stream
    expect(tab.locator("#connection")).to_contain_text("Not connected")

    restarted = Host(host.port)
    try:
        _add(restarted.feed, "batch.failed")

        expect(tab.locator("#connection")).to_have_text("Connected", timeout=20_000)
        expect(tab.locator(".row .type")).to_have_text(["batch.failed"])
        expect(tab.locator("#details")).to_be_hidden()
        _add(restarted.feed, "response.completed")
        expect(tab.locator(".row .type")).to_have_text(["response.completed", "batch.failed"])
        assert all("ERR_CONNECTION_REFUSED" in error or "ERR_INCOMPLETE" in error for error in errors), errors
        errors.clear()
    finally:
        tab.goto("about:blank")
        restarted.close()


@pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", WIDE), ("light", NARROW)])
def test_page_has_no_serious_accessibility_fault(host: Host, tab: Tab, theme: Theme, size: tuple[int, int]) -> None:
    assert _faults(tab) == []  # empty
    _add_typical(host.feed)
    expect(tab.locator(".row")).to_have_count(12)
    assert _faults(tab) == []
    tab.locator(".row", has_text="video.failed").click()
    expect(tab.locator("#details")).to_contain_text("VideoQuotaError")
    assert _faults(tab) == []
    if os.environ.get("UPDATE_SCREENSHOTS") and size == WIDE:
        tab.screenshot(path=ROOT / f"docs/page-{theme}.png")
    assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
    for key in ("s", "?"):
        tab.keyboard.press(key)
        expect(tab.get_by_role("dialog"), key).to_be_visible()
        assert _faults(tab) == []
        tab.keyboard.press("Escape")
        expect(tab.get_by_role("dialog"), key).to_be_hidden()


def _faults(tab: Tab) -> list[str]:
    violations = Axe().run(tab).response["violations"]
    return [
        f"{violation['id']}: {[node['target'] for node in violation['nodes']]}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]


def test_5000_records_do_not_slow_the_page(host: Host, tab: Tab) -> None:
    for number in range(5001):  # the feed keeps 5000
        _add(host.feed, f"type.{number}")
    expect(tab.locator("#count")).to_have_text("5000 deliveries", timeout=30_000)
    tab.keyboard.press("End")
    expect(tab.locator("[aria-selected=true] .type")).to_have_text("type.1")
    assert tab.locator("*").count() < 500  # only the rows that can be seen are in the document
    tab.keyboard.press("Home")

    for number in range(5):
        _add(host.feed, f"new.{number}")
        expect(tab.locator(".row .type").first).to_have_text(f"new.{number}", timeout=1_000)


def test_new_records_do_not_move_rows_that_are_read(host: Host, tab: Tab) -> None:
    for number in range(200):
        _add(host.feed, f"type.{number}")
    expect(tab.locator("#count")).to_have_text("200 deliveries")
    row = tab.locator(".row", has_text="type.100")
    tab.locator("#list").evaluate("list => list.scrollTop = list.scrollHeight / 2 - 100")
    before = row.bounding_box()

    _add(host.feed, "new")
    expect(tab.locator("#count")).to_have_text("201 deliveries")

    assert row.bounding_box() == before


def _add_typical(feed: Feed) -> None:
    """Add deliveries such as a developer sees in a few minutes."""
    deliveries: list[tuple[int, str, int, str, str, list[str]]] = [
        (0, "response.completed", 200, "published", "", ["OnResponse"]),
        (4, "response.completed", 200, "duplicate", "", []),
        (31, "batch.completed", 200, "published", "", ["OnBatch"]),
        (38, "batch.completed", 401, "Unverified", "webhook-timestamp is more than 300 s from this clock", []),
        (52, "batch.completed", 401, "Unverified", "no active signing secret matches webhook-signature", []),
        (75, "fine_tuning.job.succeeded", 200, "published", "", []),
        (98, "eval.run.succeeded", 200, "published", "", ["OnEval"]),
        (120, "?", 400, "Malformed", "the body is not strict JSON", []),
        (141, "realtime.call.incoming", 200, "published", "", ["OnCall"]),
        (150, "safety_identifier.blocked", 200, "published", "", ["OnSafety"]),
        (163, "video.failed", 200, "published", "", ["OnVideo"]),
        (171, "response.completed", 200, "published", "", ["OnResponse"]),
    ]
    for seconds, event_type, status, outcome, reason, names in deliveries:
        event_id = f"evt_{seconds:03}5b54bdb9b6fbae2f7cbd40847"
        webhook_id = f"wh_{seconds:03}9a275623b54bdb9b6fbae2f7cb"
        data = {"id": event_type.split(".")[0] + "_68f0c2"}
        event = {"id": event_id, "object": "event", "created_at": START + seconds, "type": event_type, "data": data}
        fails = event_type == "video.failed"
        log = ["app.py:31  VideoQuotaError: no seconds are left for proj_abc123"] if fails else ["handled"]
        subscriber = {"ok": not fails, "duration_ms": 41.7, "result": "" if fails else "null", "log": log}
        other = f"detail-type is {event_type}, the rule wants agent.session.idle"
        rules = [{"rule": f"{name}Rule", "targets": [name], "matched": True, "reason": ""} for name in names]
        rules.append({"rule": "Sessions", "targets": ["Sessions (SQS)"], "matched": False, "reason": other})
        rules.append({"rule": "Old", "targets": ["OnOld"], "matched": False, "reason": "the rule is disabled"})
        _add(
            feed,
            event_type,
            time=START + seconds + 0.25,
            status=status,
            outcome=outcome,
            reason=reason,
            duration_ms=8.3 + seconds % 7,
            event_id=event_id,
            webhook_id=webhook_id,
            headers={
                "content-type": "application/json",
                "webhook-id": webhook_id,
                "webhook-timestamp": str(START + seconds),
                "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
            },
            body=json.dumps(event),
            bus_event={"source": "openai.com", "detail-type": event_type, "detail": event} if status == 200 else None,
            subscribers=[{"name": name, **subscriber} for name in names] if outcome == "published" else None,
            rules=rules if outcome == "published" else None,
        )
