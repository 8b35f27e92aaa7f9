"""An instance of the function in this process, with a stopped clock and with evidence.fuzz.aws as AWS."""

import io
import os
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import Any

from evidence.fuzz.aws import install
from evidence.fuzz.deliveries import NOW

aws = install()
if "EVENT_BUS_NAME" not in os.environ:
    # Reading the template uses memory. A process whose memory is measured has the environment already.
    from evidence.fuzz.environment import ENVIRONMENT

    os.environ.update(ENVIRONMENT)

from receiver import app  # noqa: E402  # reads the environment and creates its clients when it is imported

clock = SimpleNamespace(now=NOW)
app.time = SimpleNamespace(time=lambda: clock.now)  # type: ignore[assignment,attr-defined]  # the function's clock

_CONTEXT = SimpleNamespace(
    aws_request_id="00000000-0000-0000-0000-000000000000",
    function_name="receiver",
    get_remaining_time_in_millis=lambda: 10_000,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:receiver:live",
    memory_limit_in_mb=int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]),
)


def invoke(event: dict[str, Any]) -> tuple[int, str]:
    """Return the status of the answer, and everything that the function printed and logged."""
    output = io.StringIO()
    app.telemetry._logger.registered_handler.setStream(output)  # type: ignore[attr-defined]  # it is a StreamHandler
    with redirect_stdout(output):
        answer = app.handler(event, _CONTEXT)  # type: ignore[arg-type]  # it has what the function reads
    return answer["statusCode"], output.getvalue()
