"""docs/registries.md is held against the code: the files it lists, in its order, are those that are read."""

import re
from pathlib import Path

import pytest

from ocibuild.registry import certs, daemonjson, dial, hosts, mirrors, registriesconf, tls
from ocibuild.registry.origin import Origin
from ocibuild.registry.settings import Settings, Timeouts

PAGE = (Path(__file__).parents[2] / "docs" / "registries.md").read_text("utf-8")
HOST = "registry.example.com:5000"
SETTINGS = Settings(home=Path("/home"), system=Path("/etc"))


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def listed(title: str) -> list[str]:
    """The numbered paths of a section."""
    found = re.findall(r"^\d+\. `([^`]+)`", section(title), re.MULTILINE)
    return [path.replace("~", "/home").replace("HOST", HOST) for path in found]


def test_the_folders_of_certificates():
    looked = [str(folder) for folder in certs.looked(Origin.of(f"https://{HOST}"), SETTINGS)]
    assert listed("Certificates") == looked


def test_the_files_of_containerd():
    looked = [str(path) for path in hosts.looked(Origin.of(f"https://{HOST}"), SETTINGS)]
    with_colon = [path for path in looked if "_5000_" not in path]
    assert listed("hosts.toml") == with_colon
    for path in with_colon[:2]:
        assert looked.index(path.replace(":5000", "_5000_")) + 1 == looked.index(path)


def test_the_variables_are_named():
    for variable in (*tls.FILES, tls.FOLDERS):
        assert f"`{variable}`" in section("Certificates")
    assert f"`{registriesconf.VARIABLE}`" in section("registries.conf")


def test_docker_s_files():
    looked = [str(path).replace("/home", "~") for path in daemonjson.files(SETTINGS)]
    text = section("Mirrors")
    assert len(looked) == 2
    assert text.index(f"`{looked[0]}`") < text.index(f"`{looked[1]}`")


def test_podman_s_files(tmp_path):
    settings = Settings(home=tmp_path / "home", system=tmp_path / "etc")
    folders = re.findall(r"`([^`]*registries\.conf(?:\.d)?)`", section("registries.conf"))
    own, system, system_d, own_d = (
        Path(each.replace("~", str(tmp_path / "home")).replace("/etc", str(tmp_path / "etc"))) for each in folders
    )
    for path in (own, system, system_d / "a.conf", own_d / "b.conf"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert list(registriesconf.files(settings)) == [own, own_d / "b.conf"]
    own.unlink()
    assert list(registriesconf.files(settings)) == [system, system_d / "a.conf", own_d / "b.conf"]


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("within 3 seconds", mirrors.CONNECT),
        ("after 10 seconds", Timeouts().connect),
        ("and 30 for a host", dial.LONGEST),
    ],
)
def test_the_bounds(text, seconds):
    assert text in " ".join(PAGE.split())
    assert float(re.search(r"\d+", text)[0]) == seconds


def test_the_keys_of_hosts_toml():
    source = Path(hosts.__file__).read_text("utf-8")
    named = re.findall(r"`(\w+)`", section("hosts.toml").partition("are understood")[0].rpartition("\n\n")[2])
    assert len(named) == 8
    assert [key for key in named if f'"{key}"' not in source] == []
