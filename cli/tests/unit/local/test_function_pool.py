"""Functions in processes of their own: what they get, and what is said when they fail."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from openai_webhooks_cli.local import function_process
from openai_webhooks_cli.local.function_pool import Function, FunctionFailed, FunctionPool
from tests.support.background import wait_until

CODE = """
import os
import sys
import time

def handler(event, context):
    print("handling", event)
    if event == "die":
        os._exit(3)
    if event == "hang":
        time.sleep(60)
    if event == "object":
        return object()
    return {
        "event": event / 1,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "name": context.function_name,
        "time": context.get_remaining_time_in_millis(),
    }
"""

Start = Callable[..., FunctionPool]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a function with some code. It is closed after the test."""
    pools: list[FunctionPool] = []

    def start(code: str = CODE, *, handler: str = "module.handler", timeout: int = 9, **options: Any) -> FunctionPool:
        (tmp_path / "module.py").write_text(code)
        environment = {"AWS_REGION": "us-east-1"}
        function = Function("SampleFunction", tmp_path, handler, timeout, 128, environment, **options)
        pools.append(FunctionPool(function, logs=tmp_path))
        return pools[-1]

    yield start
    for pool in pools:
        pool.close()


def failure(pool: FunctionPool, event: object) -> FunctionFailed:
    with pytest.raises(FunctionFailed) as caught:
        pool.invoke(event)
    return caught.value


def test_function_gets_event_environment_and_context(start: Start, tmp_path: Path) -> None:
    pool = start()
    answer, log = pool.invoke(7)

    assert (answer["event"], answer["name"], log) == (7, "SampleFunction", ["handling 7"])
    # Python adds LC_CTYPE where the machine has no other UTF-8 locale.
    environment, added = answer["environment"], pool.function.variables().keys() | {"_X_AMZN_TRACE_ID"}
    assert environment.keys() - {"LC_CTYPE"} == added
    assert (environment["AWS_REGION"], environment["_HANDLER"]) == ("us-east-1", "module.handler")
    assert answer["folder"] == environment["LAMBDA_TASK_ROOT"] == str(tmp_path)
    assert 0 < answer["time"] <= 9000
    assert pool.invoke(8).log == ["handling 8"]
    assert (tmp_path / "SampleFunction-1.log").read_text() == "handling 7\nhandling 8\n"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        pytest.param(
            "x", "TypeError: unsupported operand type(s) for /: 'str' and 'int' (module.py:15)", id="exception"
        ),
        pytest.param("object", "TypeError: ", id="result that is not JSON"),
        pytest.param("die", "its process ended with 3: handling die", id="process that ends"),
        pytest.param("hang", "Task timed out after 1 s", id="time-out"),
    ],
)
def test_failure_has_reason_and_next_event_is_handled(start: Start, event: str, reason: str) -> None:
    pool = start(timeout=1)
    error = failure(pool, event)

    assert str(error).startswith(reason)
    assert ('"event": event / 1,' in error.details) == (event == "x")
    assert f"handling {event}" in "".join(error.log)
    assert function_process.__file__ not in "".join(error.log)
    assert pool.invoke(1).result["event"] == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param("import nothing", "ModuleNotFoundError: No module named 'nothing' (module.py:1)", id="import"),
        pytest.param("\ndef handler(:", "SyntaxError: invalid syntax (module.py, line 2) (module.py:2)", id="syntax"),
        pytest.param("raise SystemExit(2)", "SystemExit: 2 (module.py:1)", id="exit"),
        pytest.param("import os; os._exit(4)", "its process ended with 4", id="death"),
    ],
)
def test_function_that_cannot_start_says_why(start: Start, code: str, reason: str) -> None:
    pool = start(code)

    with pytest.raises(FunctionFailed, match=f"^{re.escape(reason)}$"):
        pool.wait_until_ready()
    assert str(failure(pool, 1)) == reason


@pytest.mark.parametrize("handler", ["module", "module.other", "missing.handler", "module/missing.handler", "sys.exit"])
def test_wrong_handler_is_named_as_in_lambda(start: Start, handler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap = pytest.importorskip("awslambdaric.bootstrap", reason="the runtime client needs Linux")
    pool = start("x = 1", handler=handler)
    monkeypatch.syspath_prepend(pool.function.code)
    monkeypatch.delitem(sys.modules, "module", raising=False)
    with pytest.raises(bootstrap.FaultException) as expected:
        bootstrap._get_handler(handler)

    error = failure(pool, 1)

    assert str(error) == "\n".join(error.log) == f"{expected.value.exception_type}: {expected.value.msg}"


def test_context_is_that_of_lambda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtime = pytest.importorskip("awslambdaric.lambda_context", reason="the runtime client needs Linux")
    for variable, value in Function("F", tmp_path, "a.b", 9, 128, {}).variables().items():
        monkeypatch.setenv(variable, value)
    ours = function_process.LambdaContext("F", deadline=0)
    lambdas = runtime.LambdaContext(ours.aws_request_id, None, None, 0, ours.invoked_function_arn)
    public = [name for name in dir(lambdas) if not name.startswith("_")]
    values = set(public) & vars(lambdas).keys() - {"identity"}

    assert [name for name in dir(ours) if not name.startswith("_")] == public
    assert {name: getattr(ours, name) for name in values} == {name: getattr(lambdas, name) for name in values}
    assert [*vars(ours.identity)] == lambdas.identity.__slots__
    assert (ours.get_remaining_time_in_millis(), ours.w3c()) == (0, {})


def test_code_and_layers_come_before_environment(start: Start, tmp_path: Path) -> None:
    site_packages, names = "first/lib/python3.13/site-packages", ["jinja2", "requests", "rich", "yaml"]
    folders = {".": names[:1], site_packages: names[:3], "last": names, "first": names}
    for folder, modules in folders.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for module in modules:
            (tmp_path / folder / f"{module}.py").touch()
    code = f"import {', '.join(names)}\ndef handler(*_): return [m.__file__ for m in ({', '.join(names)})]"

    pool = start(code, layers=[tmp_path / "last", tmp_path / "first"], requirements=[])

    assert pool.wait_until_ready() == []
    places = [str(Path(place).parent.relative_to(tmp_path)) for place in pool.invoke(1).result]
    assert places == [".", site_packages, site_packages, "last"]


def test_difference_from_lambda_is_said_once(start: Start) -> None:
    pool = start("import boto3, pydantic, yaml\ndef handler(*_): pass", runtime="python3.1", requirements=[])

    runtime, *imports = pool.wait_until_ready()

    assert runtime.startswith("Sample declares python3.1 and runs with 3.")
    assert [text.partition(" and ")[0] for text in imports] == ["Sample imports pydantic", "Sample imports yaml"]
    pool.restart()
    assert pool.wait_until_ready() == []


@pytest.mark.parametrize("code", ["def handler(event, context): return 1", "import nothing"], ids=["works", "broken"])
def test_restart_uses_saved_code(start: Start, tmp_path: Path, code: str) -> None:
    pool = start(code)
    with suppress(FunctionFailed):
        assert pool.invoke(None).result == 1
    (tmp_path / "module.py").write_text("def handler(event, context):\n    return 2")

    pool.restart()

    assert pool.invoke(None).result == 2


def test_function_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(CODE)
    code = (
        "import sys; from pathlib import Path; from openai_webhooks_cli.local.function_pool import *; "
        f"folder = Path({str(tmp_path)!r}); "
        "pool = FunctionPool(Function('F', folder, 'module.handler', 99, 128, {}), logs=folder); "
        "pool.wait_until_ready(); print(pool._processes[0]._process.pid, flush=True); pool.invoke('hang')"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        wait_until(lambda: "hang" in (tmp_path / "F-1.log").read_text(), "a busy function")
        parent.kill()

    wait_until(lambda: not is_running(child), "the end of the function's process", seconds=5)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_process_imports_only_standard_library() -> None:
    source = Path(function_process.__file__)
    code = f"import runpy, sys; runpy.run_path({str(source)!r}); print(*(m for m in sys.modules if 'webhooks' in m))"

    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_closing_fails_running_invocation(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "SampleFunction-1.log"
    for attempt in range(5):  # the two threads can meet at several places
        log.write_text("")
        pool = start()
        pool.wait_until_ready()
        with ThreadPoolExecutor() as threads:
            invocation = threads.submit(pool.invoke, "hang")
            wait_until(lambda: "handling hang" in log.read_text(), f"invocation {attempt}")
            pool.close()

            with pytest.raises(FunctionFailed, match=r"^its process ended with -9"):
                invocation.result(timeout=10)
        assert all(process.has_ended for process in pool._processes)
