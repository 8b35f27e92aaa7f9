"""The stand-in for OpenAI's API, with webhook endpoints.

The real SDK talks to it: set OPENAI_BASE_URL to its `base_url`, and OPENAI_API_KEY to its `api_key`.
"""

import json
import secrets
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import requests
from standardwebhooks import Webhook
from werkzeug import Request, Response
from werkzeug.routing import Rule

from openai_webhooks import CATALOG
from openai_webhooks_cli import samples
from openai_webhooks_cli.local.openai_stand_in import ROUTES, OpenAIRequest, OpenAIStandIn, RefusedError

HANG_UP: Final = 0
"""A fault: the request takes effect, and its answer gets lost."""

_PAGE: Final = 20  # endpoints
_ROUTES: Final = (
    Rule("/v1/webhook_event_types", methods=["GET"], endpoint="event_types"),
    Rule("/v1/webhook_endpoints", methods=["GET"], endpoint="list"),
    Rule("/v1/webhook_endpoints", methods=["POST"], endpoint="create"),
    Rule("/v1/webhook_endpoints/<id>", methods=["POST"], endpoint="update"),
    Rule("/v1/webhook_endpoints/<id>", methods=["DELETE"], endpoint="delete"),
    Rule("/v1/webhook_endpoints/<id>/rotate_secret", methods=["POST"], endpoint="rotate"),
    Rule("/v1/webhook_endpoints/<id>/test", methods=["POST"], endpoint="test"),
)


class EndpointsStandIn(OpenAIStandIn):
    """The stand-in for OpenAI, with webhook endpoints in memory.

    Test deliveries go to `route(url)`, and are signed with `standardwebhooks`.
    """

    routes = (*ROUTES, *_ROUTES)

    def __init__(
        self,
        route: Callable[[str], str] = lambda url: url,
        *,
        api_key: str = "sk-test",
        event_types: list[str] | None = None,
    ) -> None:
        self.event_types = list(CATALOG) if event_types is None else event_types
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, list[str]] = {}
        """The valid signing secrets by endpoint, the newest first. Test deliveries are signed with the first."""
        self.faults: dict[str, list[tuple[int, str]]] = {}
        """By action: the status codes and messages of the next answers. See `fail`."""
        self.bodies: dict[str, str] = {}
        """By action: bodies that replace the answers."""
        self._route = route
        super().__init__(api_key=api_key)

    @property
    def actions(self) -> list[str]:
        """The actions that were requested with a valid key."""
        return [request.action for request in self.requests]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the SDK reads."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.api_key}

    def fail(self, action: str, status: int, message: str = "planted", *, times: int = 1) -> None:
        """Answer the next requests for `action` with an error, or with HANG_UP."""
        self.faults[action] = [(status, message)] * times

    def register(self, url: str, *, name: str = "openai-webhooks", event_types: list[str] | None = None) -> str:
        """Create an endpoint. Return its id."""
        created = self.create({"url": url, "name": name, "event_types": event_types or self.event_types})
        return str(created["id"])

    def create(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._check(fields)
        endpoint = {
            "id": f"we_{secrets.token_hex(8)}",
            "object": "webhook_endpoint",
            "created_at": int(time.time()),
            **{name: fields[name] for name in ("name", "url", "event_types")},
        }
        self.endpoints[endpoint["id"]] = endpoint
        self.secrets[endpoint["id"]] = []
        return self.rotate(endpoint["id"], {})

    def rotate(self, endpoint_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        endpoint, secret = self.endpoints[endpoint_id], samples.new_secret()
        old = self.secrets[endpoint_id][:1] if fields.get("keep_old_secret_active_for_24_hours") else []
        self.secrets[endpoint_id] = [secret, *old]
        endpoint.update(signing_secret_hint=f"whsec_…{secret[-6:]}", updated_at=int(time.time()))
        return {**endpoint, "signing_secret": secret}

    def deliver(self, endpoint_id: str, event_type: str, secret: str) -> int:
        """Deliver a sample event that is signed with `secret`. Return the status code of the answer."""
        now, webhook_id = datetime.now(UTC), samples.new_id("wh_")
        event = samples.sample(event_type, created_at=int(now.timestamp()), event_id=samples.new_id("evt_"))
        body = json.dumps(event)
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(webhook_id, now, body),
        }
        return self._post(self._route(self.endpoints[endpoint_id]["url"]), body, headers)

    def _post(self, url: str, body: str, headers: dict[str, str]) -> int:
        try:
            return requests.post(url, data=body, headers=headers, timeout=10, allow_redirects=False).status_code
        except requests.RequestException:
            return 502  # What OpenAI answers then is not documented.

    def _list(self, after: str | None) -> dict[str, Any]:
        newest_first = list(reversed(self.endpoints.values()))
        ids = [endpoint["id"] for endpoint in newest_first]
        start = ids.index(after) + 1 if after else 0
        page = newest_first[start : start + _PAGE]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + _PAGE < len(ids),
        }

    def _update(self, endpoint_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        endpoint = self.endpoints[endpoint_id]
        self._check({**endpoint, "event_types": self.event_types, **fields})
        endpoint.update(fields, updated_at=int(time.time()))
        return endpoint

    def _delete(self, endpoint_id: str) -> dict[str, Any]:
        del self.endpoints[endpoint_id], self.secrets[endpoint_id]
        return {"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}

    def _test(self, endpoint_id: str, event_type: str) -> dict[str, Any]:
        if event_type not in self.event_types:
            raise RefusedError(400, f"Invalid value: '{event_type}'.")
        return {
            "object": "webhook_endpoint.test",
            "event_type": event_type,
            "status_code": self.deliver(endpoint_id, event_type, self.secrets[endpoint_id][0]),
            "success": True,
            "webhook_endpoint_id": endpoint_id,
        }

    def _check(self, fields: dict[str, Any]) -> None:
        if not 1 <= len(fields["name"]) <= 256:
            raise RefusedError(400, "Invalid 'name'.")
        if not fields["url"].startswith("https://") or len(fields["url"]) > 2048:
            raise RefusedError(400, "Invalid 'url': use HTTPS.")
        if not fields["event_types"] or not set(fields["event_types"]) <= set(self.event_types):
            raise RefusedError(400, "Invalid 'event_types'.")

    def _act(self, request: OpenAIRequest, http: Request) -> Response:
        if request.action not in {rule.endpoint for rule in _ROUTES}:
            return super()._act(request, http)
        is_lost = self._take_fault(request.action) == HANG_UP
        answer = self._act_on_endpoint(request, http)
        if is_lost:
            http.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return Response(self.bodies.get(request.action, json.dumps(answer)), content_type="application/json")

    def _refuse(self, status: int, message: str, missing: str | None = None) -> Response:
        answer = super()._refuse(status, message, missing)
        answer.headers["x-should-retry"] = "false"  # so that tests do not wait for the SDK's retries
        return answer

    def _take_fault(self, action: str) -> int | None:
        if not self.faults.get(action):
            return None
        status, message = self.faults[action].pop(0)
        if status != HANG_UP:
            raise RefusedError(status, message)
        return status

    def _act_on_endpoint(self, request: OpenAIRequest, http: Request) -> dict[str, Any]:
        fields = request.body or {}
        actions: dict[str, Callable[[], dict[str, Any]]] = {
            "event_types": lambda: {"object": "list", "data": self.event_types},
            "list": lambda: self._list(http.args.get("after")),
            "create": lambda: self.create(fields),
            "update": lambda: self._update(request.id, fields),
            "rotate": lambda: self.rotate(request.id, fields),
            "delete": lambda: self._delete(request.id),
            "test": lambda: self._test(request.id, fields["event_type"]),
        }
        return actions[request.action]()
