"""A thin object around the official Kubernetes client: one namespace, plain dicts, the steps' own errors.

It uses the official client for what is hard (kubeconfig, in-cluster tokens and their renewal, TLS, connection
pools, exec over WebSocket) and not its generated API classes: importing those costs a step 1.7 s and more, and their
models drop fields that they do not know.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from steps.errors import BadParameters, Temporary
from steps.kube.errors import NotFound, Unreachable, failed

Object = dict[str, Any]
"""A Kubernetes object, as in JSON."""

_V1, _APPS, _POLICY = "/api/v1", "/apis/apps/v1", "/apis/policy/v1"
_ARGO, _MYSQL = "/apis/argoproj.io/v1alpha1", "/apis/mysql.oracle.com/v2"
_ACCESS = "/apis/authorization.k8s.io/v1"

RESOURCES = {
    **dict.fromkeys(
        [
            *("nodes", "namespaces", "persistentvolumes"),
            *("pods", "services", "secrets", "configmaps", "events", "persistentvolumeclaims"),
        ],
        _V1,
    ),
    **dict.fromkeys(["statefulsets", "deployments", "replicasets", "daemonsets"], _APPS),
    "poddisruptionbudgets": _POLICY,
    "networkpolicies": "/apis/networking.k8s.io/v1",
    **dict.fromkeys(["workflows", "workflowtemplates", "cronworkflows"], _ARGO),
    **dict.fromkeys(["innodbclusters", "mysqlbackups"], _MYSQL),
    "selfsubjectaccessreviews": _ACCESS,
}
"""Resources that the steps use (plural names), and the API group that serves each."""

CLUSTER_WIDE = ("nodes", "namespaces", "persistentvolumes", "selfsubjectaccessreviews")
PAGE = 250
"""Objects in one answer where there may be many."""
CLUSTER_LABEL = "mysql.oracle.com/cluster"
CONNECTIONS = 32
"""Connections to the API server that are kept open for the threads that share a client."""
TIMEOUT = (5.0, 30.0)
"""Seconds to connect to the API server, and to wait for its answer."""


@dataclass(frozen=True)
class Executed:
    """What became of a command in a container."""

    exit_code: int
    stdout: str
    stderr: str


class Kube:
    """Objects of one namespace (and the cluster-wide ones). Threads may share it.

    All methods raise :class:`steps.kube.errors.NotFound`, ``Forbidden``, ``Conflict``, ``TooManyRequests``,
    ``Invalid`` or ``Unreachable``, which carry the exit code that fits.
    """

    def __init__(self, api: Any, namespace: str) -> None:
        self._api = api
        self.namespace = namespace

    def close(self) -> None:
        """Close the connections; the end of a step's process does it as well."""
        self._api.close()

    def path(self, resource: str, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of a resource, one of its objects, or a subresource of that."""
        scope = "" if resource in CLUSTER_WIDE else f"/namespaces/{self.namespace}"
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{RESOURCES[resource]}{scope}/{resource}{tail}"

    def get(self, resource: str, name: str) -> Object:
        """Return one object."""
        return self._call("GET", self.path(resource, name), f"get {resource}/{name} in namespace {self.namespace}")

    def find(self, resource: str, name: str) -> Object | None:
        """Return one object, or None where there is none."""
        try:
            return self.get(resource, name)
        except NotFound:
            return None

    def all(self, resource: str, labels: str = "", fields: str = "") -> list[Object]:
        """Return the objects that match a label selector and a field selector, by name."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        found = self._call(
            "GET",
            self.path(resource),
            f"list {resource} in namespace {self.namespace}",
            query={key: value for key, value in query.items() if value},
        )
        items: list[Object] = found.get("items") or []
        return sorted(items, key=lambda item: str(item["metadata"]["name"]))

    def within(self, namespace: str) -> Kube:
        """Return a client for another namespace, over the same connections."""
        return self if namespace == self.namespace else Kube(self._api, namespace)

    def everywhere(self, resource: str, fields: str = "", *, page: int = PAGE) -> list[Object]:
        """Return the objects of all namespaces that match a field selector, read page by page.

        Args:
            resource: plural name.
            fields: such as ``spec.nodeName=node-1``.
            page: objects in one answer.

        Raises:
            Unreachable: also where the list grew too old between two pages (410); ask again.
        """
        path = f"{RESOURCES[resource]}/{resource}"
        query = {"limit": str(page), **({"fieldSelector": fields} if fields else {})}
        items: list[Object] = []
        while True:
            found = self._call("GET", path, f"list {resource} of all namespaces", query=query)
            items += found.get("items") or []
            if not (token := (found.get("metadata") or {}).get("continue")):
                return items
            query["continue"] = str(token)

    def may(self, verb: str, resource: str, *, group: str = "", subresource: str = "", namespace: str = "") -> bool:
        """Tell whether this client's account may do something, in one namespace or (where empty) in all."""
        asked = {"verb": verb, "resource": resource, "group": group, "subresource": subresource, "namespace": namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        }
        action = f"ask whether {verb} {resource} is allowed"
        answer = self._call("POST", self.path("selfsubjectaccessreviews"), action, body=review)
        return bool((answer.get("status") or {}).get("allowed"))

    def create(self, resource: str, obj: Object) -> Object:
        """Make an object; its namespace is this client's."""
        name = obj["metadata"].get("name") or obj["metadata"].get("generateName")
        action = f"create {resource}/{name} in namespace {self.namespace}"
        return self._call("POST", self.path(resource), action, body=obj)

    def patch(
        self,
        resource: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str | None = None,
        resource_version: str | None = None,
    ) -> Object:
        """Lay a JSON merge patch over an object: None removes a key, a list replaces the whole list.

        Args:
            resource: plural name.
            name: of the object.
            patch: the keys to set.
            subresource: such as ``status``.
            resource_version: refuse (Conflict) if the object has changed since it had this version.
        """
        body = dict(patch)
        if resource_version:
            body["metadata"] = {**body.get("metadata", {}), "resourceVersion": resource_version}
        return self._call(
            "PATCH",
            self.path(resource, name, subresource),
            f"patch {resource}/{name} in namespace {self.namespace}",
            body=body,
            content_type="application/merge-patch+json",
        )

    def label(self, resource: str, name: str, labels: Mapping[str, str | None]) -> Object:
        """Set labels; None removes one."""
        return self.patch(resource, name, {"metadata": {"labels": dict(labels)}})

    def annotate(self, resource: str, name: str, annotations: Mapping[str, str | None]) -> Object:
        """Set annotations; None removes one."""
        return self.patch(resource, name, {"metadata": {"annotations": dict(annotations)}})

    def delete(self, resource: str, name: str, *, grace_seconds: int | None = None, uid: str | None = None) -> None:
        """Delete an object.

        Args:
            resource: plural name.
            name: of the object.
            grace_seconds: as ``kubectl delete --grace-period``; the object's own where None.
            uid: delete only this very object; Conflict where another one has taken its name.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid:
            options["preconditions"] = {"uid": uid}
        action = f"delete {resource}/{name} in namespace {self.namespace}"
        self._call("DELETE", self.path(resource, name), action, body=options)

    def evict(self, pod: str, *, uid: str | None = None) -> None:
        """Ask for a pod's eviction, as a drain does; TooManyRequests where a disruption budget holds it."""
        eviction: Object = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        if uid:
            eviction["deleteOptions"] = {"preconditions": {"uid": uid}}
        action = f"evict pod {pod} in namespace {self.namespace}"
        self._call("POST", self.path("pods", pod, "eviction"), action, body=eviction)

    def execute(self, pod: str, container: str, command: Sequence[str], *, timeout: float = 60.0) -> Executed:
        """Run a command in a container and return its exit code and output.

        Args:
            pod: name.
            container: name.
            command: program and arguments; no shell unless it names one.
            timeout: seconds after which the connection is given up (the command itself may go on).

        Raises:
            Temporary: the command did not end in time, or its container went away under it.
        """
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream import ws_client

        query = [("command", word) for word in command]
        query += [("container", container), ("stdout", "true"), ("stderr", "true")]
        url = f"{self._api.configuration.host}{self.path('pods', pod, 'exec')}?{urlencode(query)}"
        what = f"exec {command[0]!r} in container {container} of pod {pod}"
        try:
            websocket: Any = ws_client  # the official client is typed, but this module of it is not
            url = websocket.get_websocket_url(url)
            stream = websocket.WSClient(self._api.configuration, url, self._headers(), capture_all=False)
        except ApiException as error:
            raise failed(error.status, error.body, what) from error
        except Exception as error:  # websocket-client's errors have only OSError and Exception in common
            status = getattr(error, "status_code", None)
            body = getattr(error, "resp_body", None)
            if status:
                raise failed(int(status), body, what) from error
            raise Unreachable(f"No connection for: {what}: {error}") from error
        try:
            stream.run_forever(timeout=timeout)
            if stream.is_open():
                raise Temporary(f"{what} was still running after {timeout:.0f} s; it was left alone")
            out, err = stream.read_stdout(timeout=0), stream.read_stderr(timeout=0)
            try:
                return Executed(int(stream.returncode), out or "", err or "")
            except (TypeError, KeyError, IndexError, ValueError) as error:
                raise Temporary(f"{what} ended without an exit code: the container went away, or lacks it") from error
        finally:
            stream.close()
            stream.sock.shutdown()  # close() leaves the socket open where the other side has closed first

    def log(self, pod: str, container: str, *, lines: int, previous: bool = False) -> str:
        """Return the last lines that a container has written; of its run before this one where `previous`."""
        query = {"container": container, "tailLines": str(lines), **({"previous": "true"} if previous else {})}
        action = f"read the log of container {container} in pod {pod}"
        return self._answer("GET", self.path("pods", pod, "log"), action, query=query).decode(errors="replace")

    def cluster(self, name: str) -> Object:
        """Return an InnoDBCluster.

        Raises:
            BadParameters: there is none of this name; the message lists those that exist.
        """
        if (found := self.find("innodbclusters", name)) is not None:
            return found
        names = [str(item["metadata"]["name"]) for item in self.all("innodbclusters")]
        known = f"it has: {', '.join(names)}" if names else "it has none: deploy-cluster makes one"
        raise BadParameters(f"Namespace {self.namespace} has no InnoDBCluster {name!r}; {known}.")

    def servers(self, cluster: str) -> list[Object]:
        """Return the pods of a cluster's MySQL servers, by name."""
        return self.all("pods", f"{CLUSTER_LABEL}={cluster},component=mysqld")

    def routers(self, cluster: str) -> list[Object]:
        """Return the pods of a cluster's Routers, by name."""
        return self.all("pods", f"{CLUSTER_LABEL}={cluster},component=mysqlrouter")

    def secret(self, name: str) -> dict[str, str]:
        """Return the decoded values of a Secret. Never log them."""
        data = self.get("secrets", name).get("data") or {}
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def service_address(self, name: str) -> str:
        """Return the cluster IP of a Service."""
        return str(self.get("services", name)["spec"]["clusterIP"])

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        return headers

    def _call(
        self,
        method: str,
        path: str,
        action: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        parsed: Object = json.loads(self._answer(method, path, action, query, body, content_type))
        return parsed

    def _answer(
        self,
        method: str,
        path: str,
        action: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        import urllib3.exceptions
        from kubernetes.client.exceptions import ApiException

        headers = {"Accept": "application/json", **self._headers()}
        if body is not None:
            headers["Content-Type"] = content_type
        host = self._api.configuration.host
        url = f"{host}{path}?{urlencode(query)}" if query else f"{host}{path}"
        try:
            answer = self._api.call_api(method, url, headers, body, _request_timeout=TIMEOUT)
            data = answer.read()
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise Unreachable(
                f"The API server at {host} does not answer: {action}: {_root(error)}. "
                "Is it up, and does KUBECONFIG name the right one?"
            ) from error
        if not 200 <= answer.status <= 299:
            raise failed(answer.status, data, action)
        return bytes(data)


def _root(error: BaseException) -> str:
    """Return the innermost reason of a urllib3 error, without the memory addresses it is wrapped in."""
    reason = getattr(error, "reason", None)
    text = str(reason if reason is not None else error)
    return text.rpartition(": ")[2] or text


def connect(namespace: str) -> Kube:
    """Return a client for `namespace`: KUBECONFIG where it is set, else the pod's own service account.

    Raises:
        BadParameters: there is neither, or the kubeconfig is of no use.
    """
    from kubernetes import config
    from kubernetes.client.api_client import ApiClient
    from kubernetes.client.configuration import Configuration

    loader: Any = config  # untyped
    settings = Configuration()
    path = os.environ.get("KUBECONFIG")
    try:
        if path:
            loader.load_kube_config(config_file=path, client_configuration=settings)
        else:
            loader.load_incluster_config(client_configuration=settings)
    except config.ConfigException as error:
        seen = f"KUBECONFIG={path} is of no use" if path else "KUBECONFIG is not set and this is no pod of a cluster"
        raise BadParameters(f"No way to Kubernetes: {seen}: {error}. Set KUBECONFIG to a kubeconfig file.") from error
    settings.retries = False
    # Its own number follows the cores; a drain asks for many pods at once, and would open a connection for each.
    settings.connection_pool_maxsize = CONNECTIONS
    api = ApiClient(settings)
    _check_certificates_as_kubectl_does(api)
    return Kube(api, namespace)


def _check_certificates_as_kubectl_does(api: Any) -> None:
    """Check the API server's certificate without asking more of it than kubectl does.

    From Python 3.13, urllib3 refuses certificates without extensions that RFC 5280 wants of them (key usage, authority
    key identifier). Clusters that others made have such authorities, and all of Kubernetes' own clients take them.
    """
    from urllib3.util import ssl_

    settings = api.rest_client.pool_manager.connection_pool_kw
    context = ssl_.create_urllib3_context(cert_reqs=settings["cert_reqs"])
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    settings["ssl_context"] = context
