"""docker-compose.yml and the Dockerfile: pinned, closed, and made of what exists. No engine is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.inventory import Mode
from fleet.loading import load_fleet

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"
Document = dict[str, Any]

COMPOSE: Document = yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Document] = COMPOSE["services"]
OURS = {"gateway", "exporter", "receiver", "example-server"}
TEXT = (PROJECT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
PINNED = re.compile(r"[a-z/-]+:v?\d+\.\d+\.\d+[a-z-]*@sha256:[0-9a-f]{64}")
every_service = pytest.mark.parametrize("name", SERVICES)


def test_the_whole_stack_is_there() -> None:
    assert set(SERVICES) == OURS | {"redis", "prometheus", "alertmanager", "grafana"}


@every_service
def test_nobody_is_root_writes_outside_its_volumes_or_gains_rights(name: str) -> None:
    service = SERVICES[name]
    uid, _, gid = service["user"].partition(":")
    assert uid.isdigit()
    assert int(uid) > 0
    assert gid.isdigit()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid"} & set(service)


@every_service
def test_every_service_says_whether_it_is_well(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert re.search(r"127\.0\.0\.1", " ".join(check["test"]))
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@every_service
def test_images_are_ours_or_pinned_by_tag_and_digest(name: str) -> None:
    service = SERVICES[name]
    if name in OURS:
        target = service["build"]["target"]
        assert re.search(rf"^FROM .* AS {target}$", DOCKERFILE, re.MULTILINE)
        assert service["build"]["dockerfile"] == "deploy/Dockerfile"
        assert re.fullmatch(r"mcp-medic(-example)?:\d+\.\d+\.\d+", service["image"])
    else:
        assert PINNED.fullmatch(service["image"])


@every_service
def test_what_is_mounted_exists_and_files_of_ours_are_read_only(name: str) -> None:
    service = SERVICES[name]
    assert service["network_mode"] == "host"
    for volume in service.get("volumes", []):
        source, target, *options = volume.split(":")
        assert target.startswith("/"), volume
        if source.startswith("."):
            assert (PROJECT / source).exists(), volume
            assert options == ["ro"], volume
        else:
            assert source in COMPOSE["volumes"], volume
    for secret in service.get("secrets", []):
        assert secret["source"] in COMPOSE["secrets"]


def test_every_volume_is_used() -> None:
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= used


def test_nothing_listens_for_others() -> None:
    assert "--web.listen-address=127.0.0.1:9090" in SERVICES["prometheus"]["command"]
    alertmanager = set(SERVICES["alertmanager"]["command"])
    assert {"--web.listen-address=127.0.0.1:9093", "--cluster.listen-address="} <= alertmanager
    assert SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    redis = SERVICES["redis"]["command"]
    assert redis[redis.index("--bind") + 1] == "127.0.0.1"
    fleet = load_fleet(DEPLOY / "fleet.yml", {})
    for address in (fleet.gateway.listen, fleet.exporter.listen, fleet.receiver.listen):
        assert address.host == "127.0.0.1"
    # The example's own default.
    assert "--host" not in SERVICES["example-server"]["command"]
    server = (PROJECT / "examples" / "server.py").read_text(encoding="utf-8")
    assert re.search(r'"--host", default="127\.0\.0\.1"', server)


def test_no_two_services_take_one_port() -> None:
    fleet = load_fleet(DEPLOY / "fleet.yml", {})
    ports = [fleet.gateway.listen.port, fleet.exporter.listen.port, fleet.receiver.listen.port]
    ports += [9090, 9093, int(SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_PORT"])]
    commands = [SERVICES[name]["command"] for name in ("example-server", "redis")]
    ports += [int(command[command.index("--port") + 1]) for command in commands]
    assert len(ports) == len(set(ports)) == len(SERVICES)


def test_the_health_checks_ask_where_the_programs_listen() -> None:
    fleet = load_fleet(DEPLOY / "fleet.yml", {})
    for name, address in (
        ("gateway", fleet.gateway.listen), ("exporter", fleet.exporter.listen), ("receiver", fleet.receiver.listen),
    ):  # fmt: skip
        assert f"{address.url}/-/healthy" in " ".join(SERVICES[name]["healthcheck"]["test"])


def test_the_example_server_is_the_one_that_the_fleet_names() -> None:
    command = SERVICES["example-server"]["command"]
    (server,) = load_fleet(DEPLOY / "fleet.yml", {}).servers.values()
    assert server.url == f"http://127.0.0.1:{command[command.index('--port') + 1]}/mcp"


def test_the_one_env_file_holds_every_variable_and_no_other() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) == asked
    # No password is shipped, and without one it does not start.
    assert re.search(r"^GRAFANA_ADMIN_PASSWORD=$", example, re.MULTILINE)
    assert "${GRAFANA_ADMIN_PASSWORD:?" in TEXT
    assert "/.env" in (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_what_the_environment_says_reaches_the_fleet() -> None:
    fleet = load_fleet(DEPLOY / "fleet.yml", {"REDIS_URL": "redis://127.0.0.1:6379/0", "MCP_MEDIC_MODE": "automatic"})
    assert fleet.redis_url == "redis://127.0.0.1:6379/0"
    assert {server.mode for server in fleet.servers.values()} == {Mode.AUTOMATIC}
    assert set(SERVICES["receiver"]["environment"]) == {"REDIS_URL", "MCP_MEDIC_MODE"}


def test_grafana_is_provisioned_with_what_is_shipped() -> None:
    provider = yaml.safe_load((PROJECT / "grafana/provisioning/dashboards/mcp-medic.yml").read_text(encoding="utf-8"))
    folder = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]
    source = yaml.safe_load((PROJECT / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["url"] == "http://127.0.0.1:9090"


def test_the_image_copies_every_package_of_the_distribution_and_nothing_that_is_missing() -> None:
    lines = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY") and "--from" not in line]
    sources = {source for line in lines for source in line}
    pyproject = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"packages = \[(.*?)\]", pyproject, re.DOTALL)
    assert packages is not None
    assert {name.partition(".")[0] for name in re.findall(r'"([a-z.]+)"', packages.group(1))} <= sources
    assert not [source for source in sources if not (PROJECT / source).exists()]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{source}" for source in sources} <= set(ignored)


def test_the_image_is_built_in_stages_from_pinned_parts_and_runs_as_nobody_important() -> None:
    bases = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    stages = [stage for _, stage in bases]
    assert len(bases) == DOCKERFILE.count("\nFROM ")
    assert [base for base, _ in bases if base not in stages and not PINNED.fullmatch(base)] == []
    for install in re.findall(r"pip install .*", DOCKERFILE):
        assert "--require-hashes" in install or "--no-deps /wheels" in install, install
    for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]:
        if stage.partition("\n")[0].endswith((" AS programs", " AS example")):
            assert "\nUSER 10001:10001\n" in stage
            assert "pip install" not in stage
            assert stage.strip().splitlines()[-1].startswith("CMD [")


def pins(file: str) -> set[str]:
    """The versions with their hashes that a lock names."""
    text = re.sub(r" \\\n\s+", " ", (PROJECT / file).read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if re.match(r"[a-z0-9].*--hash=", line)]
    return {re.sub(r" ;.*?(?= --hash)", "", line).strip() for line in lines}


@pytest.mark.parametrize("lock", ["deploy/build.lock", "deploy/example.lock"])
def test_the_image_has_the_versions_that_the_tests_ran_with(lock: str) -> None:
    assert pins(lock)
    assert pins(lock) <= pins("requirements-dev.lock")
