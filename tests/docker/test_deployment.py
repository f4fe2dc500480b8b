"""What `skysplit deploy` writes for other machines and for Kubernetes, and what `skysplit certs` makes."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mission.scenario import load_scenario
from relay.node.settings import read_relay_file
from relay.wire.identity import NodeIdentity
from skysplit.deployment.certs import write_credentials
from skysplit.deployment.deploy import write_deployment

DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
SCENARIO = load_scenario("walker-12", {"constellation.satellites": 4})


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("deployment")
    write_deployment(SCENARIO, out, {"superlink": "ground.example:8000", "sat-0-01": "edge.example:50051"})
    return out


def objects(deployment: Path) -> list[dict]:
    return list(yaml.safe_load_all((deployment / "kubernetes.yaml").read_text()))


def test_every_node_s_folder_starts_its_relay(deployment: Path) -> None:
    for name in ("sat-0-00", "sat-0-01", "sat-1-00", "sat-1-01", "ground"):
        settings, identity = read_relay_file(deployment / name / "relay.json")
        assert settings.name == name == identity.name
        assert settings.time_authority == "ground"
        assert settings.start_s < 0.0
        if name != "sat-0-01":
            assert settings.peers["sat-0-01"] == "edge.example:50051"


def test_an_address_for_a_node_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found sat-9; allowed: superlink, sat-0-00"):
        write_deployment(SCENARIO, tmp_path, {"sat-9": "edge.example:50051"})
    assert not list(tmp_path.iterdir())


def test_credentials_are_kept_unless_renewed(tmp_path: Path) -> None:
    def contents() -> dict[str, bytes]:
        return {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.*")}

    write_credentials(tmp_path, ["sat-0"], "ground", ["ground.example", "10.0.0.1"])
    first = contents()
    write_credentials(tmp_path, ["sat-0"], "ground", ["ground.example", "10.0.0.1"])
    assert contents() == first
    write_credentials(tmp_path, ["sat-0"], "ground", ["ground.example", "10.0.0.1"], renew=True)
    renewed = contents()
    changed = {name for name, data in renewed.items() if data != first[name]}
    assert changed == {name for name in first if name.endswith(".crt") and not name.endswith("ca.crt")}
    config = write_credentials(tmp_path, ["sat-0"], "ground", [], new_keys=True)
    assert config == ["sat-0: its SuperNode has a new key; unregister the old one, register the new one"]
    changed = {name for name, data in contents().items() if data != renewed[name]}
    assert changed == {name for name in first if not Path(name).name.startswith("ca.")}
    names = subject_names(tmp_path / "superlink" / "server.crt")
    assert names.get_values_for_type(x509.DNSName) == ["superlink", "ground.example"]  # the hosts are kept
    assert NodeIdentity.load(tmp_path / "sat-0").name == "sat-0"
    for secret in tmp_path.rglob("*.key"):
        assert secret.stat().st_mode & 0o777 == 0o600


def test_the_superlink_s_certificate_is_for_its_hosts_and_no_relay_takes_it_for_a_node(
    tmp_path: Path,
) -> None:
    write_credentials(tmp_path, ["sat-0"], "ground", ["ground.example", "10.0.0.1"])
    folder = tmp_path / "superlink"
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    assert len(context.get_ca_certs()) == 1
    names = subject_names(folder / "server.crt")
    assert names.get_values_for_type(x509.DNSName) == ["superlink", "ground.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == []


def subject_names(certificate: Path) -> x509.SubjectAlternativeName:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    return loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_a_second_deployment_with_other_hosts_makes_new_certificates_for_all_of_them_and_says_so(
    tmp_path: Path,
) -> None:
    config: list[str] = []
    write_deployment(SCENARIO, tmp_path, {"superlink": "one.example:8000"}, config.append)
    assert config == []
    key = (tmp_path / "gateway" / "server.key").read_bytes()
    write_deployment(SCENARIO, tmp_path, {"superlink": "one.example:8000"}, config.append)
    assert config == []
    write_deployment(SCENARIO, tmp_path, {"superlink": "[2001:db8::7]:443"}, config.append)
    assert [sentence.partition(":")[0] for sentence in config] == ["superlink", "gateway"]
    names = subject_names(tmp_path / "gateway" / "server.crt")
    assert "one.example" in names.get_values_for_type(x509.DNSName)
    assert "2001:db8::7" in map(str, names.get_values_for_type(x509.IPAddress))
    assert (tmp_path / "gateway" / "server.key").read_bytes() == key
    services = yaml.safe_load((tmp_path / "compose.yaml").read_text())["services"]
    assert services["gateway"]["ports"] == ["443:8000"]


@pytest.mark.parametrize(
    "address", ["2001:db8::7:443", "host", "host:", ":80", "host:0", "host:99999", "[::1]"]
)
def test_an_address_that_is_none_is_one_error(tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: HOST:PORT, an IPv6 address in brackets"):
        write_deployment(SCENARIO, tmp_path, {"superlink": address})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["superlink", "gateway", "ground", "runs", "state"])
def test_a_satellite_cannot_take_a_folder_of_the_deployment(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="those names are taken"):
        write_credentials(tmp_path, [name, "sat-0"], "ground", ["localhost"])


def test_satellites_reach_the_gateway_and_not_the_superlink(deployment: Path) -> None:
    composed = yaml.safe_load((deployment / "compose.yaml").read_text())
    services = composed["services"]
    assert set(composed["networks"]) == {"control", "fleet"}
    assert services["superlink"]["networks"] == ["control"]
    assert all(port.startswith("127.0.0.1:") for port in services["superlink"]["ports"])
    for name, service in services.items():
        if name.startswith("satellite"):
            assert service["networks"] == ["fleet"]
            command = service["command"]
            assert command[command.index("--superlink") + 1] == "gateway:8000"
    assert services["ground"]["networks"] == services["gateway"]["networks"] == ["control", "fleet"]


def test_network_policies_shut_all_but_what_the_mission_needs(deployment: Path) -> None:
    found = objects(deployment)
    policies = {o["metadata"]["name"]: o["spec"] for o in found if o["kind"] == "NetworkPolicy"}
    roles = {
        o["metadata"]["name"]: o["spec"]["template"]["metadata"]["labels"]
        for o in found
        if o["kind"] == "Deployment"
    }

    def selects(selector: dict, labels: dict) -> bool:
        return all(
            labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()
        ) and all(labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", []))

    def reaches(source: str, target: str, port: int) -> bool:
        """As the Kubernetes API defines it: policies that select a pod shut it; each rule opens something."""
        inward = [
            p
            for p in policies.values()
            if "Ingress" in p["policyTypes"] and selects(p["podSelector"], roles[target])
        ]
        outward = [
            p
            for p in policies.values()
            if "Egress" in p["policyTypes"] and selects(p["podSelector"], roles[source])
        ]

        def opened(rules: list[dict], side: str, labels: dict) -> bool:
            return any(
                port in [entry["port"] for entry in rule["ports"]]
                and (side not in rule or any(selects(peer["podSelector"], labels) for peer in rule[side]))
                for rule in rules
            )

        comes_in = not inward or any(opened(p.get("ingress", []), "from", roles[source]) for p in inward)
        goes_out = not outward or any(opened(p.get("egress", []), "to", roles[target]) for p in outward)
        return comes_in and goes_out

    expected = {("ground", "superlink", 8000), ("gateway", "superlink", 8000)}
    satellites = [name for name in roles if name.startswith("satellite")]
    expected |= {(name, "gateway", 8000) for name in satellites}
    relays = [*satellites, "ground"]
    expected |= {(a, b, 50051) for a in relays for b in relays if a != b}
    ports = (8000, 50051, 22)
    assert {(a, b, p) for a in roles for b in roles for p in ports if a != b and reaches(a, b, p)} == expected


def test_supernode_keys_are_what_flower_reads(tmp_path: Path) -> None:
    write_credentials(tmp_path, ["sat-0"], "ground", ["localhost"])
    private = serialization.load_ssh_private_key((tmp_path / "sat-0" / "supernode.key").read_bytes(), None)
    public = serialization.load_ssh_public_key((tmp_path / "sat-0" / "supernode.pub").read_bytes())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(private.curve, ec.SECP384R1)
    assert private.public_key() == public


def test_an_overlay_has_the_superlink_keep_its_state(deployment: Path) -> None:
    base, overlay = (
        yaml.safe_load((deployment / name).read_text())["services"]
        for name in ("compose.yaml", "compose.state.yaml")
    )
    assert list(overlay) == ["superlink"]
    command, kept = overlay["superlink"]["command"], overlay["superlink"]["volumes"]
    assert command == [*base["superlink"]["command"], "--database", "/state/superlink.db"]
    assert kept == [f"{deployment / 'state'}:/state"]


@pytest.mark.parametrize("tool", [["docker", "compose"], ["docker-compose"]])
def test_compose_accepts_the_file_and_its_overlay(deployment: Path, tool: list[str]) -> None:
    if not shutil.which(tool[0]) or subprocess.run([*tool, "version"], capture_output=True).returncode:
        pytest.skip(f"no {' '.join(tool)} here")
    files = ["-f", "compose.yaml", "-f", "compose.state.yaml"]
    done = subprocess.run([*tool, *files, "config"], cwd=deployment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert "--database" in services["superlink"]["command"]
    assert len(services["superlink"]["volumes"]) == 2


def test_kubernetes_objects_name_and_select_each_other(deployment: Path) -> None:
    found = objects(deployment)
    assert {found_object["kind"] for found_object in found} == {
        "Deployment",
        "Service",
        "PersistentVolumeClaim",
        "NetworkPolicy",
    }
    names = [(found_object["kind"], found_object["metadata"]["name"]) for found_object in found]
    assert len(set(names)) == len(names)
    assert all(DNS_LABEL.match(name) for _, name in names)
    secrets = {
        entry["name"]
        for entry in yaml.safe_load((deployment / "kustomization.yaml").read_text())["secretGenerator"]
    }
    deployments = {
        found_object["metadata"]["name"]: found_object["spec"]
        for found_object in found
        if found_object["kind"] == "Deployment"
    }
    assert (
        set(deployments)
        == secrets
        == {"superlink", "gateway", "ground", *(f"satellite-{i}" for i in range(4))}
    )
    for name, spec in deployments.items():
        template = spec["template"]
        assert spec["replicas"] == 1
        assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        service = next(o for o in found if o["kind"] == "Service" and o["metadata"]["name"] == name)
        assert service["spec"]["selector"] == spec["selector"]["matchLabels"]
        pod = template["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert next(v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v) == name
        for container in (*pod["containers"], *pod["initContainers"]):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        [container] = pod["containers"]
        assert container["resources"]["limits"]["memory"]
        assert container["readinessProbe"]
        assert container["livenessProbe"]
        assert service["spec"]["ports"][0]["port"] == container["ports"][0]["containerPort"]


def test_kustomize_finds_every_file_of_its_secrets(deployment: Path) -> None:
    base = yaml.safe_load((deployment / "kustomization.yaml").read_text())
    for entry in base["secretGenerator"]:
        assert entry["files"]
        assert all((deployment / file).is_file() for file in entry["files"])
        assert not any("ca.key" in file for file in entry["files"])
    assert all((deployment / file).is_file() for file in base["resources"])


def test_kubectl_accepts_the_base(deployment: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here; the tests above check what it would")
    done = subprocess.run(
        ["kubectl", "kustomize", str(deployment)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
