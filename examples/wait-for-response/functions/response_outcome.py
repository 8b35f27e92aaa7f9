"""What the workflow learns about a response that has ended."""

import json
from typing import NamedTuple

from openai.types.responses import Response

# Step Functions' limit: https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html
_MAX_OUTPUT = 262_144  # bytes


class Failure(NamedTuple):
    """An error as Step Functions reports it."""

    error: str
    """The name that `Catch` and `Retry` match."""
    cause: str


def failure_of(response: Response) -> Failure | None:
    """Return why a response failed, or None if it is complete."""
    match response.status:
        case "failed":
            error = response.error
            return Failure("ResponseFailed", f"{error.code}: {error.message}" if error else "OpenAI gave no reason.")
        case "cancelled":
            return Failure("ResponseCancelled", "The response was canceled.")
        case "incomplete":
            details = response.incomplete_details
            return Failure("ResponseIncomplete", (details and details.reason) or "OpenAI gave no reason.")
    return None


def output_of(response: Response) -> str:
    """Return the output of the workflow for a complete response: JSON that fits into Step Functions."""
    output = {
        "response_id": response.id,
        "status": response.status,
        "output_text": response.output_text,
        "usage": response.usage.to_dict() if response.usage else None,
    }
    # UTF-8, because its length counts. A half of a surrogate pair is not valid in UTF-8: "?" replaces it.
    encoded = json.dumps(output, ensure_ascii=False).encode(errors="replace")
    if len(encoded) > _MAX_OUTPUT:
        return json.dumps(output | {"output_text": None, "output_too_large": True})
    return encoded.decode()
