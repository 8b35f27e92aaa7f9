"""A stand-in for the part of OpenAI's API that subscribers call, on the loopback address.

OpenAI's SDK talks to it: OPENAI_BASE_URL is its `base_url`, and the API key is `API_KEY`. Tests add webhook endpoints.
"""

import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Self

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.utils import send_file

from openai_webhooks_cli.local import wsgi_server

API_KEY = "sk-local"  # the only key that the stand-in accepts
_REMEMBERED = 1_000  # requests
_FINAL = ("completed", "failed", "cancelled", "incomplete")
ROUTES = (
    Rule("/v1/responses", methods=["POST"], endpoint="responses.create"),
    Rule("/v1/responses/<id>", methods=["GET"], endpoint="responses.retrieve"),
    Rule("/v1/responses/<id>/cancel", methods=["POST"], endpoint="responses.cancel"),
    Rule("/v1/batches/<id>", methods=["GET"], endpoint="batches.retrieve"),
    Rule("/v1/files/<id>/content", methods=["GET"], endpoint="files.content"),
    Rule("/v1/realtime/calls/<id>/accept", methods=["POST"], endpoint="calls.accept"),
    Rule("/v1/realtime/calls/<id>/reject", methods=["POST"], endpoint="calls.reject"),
)


class OpenAIRequest(NamedTuple):
    """A request that arrived."""

    action: str
    """As in the SDK: `responses.create`, `calls.accept`, … For what the stand-in lacks, the method and the path."""
    id: str
    """Of the resource. Before the answer, it is empty if the request creates one."""
    body: Any
    headers: Mapping[str, str]
    time: float
    """When it arrived, in Unix seconds."""


class RefusedError(Exception):
    """The status code and the message of OpenAI's error. A third value names the parameter that is missing."""


class OpenAIStandIn:
    """OpenAI's resources, in memory. Tests change them directly. The SDK changes them through requests.

    It starts on construction and stops at the end of the `with` statement. A background response ends `seconds` after
    its start; without `seconds`, only `end_response` ends it. The request's metadata can choose how: `{"stand_in":
    "failed"}`, or another final status. `on_end` is then called with the type of the event that OpenAI would send, and
    with the response's id.

    `on_request` is called before a request with a valid key takes effect. It can raise RefusedError, or return an
    answer of its own. `on_answer` is called after each request, with the status code. All are called from other
    threads.
    """

    routes: Sequence[Rule] = ROUTES

    def __init__(
        self,
        *,
        api_key: str = API_KEY,
        seconds: float | None = None,
        on_end: Callable[[str, str], object] = lambda _type, _id: None,
        on_request: Callable[[OpenAIRequest], Response | None] = lambda _: None,
        on_answer: Callable[[OpenAIRequest, int], object] = lambda _request, _status: None,
    ) -> None:
        self.api_key = api_key
        self.responses: dict[str, dict[str, Any]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes | Path] = {}
        self.calls: dict[str, str] = {}
        """The states of calls by id: `ringing`, `accept` or `reject`."""
        self.requests: deque[OpenAIRequest] = deque(maxlen=_REMEMBERED)
        self.on_request = on_request
        self._on_answer = on_answer
        self._seconds = seconds
        self._on_end = on_end
        self._lock = threading.RLock()
        self._timers: list[threading.Timer] = []
        self._learned: set[str] = set()
        self._routes = Map([rule.empty() for rule in self.routes])
        self._server = wsgi_server.start(Request.application(self._respond))
        self.base_url = f"http://{self._server.host}:{self._server.port}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        wsgi_server.stop(self._server)

    def end_response(self, response_id: str, status: str = "completed", **fields: Any) -> None:
        """End a response, as OpenAI does. `fields` replace those of the response. A response ends only once."""
        with self._lock:
            response = self.responses[response_id]
            if response["status"] in _FINAL:
                return
            response |= _ended_response(response_id, status) | fields
        self._on_end(f"response.{status}", response_id)

    def add_batch(
        self, batch_id: str, *, status: str = "completed", output: bytes | Path | None, errors: bytes | Path | None
    ) -> None:
        """Add a batch that has ended, with its files."""
        files = {"output_file_id": output, "error_file_id": errors}
        ids = {name: f"file-{secrets.token_hex(8)}" for name, content in files.items() if content is not None}
        self.files |= {ids[name]: content for name, content in files.items() if content is not None}
        self.batches[batch_id] = _batch(batch_id, status) | ids

    def learn(self, function_input: Any) -> None:
        """Add the resource that an event names, in the state that the event's type says.

        It replaces what an earlier event added, but not what requests or tests created. `function_input` is what a
        function gets. It can have any form, because a rule can transform events.
        """
        match function_input:
            case {"detail": {"type": str(event_type), "data": dict(data)}}:
                self._add_resource(event_type, data)

    def _add_resource(self, event_type: str, data: Mapping[str, Any]) -> None:
        family, _, status = event_type.partition(".")
        resource_id = str(data.get("id"))
        with self._lock:
            if family == "response" and status in _FINAL and self._may_learn(resource_id, self.responses):
                self.responses[resource_id] = _response(resource_id, {}) | _ended_response(resource_id, status)
            elif family == "batch" and self._may_learn(resource_id, self.batches):
                has_results = status != "failed"
                self.add_batch(
                    resource_id,
                    status=status,
                    output=_SAMPLE_OUTPUT if has_results else None,
                    errors=_SAMPLE_ERRORS if has_results else None,
                )
            elif event_type == "realtime.call.incoming":
                self.calls.setdefault(str(data.get("call_id")), "ringing")

    def _may_learn(self, resource_id: str, known: Mapping[str, object]) -> bool:
        if resource_id not in known:
            self._learned.add(resource_id)
        return resource_id in self._learned

    def _respond(self, request: Request) -> Response:
        arrived = OpenAIRequest(f"{request.method} {request.path}", "", None, dict(request.headers), time.time())
        try:
            action, values = self._routes.bind_to_environ(request.environ).match()
            arrived = arrived._replace(action=action, id=values.get("id", ""))
            self._authorize(request)
            arrived = arrived._replace(body=json.loads(request.get_data() or "null"))
            self.requests.append(arrived)
            answer = self.on_request(arrived) or self._act(arrived, request)
        except RefusedError as error:
            answer = self._refuse(*error.args)
        except HTTPException:
            actions = ", ".join(rule.endpoint for rule in self._routes.iter_rules())
            answer = self._refuse(404, f"The local stand-in lacks {arrived.action}. It has {actions}.")
        except KeyError:
            answer = self._refuse(404, f"The local stand-in has no {arrived.id}.")
        if arrived.action == "responses.create" and answer.status_code == 200:
            arrived = arrived._replace(id=answer.get_json()["id"])
        self._on_answer(arrived, answer.status_code)
        return answer

    def _act(self, request: OpenAIRequest, http: Request) -> Response:
        with self._lock:
            match request.action:
                case "responses.create":
                    return _json(self._create_response(request.body or {}))
                case "responses.retrieve":
                    return _json(self.responses[request.id])
                case "batches.retrieve":
                    return _json(self.batches[request.id])
                case "files.content":
                    content = self.files[request.id]
                    file = BytesIO(content) if isinstance(content, bytes) else content
                    # It answers ranges too.
                    return send_file(file, http.environ, mimetype="application/octet-stream", conditional=True)
                case "calls.accept" | "calls.reject":
                    return self._answer_call(request)
        return self._cancel_response(request.id)

    def _authorize(self, request: Request) -> None:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if key != self.api_key:
            # OpenAI quotes parts of the key too.
            raise RefusedError(401, f"Incorrect API key provided: {key[:8]}****{key[-4:]}.")

    def _refuse(self, status: int, message: str, missing: str | None = None) -> Response:
        """Return an error as OpenAI answers it."""
        code = "missing_required_parameter" if missing else None
        error = {"message": message, "type": "invalid_request_error", "param": missing, "code": code}
        headers = {"x-request-id": f"req_{secrets.token_hex(16)}"}
        return Response(json.dumps({"error": error}), status, headers=headers, content_type="application/json")

    def _create_response(self, body: dict[str, Any]) -> dict[str, Any]:
        # A stored prompt can have both.
        for name, others in {"model": ["prompt"], "input": ["prompt", "previous_response_id", "conversation"]}.items():
            if not any(map(body.get, [name, *others])):
                raise RefusedError(400, f"Missing required parameter: '{name}'.", name)
        response_id = f"resp_{secrets.token_hex(16)}"
        self.responses[response_id] = _response(response_id, body)
        status = (body.get("metadata") or {}).get("stand_in", "completed")
        if not body.get("background"):
            # OpenAI sends no event for it.
            self.responses[response_id] |= _ended_response(response_id, status)
        elif self._seconds is not None:
            timer = threading.Timer(self._seconds, self.end_response, [response_id, status])
            timer.daemon = True
            self._timers.append(timer)
            timer.start()
        return self.responses[response_id]

    def _cancel_response(self, response_id: str) -> Response:
        if not self.responses[response_id]["background"]:
            raise RefusedError(400, "Only background responses can be cancelled.")
        self.end_response(response_id, "cancelled")
        return _json(self.responses[response_id])

    def _answer_call(self, request: OpenAIRequest) -> Response:
        # What OpenAI answers for a call that does not ring is not documented.
        if self.calls.get(request.id) != "ringing":
            raise RefusedError(404, "No call with this id rings.")
        self.calls[request.id] = request.action.removeprefix("calls.")
        return Response()


def _json(resource: dict[str, Any]) -> Response:
    return Response(json.dumps(resource), content_type="application/json")


def _response(response_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "queued",
        "background": body.get("background", False),
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata", {}),
        "model": body.get("model", "gpt-6.1-sol"),
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }


def _ended_response(response_id: str, status: str) -> dict[str, Any]:
    text = {"type": "output_text", "text": "An answer of the local stand-in.", "annotations": [], "logprobs": []}
    message = {
        "id": response_id.replace("resp_", "msg_"),
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 17,
    }
    fields: dict[str, dict[str, Any]] = {
        "completed": {"output": [message], "usage": usage},
        "failed": {"error": {"code": "server_error", "message": "An error of the local stand-in."}},
        "incomplete": {"incomplete_details": {"reason": "max_output_tokens"}, "output": [message], "usage": usage},
    }
    return {"status": status} | fields.get(status, {})


_SAMPLE_OUTPUT = b"".join(
    json.dumps({"id": f"batch_req_{n}", "custom_id": f"request-{n}", "response": {"status_code": 200}}).encode() + b"\n"
    for n in (1, 2)
)
_SAMPLE_ERRORS = b'{"id": "batch_req_3", "custom_id": "request-3", "error": {"code": "batch_expired"}}\n'


def _batch(batch_id: str, status: str) -> dict[str, Any]:
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": "/v1/responses",
        "completion_window": "24h",
        "created_at": int(time.time()),
        "input_file_id": "file-input",
        "output_file_id": None,
        "error_file_id": None,
        "status": status,
        "model": "gpt-6.1-sol",
        "request_counts": {"total": 3, "completed": 2, "failed": 1},
        "usage": {
            "input_tokens": 20,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 14,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 34,
        },
    }
