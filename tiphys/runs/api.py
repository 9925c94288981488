"""The cluster as the tool sees it: the API that the kubeconfig names, in one namespace.

It takes the official client for what is hard (kubeconfigs, exec plugins, TLS) and not its generated classes, whose
models drop fields that they do not know.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tiphys.local.settings import NAMESPACE, Settings
from tiphys.runs.errors import Busy, Conflict, Forbidden, NotFound, ToolError, Unreachable
from tiphys.runs.loopback import is_loopback

Object = dict[str, Any]

ARGO = "/apis/argoproj.io/v1alpha1"
MYSQL = "/apis/mysql.oracle.com/v2"
INTERNAL_LABEL = "tiphys.dev/internal"
FROM_ENVIRONMENT = "$KUBECONFIG names it; `unset KUBECONFIG` for the local platform"
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0


@dataclass(frozen=True)
class Address:
    """Which cluster is meant.

    Attributes:
        kubeconfig: the file, or None for the user's own default.
        platform: settings of the local platform, if it is the one that is meant.
        namespace: where the pack is, or None for the one that the kubeconfig's context names.
        by_environment: whether KUBECONFIG named the file, and not the user or this tool.
    """

    kubeconfig: Path | None
    platform: Settings | None
    namespace: str | None
    by_environment: bool = False


def address(kubeconfig: str | None, namespace: str | None) -> Address:
    """Return which cluster is meant: `kubeconfig`, else KUBECONFIG, else the local platform, else the user's own.

    The tool's own option --home stands in KUBECONFIG by now, so that it wins over what the shell had there.
    """
    settings = Settings.load()
    chosen = kubeconfig or os.environ.get("KUBECONFIG") or None
    if chosen is None and settings.kubeconfig.exists():
        chosen = str(settings.kubeconfig)
    path = Path(chosen).expanduser().absolute() if chosen else None
    local = path is not None and path.resolve() == settings.kubeconfig.resolve()
    return Address(path, settings if local else None, namespace, by_environment=not kubeconfig and not local)


def safe(name: str, what: str = "run or template") -> str:
    """Return a name that can be a part of an address, as it is.

    Raises:
        ToolError: it cannot: an empty one, as an unset variable of a shell gives, would mean all objects of a kind.
    """
    if not name or name in (".", "..") or set(name) & set("/?#%") or not name.isprintable() or " " in name:
        raise ToolError(f"{name!r} is no name of a {what}{'' if name else ': is a variable not set?'}")
    return name


def is_internal(template: Object) -> bool:
    """Tell whether a template is for the pack's own schedules and not for people."""
    return (template["metadata"].get("labels") or {}).get(INTERNAL_LABEL) == "true"


class Cluster:
    """Objects of one namespace. Its methods raise :class:`ToolError`, `NotFound` or `Unreachable`."""

    def __init__(self, where: Address):
        """Read the kubeconfig; nothing is sent yet."""
        from kubernetes import config
        from kubernetes.client.api_client import ApiClient
        from kubernetes.client.configuration import Configuration
        from yaml import YAMLError

        self.where = where
        settings = Configuration()
        loader: Any = config
        file = str(where.kubeconfig) if where.kubeconfig else None
        hint = "start a platform with `tiphys up`, or use --kubeconfig"
        if where.by_environment and file:
            hint = f"{FROM_ENVIRONMENT}, or use --kubeconfig or --home"
        named = file or config.KUBE_CONFIG_DEFAULT_LOCATION
        if not any(Path(one).expanduser().exists() for one in named.split(os.pathsep)):
            raise ToolError(f"there is no kubeconfig{f' {file}' if file else ''}; {hint}")
        try:
            loader.load_kube_config(config_file=file, client_configuration=settings)
            _, active = loader.list_kube_config_contexts(config_file=file)
        except (config.ConfigException, OSError, ValueError) as error:
            raise ToolError(f"the kubeconfig {named} is of no use: {str(error).rstrip('.')}; {hint}") from error
        except (YAMLError, TypeError, AttributeError, KeyError) as error:
            # The client falls over YAML that is something else, and over none at all.
            raise ToolError(f"the kubeconfig {named} is of no use: it is no kubeconfig; {hint}") from error
        found = where.namespace or (active.get("context") or {}).get("namespace") or NAMESPACE
        self.namespace = safe(found, "namespace")
        settings.retries = False
        if is_loopback(str(settings.host)):
            settings.proxy = None
        self._api: Any = ApiClient(settings)
        self._host = str(settings.host)

    @property
    def host(self) -> str:
        """Return the API server's URL."""
        return self._host

    def workflow(self, name: str) -> Object:
        """Return a Workflow."""
        try:
            return self.call("GET", f"{self.argo('workflows')}/{safe(name, 'run')}")
        except NotFound as error:
            try:
                found = self.list("workflows")
            except Forbidden:
                raise NotFound(f"no run {name} in namespace {self.namespace}; you may not list those it has") from error
            recent = sorted(found, key=lambda one: str(one["metadata"].get("creationTimestamp")))
            names = [one["metadata"]["name"] for one in recent[-5:]]
            known = f"the newest are: {', '.join(names)}" if names else "there is none yet; see `tiphys submit --help`"
            raise NotFound(f"no run {name} in namespace {self.namespace}; {known}") from error

    def template(self, name: str) -> Object:
        """Return a WorkflowTemplate."""
        try:
            return self.call("GET", f"{self.argo('workflowtemplates')}/{safe(name, 'template')}")
        except NotFound as error:
            import difflib

            shown = [one for one in self.list("workflowtemplates") if not is_internal(one)]
            names = sorted(one["metadata"]["name"] for one in shown)
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has: {', '.join(names) or 'none'}"
            raise NotFound(f"namespace {self.namespace} has no template {name}; {hint}") from error

    def schedule(self, name: str) -> Object:
        """Return a CronWorkflow."""
        return self.call("GET", f"{self.argo('cronworkflows')}/{safe(name, 'schedule')}")

    def create_workflow(self, workflow: Object, dry_run: bool = False) -> Object:
        """Create a Workflow, or with `dry_run` let the API server check it only."""
        return self.call("POST", self.argo("workflows"), workflow, query={"dryRun": "All"} if dry_run else None)

    def patch_workflow(self, name: str, patch: Object) -> Object:
        """Lay a JSON merge patch over a Workflow."""
        path = f"{self.argo('workflows')}/{safe(name, 'run')}"
        return self.call("PATCH", path, patch, content_type="application/merge-patch+json")

    def list(self, resource: str, labels: str = "") -> list[Object]:
        """Return pods (by label), workflows, workflowtemplates or innodbclusters."""
        path = self.argo(resource)
        if resource == "pods":
            path = f"/api/v1/namespaces/{self.namespace}/pods"
        elif resource == "innodbclusters":
            path = f"{MYSQL}/namespaces/{self.namespace}/innodbclusters"
        items: list[Object] = self.call("GET", path, query={"labelSelector": labels} if labels else None)["items"]
        return items

    def secret(self, name: str) -> dict[str, str]:
        """Return a Secret's decoded values."""
        data = self.call("GET", f"/api/v1/namespaces/{self.namespace}/secrets/{name}").get("data") or {}
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def config_map(self, name: str) -> dict[str, str]:
        """Return a ConfigMap's values."""
        found: dict[str, str] = (
            self.call("GET", f"/api/v1/namespaces/{self.namespace}/configmaps/{name}").get("data") or {}
        )
        return found

    def pod_log(self, pod: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines of a pod's main container; with `follow`, until it ends."""
        query = {"container": "main", **({"follow": "true"} if follow else {})}
        if tail is not None:
            query["tailLines"] = str(tail)
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        answer = self._request("GET", path, None, query, "", None if follow else READ_SECONDS)
        rest = b""
        try:
            for chunk in answer.stream(16 * 1024, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        finally:
            answer.release_conn()
        if rest:
            yield rest.decode(errors="replace")

    def argo(self, resource: str) -> str:
        """Return the path of one of Argo's resources."""
        return f"{ARGO}/namespaces/{self.namespace}/{resource}"

    def call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """Send one request and return the object in the answer."""
        found: Object = json.loads(self._request(method, path, body, query, content_type, READ_SECONDS).read())
        return found

    def _request(
        self,
        method: str,
        path: str,
        body: Object | None,
        query: Mapping[str, str] | None,
        content_type: str,
        seconds: float | None,
    ) -> Any:
        import urllib3.exceptions
        from kubernetes.client.exceptions import ApiException

        headers = {"Accept": "application/json, */*"}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        if body is not None:
            headers["Content-Type"] = content_type
        url = f"{self._host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._api.call_api(method, url, headers, body, _request_timeout=(CONNECT_SECONDS, seconds))
            raw = answer.response
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            is_ours = self.where.platform is not None or self.where.kubeconfig is None
            hint = "start the platform with `tiphys up`" if is_ours else f"is {self.where.kubeconfig} the right one?"
            if self.where.by_environment and not is_ours:
                hint = f"its kubeconfig is {self.where.kubeconfig}: {FROM_ENVIRONMENT}"
            raise Unreachable(f"the API server at {self._host} does not answer; {hint}") from error
        if 200 <= raw.status <= 299:
            return raw
        raise _failed(raw.status, raw.read(), f"{method} {path}")


def _failed(status: int, body: bytes, action: str) -> ToolError:
    told: dict[str, Any] = {}
    try:
        told = dict(json.loads(body))
        said = str(told.get("message") or "")
    except (ValueError, TypeError):
        said = body.decode(errors="replace")[:200]
    if status == 404:
        return NotFound(said or f"not found: {action}")
    if status == 409:
        causes = (told.get("details") or {}).get("causes") or []
        return Conflict(f"{said or action}; choose another name, or look at what is there", causes)
    if status == 401:
        return ToolError(f"the API server does not take the kubeconfig's credentials (401): {said}; renew them")
    if status == 403:
        return Forbidden(f"not allowed (403): {said}; ask for the right, or use another kubeconfig")
    if status >= 500 or status == 429:
        return Busy(f"the API server answered {status} to {action}: {said}; try again")
    return ToolError(f"refused ({status}): {said}")
