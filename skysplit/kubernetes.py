"""The nodes of a mission as Kubernetes objects: one satellite a pod, each with its own Service and Secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mission.briefing import GROUND
from skysplit.certs import GATEWAY, SUPERLINK
from skysplit.compose import FLEET_PORT, IMAGE, NODE, RELAY_PORT, USER, service_name
from skysplit.node_folders import (
    RELAY_FILE,
    gateway_command,
    superexec_command,
    superlink_options,
    supernode_command,
)

_SECRET = "/credentials"  # read-only, and readable by a group; a relay wants its key for itself alone
_KEEP = f"cp {_SECRET}/* {NODE}/ && chmod 600 {NODE}/*.key"
_RUNS = "/runs"
_NAME, _ROLE = "app.kubernetes.io/name", "skysplit/role"
_SATELLITE = "satellite"


def manifests(satellites: tuple[str, ...]) -> list[dict[str, Any]]:
    """Deployments and Services of the SuperLink, the ground and every satellite, for ``kubectl apply -k``."""
    superlink, gateway = f"{SUPERLINK}:{FLEET_PORT}", f"{GATEWAY}:{FLEET_PORT}"
    open_port = {"tcpSocket": {"port": FLEET_PORT}}
    listen = ["flower-superlink", "--isolation", "process", "--host", "0.0.0.0", *superlink_options(NODE)]
    objects = [
        *_node(SUPERLINK, listen, FLEET_PORT, open_port, "1Gi"),
        *_node(GATEWAY, gateway_command(NODE, superlink, FLEET_PORT), FLEET_PORT, open_port, "512Mi"),
        *_relay(GROUND, superexec_command(NODE, superlink), "4Gi"),
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "runs"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
        },
    ]
    ground = next(o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == GROUND)
    pod = ground["spec"]["template"]["spec"]
    pod["volumes"].append({"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}})
    pod["containers"][0]["volumeMounts"].append({"name": "runs", "mountPath": _RUNS})
    for index, name in enumerate(satellites):
        command = supernode_command(NODE, gateway, index, len(satellites))
        objects += _relay(service_name(satellites, name), command, "2Gi")
    return objects + _network_policies()


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
        reached(SUPERLINK, role(SUPERLINK), [GROUND, GATEWAY], FLEET_PORT),
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


def kustomization(satellites: tuple[str, ...], folders: dict[str, Path], base: Path) -> dict[str, Any]:
    """A kustomize base beside the nodes' folders: their files become Secrets."""
    named = {server: base / server for server in (SUPERLINK, GATEWAY)} | {
        service_name(satellites, node): folder for node, folder in folders.items()
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "skysplit",
        "resources": ["kubernetes.yaml"],
        "secretGenerator": [
            {
                "name": name,
                "files": sorted(str(file.relative_to(base)) for file in folder.iterdir() if file.is_file()),
            }
            for name, folder in named.items()
        ],
    }


def _relay(name: str, command: list[str], memory: str) -> list[dict[str, Any]]:
    """A relay and, beside it, what takes part in Flower."""
    file = f"{NODE}/{RELAY_FILE}"
    health = {"exec": {"command": ["python", "-m", "relay.health", file]}, "timeoutSeconds": 10}
    return _node(name, ["python", "-m", "relay", file, *command], RELAY_PORT, health, memory)


def _node(
    name: str, command: list[str], port: int, probe: dict[str, Any], memory: str
) -> list[dict[str, Any]]:
    role = name if name in (SUPERLINK, GATEWAY, GROUND) else _SATELLITE
    labels = {_NAME: "skysplit", "app.kubernetes.io/component": name}
    confined = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    scratch = {"spool": f"{NODE}/spool", "home": "/home/skysplit", "tmp": "/tmp"}
    own = {"name": "node", "mountPath": NODE}
    pod = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": False,
        "initContainers": [
            {
                "name": "credentials",
                "image": IMAGE,
                "command": ["sh", "-c", _KEEP],
                "securityContext": confined,
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
                "securityContext": confined,
                "volumeMounts": [own, *({"name": key, "mountPath": path} for key, path in scratch.items())],
            }
        ],
        "volumes": [
            {"name": "credentials", "secret": {"secretName": name, "defaultMode": 0o440}},
            {"name": "node", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            *({"name": key, "emptyDir": {}} for key in scratch),
        ],
    }
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
                "template": {"metadata": {"labels": {**labels, _ROLE: role}}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": port, "targetPort": port}]},
        },
    ]
