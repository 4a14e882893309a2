"""The files in deploy/, as far as they can be checked without a container engine."""

from __future__ import annotations

import json
import re
from pathlib import Path

from typer.testing import CliRunner

from promptcodec.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
COMPOSE = (ROOT / "deploy" / "compose.yaml").read_text()


def options() -> set[str]:
    text = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    return set(re.findall(r"--[a-z-]+", text))


def test_the_image_runs_as_nobody_with_options_that_exist():
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.M) == ["10001:10001"]
    command = json.loads(re.search(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.M)[1])
    command += json.loads(re.search(r"^ *command: (.*)$", COMPOSE, re.M)[1])
    assert command[:2] == ["promptcodec", "serve"]
    assert {word for word in command if word.startswith("--")} <= options()
    port = command[command.index("--port") + 1]
    assert f"EXPOSE {port}\n" in DOCKERFILE and f":{port}:{port}" in COMPOSE and f":{port}/readyz" in DOCKERFILE


def test_it_installs_as_the_readme_says():
    line = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
    assert line in (ROOT / "README.md").read_text()
    assert line.replace("install", "install --no-cache-dir") in DOCKERFILE


def test_what_is_copied_is_there_and_not_ignored():
    kept = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists() and f"!{source}" in kept, source


def test_the_file_system_is_read_only_and_the_port_is_for_this_machine():
    assert "read_only: true" in COMPOSE and "cap_drop: [ALL]" in COMPOSE
    assert '"127.0.0.1:' in COMPOSE


def test_every_option_is_in_the_docs():
    page = (ROOT / "docs" / "serve.md").read_text()
    assert {option for option in options() - {"--help"} if f"`{option}`" not in page} == set()
