"""The nodes of a mission as Kubernetes objects: one satellite a pod, each with its own Service and Secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mission.run_config import GROUND
from skysplit.deployment.certs import GATEWAY, REGISTRATION, SUPERLINK
from skysplit.deployment.compose import FLEET_PORT, IMAGE, NODE, RELAY_PORT, STATE, USER, service_name
from skysplit.deployment.node_folders import (
    RELAY_FILE,
    gateway_command,
    superexec_command,
    superlink_options,
    supernode_command,
)

_SECRET = "/credentials"  # read-only, and readable by a group; a relay wants its key for itself alone
_KEEP = f"cp {_SECRET}/* {NODE}/ && chmod 600 {NODE}/*.key"
_KEYS = "/keys"  # public ones
_RUNS = "/runs"
_NAME, _ROLE = "app.kubernetes.io/name", "skysplit/role"
_SATELLITE = "satellite"
_CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def manifests(satellites: tuple[str, ...]) -> list[dict[str, Any]]:
    """Deployments and Services of the SuperLink, the ground and every satellite, for ``kubectl apply -k``."""
    superlink, gateway = f"{SUPERLINK}:{FLEET_PORT}", f"{GATEWAY}:{FLEET_PORT}"
    open_port = {"tcpSocket": {"port": FLEET_PORT}}
    listen = ["flower-superlink", "--isolation", "process", "--host", "0.0.0.0", *superlink_options(NODE)]
    listen += ["--database", f"{STATE}/superlink.db"]
    objects = [
        *_node(SUPERLINK, listen, FLEET_PORT, open_port, "1Gi"),
        *_node(GATEWAY, gateway_command(NODE, superlink, FLEET_PORT), FLEET_PORT, open_port, "512Mi"),
        *_relay(GROUND, superexec_command(NODE, superlink), "4Gi"),
        _claim("runs", "10Gi"),
        _claim("state", "1Gi"),
    ]
    _mount(objects, GROUND, "runs", _RUNS)
    _mount(objects, SUPERLINK, "state", STATE)
    for index, name in enumerate(satellites):
        command = supernode_command(NODE, gateway, index, len(satellites))
        objects += _relay(service_name(satellites, name), command, "2Gi")
    return objects + _network_policies()


def _claim(name: str, size: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    }


def _mount(objects: list[dict[str, Any]], deployment: str, claim: str, path: str) -> None:
    """Have a Deployment's pod keep a folder on a volume."""
    manifest = next(o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == deployment)
    pod = manifest["spec"]["template"]["spec"]
    pod["volumes"].append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
    pod["containers"][0]["volumeMounts"].append({"name": claim, "mountPath": path})


def registration_job() -> dict[str, Any]:
    """A Job that registers all SuperNodes; until it has, theirs are refused and start again."""
    superlink = f"{SUPERLINK}:{FLEET_PORT}"
    words = ["python", "-m", "skysplit.launch.registration", "--folder", _KEYS, "--superlink", superlink]
    labels = {_NAME: "skysplit", "app.kubernetes.io/component": REGISTRATION, _ROLE: REGISTRATION}
    home = {"name": "home", "mountPath": "/home/skysplit"}
    pod = {
        "restartPolicy": "OnFailure",
        "securityContext": _POD_SECURITY,
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "node",
                "image": IMAGE,
                "command": words,
                "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
                "securityContext": _CONFINED,
                "volumeMounts": [
                    {"name": "keys", "mountPath": _KEYS, "readOnly": True},
                    home,
                    {"name": "tmp", "mountPath": "/tmp"},
                ],
            }
        ],
        "volumes": [
            {"name": "keys", "configMap": {"name": REGISTRATION}},
            {"name": "home", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": REGISTRATION, "labels": labels},
        "spec": {"backoffLimit": 20, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def _network_policies() -> list[dict[str, Any]]:
    """Who may be reached by whom; all else is shut.

    The SuperLink, whose port is the control API's, too, is for the ground and the gateway; operators come by
    `kubectl port-forward`, which the cluster's own access rules guard.
    """

    def role(*names: str) -> dict[str, Any]:
        return {"matchExpressions": [{"key": _ROLE, "operator": "In", "values": list(names)}]}

    def tcp(port: int) -> list[dict[str, Any]]:
        return [{"protocol": "TCP", "port": port}]

    def reached(name: str, to: dict[str, Any], sources: list[str], port: int) -> dict[str, Any]:
        ingress = [{"from": [{"podSelector": role(*sources)}], "ports": tcp(port)}]
        return _policy(name, {"podSelector": to, "policyTypes": ["Ingress"], "ingress": ingress})

    everyone = {"matchLabels": {_NAME: "skysplit"}}
    nodes = role(GROUND, _SATELLITE)
    names = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    egress = [
        {"to": [{"podSelector": nodes}], "ports": tcp(RELAY_PORT)},
        {"to": [{"podSelector": role(GATEWAY)}], "ports": tcp(FLEET_PORT)},
        {"ports": names},
    ]
    return [
        _policy("shut", {"podSelector": everyone, "policyTypes": ["Ingress"]}),
        reached(SUPERLINK, role(SUPERLINK), [GROUND, GATEWAY, REGISTRATION], FLEET_PORT),
        reached(GATEWAY, role(GATEWAY), [_SATELLITE], FLEET_PORT),
        reached("relays", nodes, [GROUND, _SATELLITE], RELAY_PORT),
        # A satellite has no business with anything but relays, the gateway and the names of both.
        _policy("satellites", {"podSelector": role(_SATELLITE), "policyTypes": ["Egress"], "egress": egress}),
    ]


def _policy(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"skysplit-{name}", "labels": {_NAME: "skysplit"}},
        "spec": spec,
    }


def kustomization(satellites: tuple[str, ...], folders: Mapping[str, Path], base: Path) -> dict[str, Any]:
    """A kustomize base beside the nodes' folders: their files become Secrets."""
    named = {server: base / server for server in (SUPERLINK, GATEWAY)} | {
        service_name(satellites, node): folder for node, folder in folders.items()
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "skysplit",
        "resources": ["kubernetes.yaml", "registration.yaml"],
        "configMapGenerator": [{"name": REGISTRATION, "files": _files(base / REGISTRATION, base)}],
        "secretGenerator": [
            {
                "name": name,
                "files": _files(folder, base),
            }
            for name, folder in named.items()
        ],
    }


def _files(folder: Path, base: Path) -> list[str]:
    return sorted(str(file.relative_to(base)) for file in folder.iterdir() if file.is_file())


def _relay(name: str, command: list[str], memory: str) -> list[dict[str, Any]]:
    """A relay and, beside it, what takes part in Flower."""
    file = f"{NODE}/{RELAY_FILE}"
    health = {"exec": {"command": ["python", "-m", "relay.operation.health", file]}, "timeoutSeconds": 10}
    return _node(name, ["python", "-m", "relay", file, *command], RELAY_PORT, health, memory)


def _node(
    name: str, command: list[str], port: int, probe: dict[str, Any], memory: str
) -> list[dict[str, Any]]:
    """A node's Deployment and its Service."""
    role = name if name in (SUPERLINK, GATEWAY, GROUND) else _SATELLITE
    labels = {_NAME: "skysplit", "app.kubernetes.io/component": name}
    metadata = {"name": name, "labels": labels}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},  # two relays must never share a node's name
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": {**labels, _ROLE: role}},
                    "spec": _pod(name, command, port, probe, memory),
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": port, "targetPort": port}]},
        },
    ]


def _pod(name: str, command: list[str], port: int, probe: dict[str, Any], memory: str) -> dict[str, Any]:
    """The pod of a node: its credentials are copied to memory of its own before it starts."""
    scratch = {"spool": f"{NODE}/spool", "home": "/home/skysplit", "tmp": "/tmp"}
    own = {"name": "node", "mountPath": NODE}
    return {
        "securityContext": _POD_SECURITY,
        "automountServiceAccountToken": False,
        "initContainers": [
            {
                "name": "credentials",
                "image": IMAGE,
                "command": ["sh", "-c", _KEEP],
                "securityContext": _CONFINED,
                "volumeMounts": [own, {"name": "credentials", "mountPath": _SECRET, "readOnly": True}],
            }
        ],
        "containers": [
            {
                "name": "node",
                "image": IMAGE,
                "command": command,
                "ports": [{"containerPort": port}],
                "readinessProbe": {**probe, "periodSeconds": 10},
                "livenessProbe": {
                    **probe,
                    "periodSeconds": 30,
                    "failureThreshold": 4,
                    "initialDelaySeconds": 30,
                },
                "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": memory}},
                "securityContext": _CONFINED,
                "volumeMounts": [own, *({"name": key, "mountPath": path} for key, path in scratch.items())],
            }
        ],
        "volumes": [
            {"name": "credentials", "secret": {"secretName": name, "defaultMode": 0o440}},
            {"name": "node", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            *({"name": key, "emptyDir": {}} for key in scratch),
        ],
    }
