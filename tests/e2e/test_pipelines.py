"""action.yml, templates/ and .pre-commit-hooks.yaml: held against the services' schemas, and every command in them run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e import test_ci
from tests.e2e.servers import Ocibuild, Part, Run, Running
from tests.registry.scripted import PLANTED

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
TEMPLATE = ROOT / "templates/ocibuild/template.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
FILE = """
schema = 1
[vars]
host = {}
version = "1"
[targets.hello-there]
files = ["hello.wasm", "hello-linux-arm64"]
tags = ["${host}/hello:${version}"]
[targets.other]
files = ["hello.wasm"]
tags = ["${host}/other:${version}"]
"""
machine = test_ci.machine


@pytest.fixture
def project(machine: Path, tmp_path: Path) -> test_ci.Project:
    """A folder with programs and their ocibuild.toml, and a PATH on which `python` is an empty environment."""
    folder, home = tmp_path / "project", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    for name in ("hello.wasm", "hello-linux-arm64"):
        shutil.copy(ROOT / "samples" / name, folder)
    (folder / "ocibuild.toml").write_text(FILE)
    environ = {"HOME": str(home), "PATH": f"{machine / 'env/bin'}:/usr/bin:/bin", "CI": "true"}
    return test_ci.Project(folder, environ | {"PIP_CONSTRAINT": str(machine / "constraints")})


def _checked(document: object, schema: str, folder: Path) -> int:
    path = folder / "checked.yml"
    path.write_text(yaml.safe_dump(document))
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(words, capture_output=True, timeout=60).returncode


def test_the_action_is_what_github_expects(tmp_path: Path) -> None:
    document = yaml.safe_load(ACTION.read_text())
    assert _checked(document, "vendor.github-actions", tmp_path) == 0
    assert _checked(document | {"runs": {"using": "composite"}}, "vendor.github-actions", tmp_path) != 0
    # No input is pasted into a script: a branch called $(rm -rf ~) stays a name.
    assert [step["run"] for step in document["runs"]["steps"] if "${{" in step.get("run", "")] == []


class Runner:
    """What a GitHub runner does with the action's steps; other actions, which put Python and caches there, are left out."""

    def __init__(self, project: test_ci.Project, folder: Path, checkout: Path = ROOT) -> None:
        self.project, self.folder, self.checkout = project, folder, checkout
        self.action = yaml.safe_load(ACTION.read_text())

    def run(self, **inputs: str) -> tuple[int, dict[str, str]]:
        said = {name: one.get("default", "") for name, one in self.action["inputs"].items()} | inputs
        said["token"] = PLANTED
        temporary = self.folder / "temp"
        temporary.mkdir(exist_ok=True)
        variables = {"RUNNER_TEMP": str(temporary), "GITHUB_ACTION_PATH": str(self.checkout), "GITHUB_ACTIONS": "true"}
        variables |= {name: str(self.folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        Path(variables["GITHUB_OUTPUT"]).write_text("")
        status = 0
        for step in self.action["runs"]["steps"]:
            if "run" in step and not status:
                assert step["shell"] == "bash"
                own = {
                    name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: said[m[1]], text)
                    for name, text in step["env"].items()
                }
                done = self.project.bash(step["run"], **variables | own)
                status, self.said = done.returncode, done.stderr
        written = {}
        for name, _, text in re.findall(
            r"(\w+)<<(\w+)\n(.*?)\n\2\n", Path(variables["GITHUB_OUTPUT"]).read_text(), re.DOTALL
        ):
            written[name] = text
        outputs = {name: one["value"] for name, one in self.action["outputs"].items()}
        return status, {
            name: written[match[1]]
            for name, value in outputs.items()
            if (match := re.fullmatch(r"\$\{\{ steps\.bake\.outputs\.(\w+) \}\}", value)) and match[1] in written
        }


@pytest.mark.real
def test_the_action_pushes_says_what_and_remembers(
    project: test_ci.Project, registry: Running, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    runner = Runner(project, tmp_path)
    status, said = runner.run(version="0.1.0", set=f"host={registry.host}/ada\n\nversion=two\n")
    assert status == 0, runner.said
    digests = json.loads(said["digests"])
    assert list(digests) == ["hello-there", "other"]
    assert said["references"].splitlines() == [
        f"{registry.host}/ada/hello@{digests['hello-there']}",
        f"{registry.host}/ada/other@{digests['other']}",
    ]
    assert ocibuild("digest", f"{registry.host}/ada/hello:two").strip().endswith(digests["hello-there"])
    assert digests["other"] in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    _, again = runner.run(version="0.1.0", set=f"host={registry.host}/ada\nversion=two", targets="other")
    made: dict[str, Any] = json.loads(again["metadata"])
    assert {name: one["cached"] for name, one in made.items()} == {"other": True}
    assert json.loads(again["digests"]) == {"other": digests["other"]}


@pytest.mark.real
def test_the_action_fails_where_a_target_does_and_keeps_words_words(
    project: test_ci.Project, registry: Running, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    runner = Runner(project, tmp_path)
    status, said = runner.run(version="0.1.0", targets="$(touch${IFS}pwned) `id`", set=f"host={registry.host}")
    assert (status, said) == (2, {})
    assert "config-target-unknown" in runner.said
    assert not (project.folder / "pwned").exists()
    status, _ = runner.run(version="0.1.0", set=f"host={registry.host}", push="false", output="out")
    assert status == 0, runner.said
    assert (project.folder / "out/other.oci").is_dir()
    assert ocibuild("repos", registry.host) == ""
    with (project.folder / "ocibuild.toml").open("a") as file:
        file.write('[targets.bad]\nfiles = ["hello.wasm"]\nneeds = ["other"]\ntags = ["127.0.0.1:1/x:1"]\n')
    status, said = runner.run(version="0.1.0", set=f"host={registry.host}", targets="other bad")
    assert status != 0
    assert list(json.loads(said["digests"])) == ["other"]


@pytest.mark.real
def test_the_action_installs_the_ocibuild_it_came_with(
    project: test_ci.Project, registry: Running, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    """As most will use it: no version, so pip takes the action's own checkout, in a Python that has nothing yet."""
    checkout, env = tmp_path / "_actions" / "own er" / "v0", tmp_path / "env"
    left_out = shutil.ignore_patterns(".*", "tests", "__pycache__")
    shutil.copytree(ROOT, checkout, ignore=left_out)
    version = checkout / "ocibuild" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "99.'))
    venv.create(env, with_pip=True)
    lock = re.findall(r"^[\w.-]+==[^\s;]+", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE)
    (tmp_path / "lock").write_text("\n".join(lock))
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    project.environ |= {**kept, "PATH": f"{env / 'bin'}:/usr/bin:/bin", "PIP_CONSTRAINT": str(tmp_path / "lock")}
    before = {path.relative_to(checkout) for path in checkout.rglob("*")}
    runner = Runner(project, tmp_path, checkout)
    status, said = runner.run(set=f"host={registry.host}/ada")
    assert status == 0, runner.said
    assert project.must("ocibuild --version").strip().startswith("ocibuild 99.")
    digests = json.loads(said["digests"])
    assert list(digests) == ["hello-there", "other"]
    assert ocibuild("digest", f"{registry.host}/ada/hello:1").strip().endswith(digests["hello-there"])
    assert {path.relative_to(checkout) for path in checkout.rglob("*")} == before, "the checkout is left as it is"
    _, again = runner.run(set=f"host={registry.host}/ada")
    assert {one["cached"] for one in json.loads(again["metadata"]).values()} == {True}


def _job(**inputs: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """The template's inputs, and its job as GitLab puts them in: the text of each, where it is named."""
    head, _, body = TEMPLATE.read_text().partition("\n---\n")
    spec = yaml.safe_load(head)["spec"]["inputs"]
    said = {name: one.get("default") for name, one in spec.items()} | inputs

    def text(match: re.Match[str]) -> str:
        value = said[match[1]]
        return str(value).lower() if isinstance(value, bool) else str(value)

    return spec, yaml.safe_load(re.sub(r"\$\[\[ inputs\.(\w+) \]\]", text, body))


def test_the_component_is_what_gitlab_expects(tmp_path: Path) -> None:
    spec, jobs = _job()
    assert list(jobs) == ["bake"]
    assert _checked({"spec": {"inputs": spec}, **jobs}, "vendor.gitlab-ci", tmp_path) == 0
    assert _checked({"bake": jobs["bake"] | {"script": 1}}, "vendor.gitlab-ci", tmp_path) != 0


@pytest.mark.real
def test_the_component_pushes_and_hands_references_on(
    project: test_ci.Project, registry: Running, ocibuild: Ocibuild
) -> None:
    _, jobs = _job(job="images", set=f"host={registry.host}/ada version=3", requirement="ocibuild==0.1.0")
    (job,) = jobs.values()
    variables = {
        name: value.replace("$CI_PROJECT_DIR", str(project.folder)) for name, value in job["variables"].items()
    } | {"GITLAB_CI": "true"}
    done = subprocess.run(
        ["sh", "-e", "-c", "\n".join([*job["before_script"], *job["script"]])],
        cwd=project.folder,
        env=project.environ | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    handed = dict(line.split("=") for line in (project.folder / "ocibuild-bake.env").read_text().splitlines())
    assert list(handed) == ["OCIBUILD_IMAGE_HELLO_THERE", "OCIBUILD_IMAGE_OTHER"]
    assert (
        ocibuild("digest", f"{registry.host}/ada/other:3").strip() == handed["OCIBUILD_IMAGE_OTHER"].partition("@")[2]
    )
    assert [path for path in job["cache"]["paths"] if not list((project.folder / path).iterdir())] == []
    assert [path for path in job["artifacts"]["paths"] if not (project.folder / path).is_file()] == []


@pytest.mark.real
def test_the_hooks_run_by_pre_commit(part: Part, run: Run, tmp_path: Path) -> None:
    pre_commit = part("pre-commit")
    run(pre_commit, "validate-manifest", str(HOOKS))
    hooks, project = tmp_path / "hooks", tmp_path / "project"
    shutil.copytree(ROOT / "ocibuild", hooks / "ocibuild", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "schemas", hooks / "schemas")
    for name in ("pyproject.toml", "README.md", "LICENSE", HOOKS.name):
        shutil.copy(ROOT / name, hooks)
    project.mkdir()
    shutil.copy(ROOT / "samples/hello.wasm", project)
    shutil.copy(ROOT / "samples/hello-http.wasm", project)
    (project / "ocibuild.toml").write_text(
        FILE.replace("host = {}", 'host = "localhost:5000"').replace(', "hello-linux-arm64"', "")
    )
    for folder in (hooks, project):
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        run("git", "init", "-q", cwd=folder)
        run("git", "add", ".", cwd=folder)
        run("git", *who, "commit", "-q", "-m", "one", cwd=folder)
    words = [pre_commit, "try-repo", str(hooks), "--all-files"]
    said = run(*words, cwd=project, seconds=400)
    assert re.search(r"ocibuild check\.+Passed", said)
    assert re.search(r"ocibuild bake --check\.+Passed", said)
    (project / "cut.wasm").write_bytes(b"\0asm\1\0\0\0\1")
    run("git", "add", ".", cwd=project)
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=400)
    assert done.returncode == 1
    assert "damaged" in done.stdout
