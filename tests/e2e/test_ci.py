"""samples/ci as the services would run it: held against their published schemas, every command executed.

The jobs' `uses` are the services' own actions, which only put compilers on a runner; what stands in `run` and `script` is
run here, by bash as there, in a repository of its own, with the variables that the services set.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from ocibuild.spec.descriptor import Descriptor
from tests.e2e.servers import Ocibuild, Part, Running, serving
from tests.registry.scripted import PLANTED
from tests.registry.test_real import HTPASSWD

ROOT = Path(__file__).parents[2]
CI = ROOT / "samples/ci"
COMMITTED = "2026-02-03T04:05:06+00:00"
PLATFORMS = ["linux/amd64", "linux/arm64", "wasi/wasm"]


@pytest.mark.parametrize(
    "name, schema", [("github.yml", "vendor.github-workflows"), ("gitlab.yml", "vendor.gitlab-ci")]
)
def test_each_file_is_what_the_service_expects(name: str, schema: str, tmp_path: Path) -> None:
    def check(path: Path) -> int:
        words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
        return subprocess.run(words, capture_output=True, timeout=60).returncode

    assert check(CI / name) == 0
    damaged = tmp_path / name
    damaged.write_text((CI / name).read_text().replace("steps:", "stepz:").replace("script:", "script: 1 #"))
    assert check(damaged) != 0


@dataclass
class Project:
    """A Go program in a git repository, and a PATH on which `python` is an empty environment of its own."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def bash(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environ = {**self.environ, **variables}
        words = ["bash", "-e", "-o", "pipefail", "-c", script]
        return subprocess.run(words, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=300)

    def must(self, script: str, **variables: str) -> str:
        done = self.bash(script, **variables)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty environment, and `constraints` that make `pip install ocibuild` mean this tree."""
    out = tmp_path_factory.mktemp("machine")
    script = "import sys, hatchling.build as backend; backend.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(out)], cwd=ROOT, check=True, capture_output=True, timeout=300)
    (wheel,) = out.glob("*.whl")
    venv.create(out / "env", with_pip=True)
    lock = re.findall(r"^[\w.-]+==[^\s;]+", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE)
    (out / "constraints").write_text("\n".join([f"ocibuild @ {wheel.as_uri()}", *lock]))
    return out


@pytest.fixture
def project(part: Part, machine: Path, tmp_path: Path) -> Project:
    folder, home = tmp_path / "project", tmp_path / "home"
    shutil.copytree(ROOT / "samples/go/hello", folder)
    home.mkdir()
    path = [str(machine / "env/bin"), str(Path(part("go")).parent), "/usr/bin", "/bin"]
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    project = Project(folder, {**kept, "HOME": str(home), "PATH": ":".join(path), "CI": "true"})
    project.environ |= {"PIP_CONSTRAINT": str(machine / "constraints"), "GOCACHE": str(machine / "gocache")}
    dates = {"GIT_AUTHOR_DATE": COMMITTED, "GIT_COMMITTER_DATE": COMMITTED}
    who = "-c user.name=Ada -c user.email=ada@example.com"
    project.must(f"git init -q -b main . && git add . && git {who} commit -q -m one", **dates)
    return project


def _image(ocibuild: Ocibuild, reference: str) -> list[str]:
    """The platforms of what was pushed, after a look by the command line of this tree."""
    manifest = json.loads(ocibuild("manifest", reference))
    return [str(Descriptor.from_json(entry).platform) for entry in manifest["manifests"]]


@pytest.mark.real
def test_githubs_workflow_pushes_and_says_what(
    project: Project, registry: Running, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    project.environ |= {"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "ada", "GITHUB_REPOSITORY": "Ada/Hello"}
    project.environ |= {"GITHUB_REF_NAME": "feature/one", "GITHUB_SERVER_URL": "https://github.com"}
    said = _workflow(project, registry, "push", tmp_path)
    reference = said["reference"]
    assert re.fullmatch(rf"{registry.host}/ada/hello@sha256:[0-9a-f]{{64}}", reference)
    assert _image(ocibuild, reference) == PLATFORMS
    assert ocibuild("digest", f"{registry.host}/ada/hello:feature-one").strip().endswith(reference.partition("@")[2])
    assert reference in (tmp_path / "summary").read_text()


@pytest.mark.real
def test_githubs_workflow_pushes_nothing_of_a_pull_request(
    project: Project, registry: Running, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    project.environ |= {"GITHUB_REPOSITORY": "Ada/Hello", "GITHUB_REF_NAME": "7/merge"}
    assert _workflow(project, registry, "pull_request", tmp_path) == {}
    assert _image(ocibuild, f"oci:{project.folder}/image.oci") == PLATFORMS
    assert ocibuild("repos", registry.host) == ""


def _workflow(project: Project, registry: Running, event: str, tmp_path: Path) -> dict[str, str]:
    """Run the steps of the only job as a runner does; what it said in GITHUB_OUTPUT."""
    workflow = yaml.safe_load((CI / "github.yml").read_text())
    known = {"github.token": PLANTED, "github.event_name != 'pull_request'": event != "pull_request"}
    written = {
        name: str(tmp_path / name.rpartition("_")[2].lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
    }
    Path(written["GITHUB_OUTPUT"]).touch()
    (job,) = workflow["jobs"].values()
    for step in job["steps"]:
        if "run" in step and ("if" not in step or known[step["if"]]):
            own = {
                name: re.sub(r"\$\{\{ (.+?) \}\}", lambda found: str(known[found[1]]), value)
                for name, value in step.get("env", {}).items()
            }
            project.must(step["run"], **workflow["env"] | {"REGISTRY": registry.host} | written | own)
    lines = Path(written["GITHUB_OUTPUT"]).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.real
def test_gitlabs_jobs_log_in_by_their_own_variables(
    project: Project, part: Part, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    lines = ("auth:", f"  htpasswd: {{realm: here, path: {tmp_path / 'htpasswd'}}}")
    with serving("docker-registry", part, tmp_path / "registry", lines) as served:
        jobs = yaml.safe_load((CI / "gitlab.yml").read_text())
        variables = {
            "GITLAB_CI": "true",
            "CI_REGISTRY": served.host,
            "CI_REGISTRY_IMAGE": f"{served.host}/ada/hello",
            "CI_REGISTRY_USER": "ada",
            "CI_REGISTRY_PASSWORD": "love:lace",
            "CI_COMMIT_TIMESTAMP": COMMITTED,
            "CI_COMMIT_SHA": "1" * 40,
            "CI_COMMIT_REF_SLUG": "main",
            "CI_PROJECT_URL": "https://gitlab.example/ada/hello",
        }
        for stage in jobs["stages"]:
            job = jobs[stage]
            script = "\n".join([*job.get("before_script", ()), *job["script"]])
            project.must(script, **variables | job.get("variables", {}))
        written = json.loads((project.folder / "image.json").read_text())
        pushed = f"{served.host}/ada/hello@{written['containerimage.digest']}"
        login = ("--username", "ada", "--password-stdin")
        manifest = json.loads(ocibuild("manifest", *login, pushed, stdin="love:lace"))
    assert [str(Descriptor.from_json(entry).platform) for entry in manifest["manifests"]] == PLATFORMS
    assert manifest["annotations"]["org.opencontainers.image.revision"] == "1" * 40


@pytest.mark.real
def test_the_shell_script_pushes_the_same_digest_again(project: Project, registry: Running, ocibuild: Ocibuild) -> None:
    project.must("python -m pip install -q ocibuild")
    project.must("GOOS=wasip1 GOARCH=wasm go build -trimpath -o dist/hello.wasm .")
    project.must("CGO_ENABLED=0 GOARCH=arm64 go build -trimpath -o dist/hello-linux-arm64 .")
    line = f"{CI / 'publish.sh'} {registry.host}/hello:1 dist/hello.wasm dist/hello-linux-arm64"
    reference = project.must(line)
    assert re.fullmatch(rf"{registry.host}/hello@sha256:[0-9a-f]{{64}}\n", reference)
    assert project.must(line) == reference
    assert _image(ocibuild, reference.strip()) == ["linux/arm64", "wasi/wasm"]
    config = json.loads(ocibuild("config", f"{registry.host}/hello:1", "--platform", "wasi/wasm"))
    assert config["created"] == COMMITTED.replace("+00:00", "Z")


def test_the_shell_script_says_how_it_is_called() -> None:
    done = subprocess.run([CI / "publish.sh", "only-one"], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stdout) == (2, "")
    assert "publish.sh REFERENCE FILE..." in done.stderr
