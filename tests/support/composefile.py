"""Read docker-compose.yml as data, fill it in from an environment, and check rules beyond its schema."""

from __future__ import annotations

import re
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::-([^}]*))?\})")
_DURATION = re.compile(r"(\d+(\.\d+)?(us|ms|s|m|h))+")
_PORT = re.compile(r"127\.0\.0\.1:(\d+):(\d+)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def load(path=FILE):
    """Return the file with its anchors merged and its variables unchanged."""
    return YAML(typ="safe", pure=True).load(path.read_text())


def fill(value, environment):
    """Return the value with its variables replaced as in Compose. A default counts for an unset or empty variable."""
    if isinstance(value, dict):
        return {key: fill(one, environment) for key, one in value.items()}
    if isinstance(value, list):
        return [fill(one, environment) for one in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: found[1] or environment.get(found[2]) or found[3] or "", value)
    return value


def variables(value):
    """Return the names of the variables in a part of the file."""
    if isinstance(value, (dict, list)):
        parts = value.values() if isinstance(value, dict) else value
        return set().union(*map(variables, parts))
    return {found[2] for found in _VARIABLE.finditer(value) if found[2]} if isinstance(value, str) else set()


def seconds(duration):
    """Return a duration of the file in seconds."""
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"([\d.]+)(us|ms|s|m|h)", duration))


def faults(document, stages, known):
    """Return a line for each error. `stages` are those of the Dockerfile, `known` the variables that may be set."""
    found = [f"variable {name} is not in config/env.example" for name in sorted(variables(document) - known)]
    filled = fill(document, {})
    found += _shared_images(filled)
    for name, service in filled["services"].items():
        found += [f"{name}: {text}" for text in _of_service(service, filled, stages)]
    used = {volume.split(":")[0] for service in filled["services"].values() for volume in service.get("volumes", ())}
    return found + [f"volume {name} is not used" for name in sorted(set(filled.get("volumes", ())) - used)]


def _of_service(service, document, stages):
    yield from _of_image(service, stages)
    yield from _of_dependencies(service, document["services"])
    for volume in service.get("volumes", ()):
        if volume.split(":")[0] not in document.get("volumes", {}):
            yield f"volume {volume} is not declared"
    for config in service.get("configs", ()):
        declared = document.get("configs", {}).get(config["source"])
        if declared is None or not (ROOT / declared["file"]).is_file():
            yield f"config {config['source']} leads nowhere"
    for port in service.get("ports", ()):
        match = _PORT.fullmatch(port)
        if not match or not all(0 < int(number) < 2**16 for number in match.groups()):
            yield f"port {port} is not 127.0.0.1:port:port"
    yield from _of_health(service)
    if not service.get("command") or not all(isinstance(word, str) for word in service["command"]):
        yield "command should be a list of words"


def _of_health(service):
    checked = service.get("healthcheck", {})
    times = {key: value for key, value in checked.items() if key not in ("test", "retries")}
    for key, value in {**times, "stop_grace_period": service.get("stop_grace_period", "10s")}.items():
        if not _DURATION.fullmatch(value):
            yield f"{key}: {value} is no duration"
    if service.get("restart") == "unless-stopped" and not checked:
        yield "no health check"
    if re.search(r"\bcelery\b(?<!entrypoint celery)", " ".join(checked.get("test", ()))):
        yield "a check of celery's that the entry point gives no secrets"


def _of_image(service, stages):
    build = service.get("build")
    if build is None:
        if not re.fullmatch(r"[\w./-]+:\d[\w.-]*", service.get("image", "")):
            yield "image should have the number of a version"
    elif not (ROOT / build["context"] / build["dockerfile"]).is_file() or build["target"] not in stages:
        yield f"nothing builds {build}"


def _shared_images(document):
    """Return shared image names: Compose builds all at once, and a second build of the same name fails."""
    services = document["services"].items()
    names = [service.get("image", f"{document['name']}-{name}") for name, service in services if "build" in service]
    return [f"image {name} is built by two services" for name in sorted({one for one in names if names.count(one) > 1})]


def _of_dependencies(service, services):
    for name, how in service.get("depends_on", {}).items():
        other = services.get(name)
        if other is None:
            yield f"depends_on {name}, which is no service"
            continue
        if how["condition"] == "service_healthy" and "healthcheck" not in other:
            yield f"depends_on {name}, which has no health check"
        missing = set(other.get("profiles", ())) - set(service.get("profiles", ()))
        if missing and how.get("required", True):
            yield f"depends_on {name}, which its profile may leave out"
