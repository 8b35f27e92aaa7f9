"""Functions in processes of their own: what they get, and what is said when they fail."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

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
        "name": context.function_name,
        "time": context.get_remaining_time_in_millis(),
    }
"""

Start = Callable[..., FunctionPool]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a function with some code. It is closed after the test."""
    pools: list[FunctionPool] = []

    def start(code: str = CODE, *, timeout: int = 9) -> FunctionPool:
        (tmp_path / "module.py").write_text(code)
        environment = {"AWS_REGION": "us-east-1"}
        function = Function("SampleFunction", tmp_path, "module.handler", timeout, 128, environment)
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
    assert answer["environment"].keys() - {"LC_CTYPE"} == {"AWS_REGION"}
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
        pytest.param("x = 1", "AttributeError: module 'module' has no attribute 'handler'", id="no handler"),
        pytest.param("raise SystemExit(2)", "SystemExit: 2 (module.py:1)", id="exit"),
        pytest.param("import os; os._exit(4)", "its process ended with 4", id="death"),
    ],
)
def test_function_that_cannot_start_says_why(start: Start, code: str, reason: str) -> None:
    pool = start(code)

    with pytest.raises(FunctionFailed, match=f"^{re.escape(reason)}$"):
        pool.wait_until_ready()
    assert str(failure(pool, 1)) == reason


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
        "pool = FunctionPool(Function('F', folder, 'module.handler', 99, 128, {}, None), logs=folder); "
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
