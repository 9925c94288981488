"""The webhook's HTTP side: who may call, what is answered, and in which order things are checked."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import Any

from aiohttp import web

from tiphys.local.client import ApiError, Kube, NotFound
from tiphys.local.events import bodies, github
from tiphys.local.events.routes import Directory, Endpoint
from tiphys.local.events.store import Store, StoreError, fingerprint
from tiphys.local.events.triggers import Fired, Ignored, Refusal, fire
from tiphys.local.events.worker import Worker
from tiphys.runs.arguments import faults

log = logging.getLogger(__name__)

BODY_SECONDS = 10.0
"""How long a caller may take to send its body."""
LOOK_SECONDS = 1.0
"""How long an answer waits for the API server when it looks whether a run of that name exists."""


class Problem(Exception):
    """An answer that is not 200: status, sentence, and further fields of the answer."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None, **fields: Any):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.fields = {"error": message, **fields}


class Gateway:
    """Answers webhooks of the EventSources in a directory, and stores what they ask for."""

    def __init__(self, kube: Kube, directory: Directory, store: Store, worker: Worker):
        self._kube = kube
        self._directory = directory
        self._store = store
        self._worker = worker

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request; every answer is JSON."""
        try:
            return web.json_response(await self._answer(request))
        except Problem as problem:
            return web.json_response(problem.fields, status=problem.status, headers=problem.headers)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("request failed", extra={"path": request.path})
            message = "the gateway failed, which is a bug; see logs/gateway.log in the platform's folder"
            return web.json_response({"error": message}, status=500)

    async def _answer(self, request: web.BaseRequest) -> dict[str, Any]:
        if request.path == "/health":
            return {"status": "ok"}
        endpoint = self._directory.endpoints.get(request.path)
        if endpoint is None:
            known = sorted(self._directory.endpoints)
            raise Problem(404, f"no endpoint {request.path}; there are: {', '.join(known) or 'none'}", endpoints=known)
        if not endpoint.is_github:
            await self._authorise(request, endpoint)
        if request.method != "POST":
            message = f"{request.method} is not taken here; POST a JSON object with the runbook's parameters"
            raise Problem(405, message, {"Allow": "POST"})
        try:
            body = await self._body(request, endpoint)
            if endpoint.is_github:
                await self._check_signature(request, endpoint, body)
                event = github.event(body, request.content_type, _headers(request))
            else:
                event = {"header": _headers(request), "body": bodies.parse(body)}
        except bodies.BadBody as error:
            raise Problem(error.status, str(error)) from error
        if endpoint.metadata:
            event["metadata"] = endpoint.metadata
        try:
            return await self._accept(endpoint, event)
        except Ignored as ignored:
            if endpoint.is_github:
                # GitHub sends pings, and other types of events to a hook that asks for them: no fault of the sender.
                return {"ignored": ignored.reason}
            raise Problem(400, ignored.reason) from ignored

    async def _secret(self, endpoint: Endpoint) -> bytes:
        try:
            expected = await self._directory.token(endpoint)
        except ApiError as error:
            message = f"the token cannot be read: {error.message}; try again"
            raise Problem(503, message, {"Retry-After": "1"}) from error
        if expected is None:
            name, key = endpoint.secret
            raise Problem(503, f"Secret {endpoint.namespace}/{name} has no key {key!r}; create it, then try again")
        return expected

    async def _check_signature(self, request: web.BaseRequest, endpoint: Endpoint, body: bytes) -> None:
        secret = await self._secret(endpoint)
        signature = request.headers.get(github.SIGNATURE, "")
        if not github.is_signed(body, signature, secret):
            what = "is wrong" if signature else "is missing"
            name, key = endpoint.secret
            raise Problem(401, f"{github.SIGNATURE} {what}; give the hook the secret of {name}, key {key!r}")

    async def _authorise(self, request: web.BaseRequest, endpoint: Endpoint) -> None:
        expected = await self._secret(endpoint)
        kind, _, sent = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer":
            message = "no bearer token; send the header 'Authorization: Bearer TOKEN' (`tiphys token` prints it)"
        elif not hmac.compare_digest(sent.encode(errors="surrogateescape"), expected):
            message = "wrong bearer token; `tiphys token` prints the right one"
        else:
            return
        raise Problem(401, message, {"WWW-Authenticate": "Bearer"})

    async def _body(self, request: web.BaseRequest, endpoint: Endpoint) -> bytes:
        coding = request.headers.get("Content-Encoding", "").lower()
        if coding not in ("", "identity"):
            raise Problem(415, f"a body with Content-Encoding {coding[:40]} is not taken; send plain JSON")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await bodies.read(request.content, endpoint.limit, request.content_length)
        except TimeoutError as error:
            raise Problem(408, f"the body did not come within {BODY_SECONDS:.0f} s; send it again") from error

    async def _accept(self, endpoint: Endpoint, event: dict[str, Any]) -> dict[str, Any]:
        sensors = self._directory.sensors(endpoint.namespace)
        try:
            fired = fire(sensors, endpoint.source, endpoint.event, event)
        except Ignored:
            raise
        except Refusal as refusal:
            not_served = self._directory.faults(endpoint.namespace)
            if not_served and "no Sensor listens" in refusal.reason:
                raise Problem(503, f"a Sensor is not served: {not_served[0]}", faults=not_served) from refusal
            raise Problem(400, refusal.reason) from refusal
        answers = [await self._start(one) for one in fired]
        self._worker.wake()
        return {**answers[0], "workflows": [a["workflow"] for a in answers]} if len(answers) > 1 else answers[0]

    async def _start(self, fired: Fired) -> dict[str, Any]:
        """Store one Workflow, or find that it was stored or exists already."""
        workflow = fired.workflow
        meta, name = workflow["metadata"], workflow["spec"]["workflowTemplateRef"]["name"]
        named = meta.get("name")
        try:
            template = await self._directory.template(meta["namespace"], name)
        except ApiError as error:
            raise Problem(503, f"the API server does not answer: {error.message}", {"Retry-After": "1"}) from error
        if template is None:
            raise Problem(422, f"there is no WorkflowTemplate {name} in namespace {meta['namespace']}; apply it first")
        parameters = (workflow["spec"].get("arguments") or {}).get("parameters") or []
        if wrong := faults(template, {p["name"]: p["value"] for p in parameters if "value" in p}):
            raise Problem(422, f"WorkflowTemplate {name} does not take this: {'; '.join(wrong)}")
        known = self._store.find(meta["namespace"], named) if named else None
        if named and known is None and (existing := await self._existing(meta["namespace"], named)):
            known = fingerprint(existing)
        if known is None:
            try:
                accepted = await self._store.accept(workflow, fired.letter, fired.delivery)
            except StoreError as error:
                raise Problem(503, f"{error}; nothing was started, try again", {"Retry-After": "5"}) from error
            named, duplicate, same = accepted.name, not accepted.is_new, accepted.same
        else:
            duplicate, same = True, known == fingerprint(workflow)
        if not same:
            raise Problem(
                409,
                f"run {named} exists with other parameters; send a new Idempotency-Key for a new run",
                workflow=named,
            )
        log.info("accepted", extra={"workflow": named, "trigger": fired.trigger, "duplicate": duplicate})
        return {"workflow": named, "namespace": meta["namespace"], "duplicate": duplicate}

    async def _existing(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the Workflow of a name that somebody else made; None too while the API server is away."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._kube.get("workflows", name, namespace)
        except NotFound:
            return None
        except (ApiError, TimeoutError) as error:
            log.warning("could not look for a run of that name", extra={"workflow": name, "error": str(error)})
            return None


def _headers(request: web.BaseRequest) -> dict[str, list[str]]:
    """Return the headers as Go has them: canonical names, lists of values, the token masked."""
    made: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        canonical = "-".join(part.capitalize() for part in name.split("-"))
        if canonical == "Authorization":
            value = "*** Masked Auth Secret ***"
        if canonical != "Host":
            made.setdefault(canonical, []).append(value.encode(errors="surrogateescape").decode(errors="replace"))
    return made
