"""One instance of the function in this process, its clock stopped at NOW, over the AWS beside this module."""

import io
import os
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import Any

from proof.fuzz.aws import ENVIRONMENT, install
from proof.fuzz.deliveries import NOW

aws = install()
os.environ.update(ENVIRONMENT)

from receiver import app  # noqa: E402  # it reads the environment and makes its clients when it is imported

clock = SimpleNamespace(now=NOW)
app.time = SimpleNamespace(time=lambda: clock.now)  # type: ignore[assignment,attr-defined]

_CONTEXT = SimpleNamespace(
    aws_request_id="00000000-0000-0000-0000-000000000000",
    function_name="receiver",
    get_remaining_time_in_millis=lambda: 10_000,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:receiver:live",
    memory_limit_in_mb=512,
)


def invoke(event: dict[str, Any]) -> tuple[int, str]:
    """The status of the answer, and all that was printed and logged."""
    output = io.StringIO()
    app.logger.registered_handler.setStream(output)  # type: ignore[attr-defined]
    with redirect_stdout(output):
        answer = app.handler(event, _CONTEXT)
    return answer["statusCode"], output.getvalue()
