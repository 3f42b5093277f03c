"""Credentials: files, helpers and variables, their order, and to whom each belongs."""

import base64
import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.content import atomic
from ocibuild.content.flow import Cancel
from ocibuild.errors import Cancelled, StoreError, ToolError
from ocibuild.registry import authfile, cloud, helper, login
from ocibuild.registry.answers import Answers
from ocibuild.registry.credentials import Credential
from ocibuild.registry.keychain import Keychain

# Credentials.


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def docker(home, document) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(document if isinstance(document, str) else json.dumps(document))


def find(home, registry="r.example", repository="a", explicit=None, **environ):
    return Keychain(explicit or {}, environ, home).find(registry, repository)


@pytest.mark.fault(45)
def test_docker_s_config(tmp_path):
    docker(tmp_path, {"auths": {"r.example": {"auth": encoded("ada:pass:word%ü")}}})
    found = find(tmp_path)
    assert (found.username, found.password) == ("ada", "pass:word%ü")
    assert found.source == str(tmp_path / ".docker" / "config.json")
    assert "pass:word" not in repr(found)
    assert base64.b64decode(found.basic.removeprefix("Basic ")).decode() == "ada:pass:word%ü"


@pytest.mark.parametrize("key", ["https://r.example", "https://r.example/v1/", "http://r.example/v2/", "r.example/"])
def test_keys_older_clients_wrote(tmp_path, key):
    docker(tmp_path, {"auths": {key: {"username": "ada", "password": "x"}}})
    assert find(tmp_path).username == "ada"


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"])
def test_docker_hub_by_its_names(tmp_path, key):
    docker(tmp_path, {"auths": {key: {"auth": encoded("ada:x")}}})
    assert find(tmp_path, "registry-1.docker.io", "library/hello").username == "ada"


def test_the_most_particular_key_wins(tmp_path):
    entry = {name: {"auth": encoded(f"{name}:x")} for name in ("r.example", "r.example/team", "r.example/team/app")}
    docker(tmp_path, {"auths": entry})
    assert find(tmp_path, repository="team/app").username == "r.example/team/app"
    assert find(tmp_path, repository="team/other").username == "r.example/team"
    assert find(tmp_path, repository="teams").username == "r.example"


def test_a_port_is_part_of_the_host(tmp_path):
    docker(tmp_path, {"auths": {"r.example": {"auth": encoded("ada:x")}}})
    assert find(tmp_path, "r.example:5000") is None


def test_order_of_the_places(tmp_path):
    def file(path, user):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {"r.example": {"auth": encoded(f"{user}:x")}}}))
        return str(path)

    file(tmp_path / ".config/containers/auth.json", "podman")
    assert find(tmp_path).username == "podman"
    file(tmp_path / "run/containers/auth.json", "runtime")
    places = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    assert find(tmp_path, **places).username == "runtime"
    file(tmp_path / ".docker/config.json", "docker")
    assert find(tmp_path, **places).username == "docker"
    file(tmp_path / "other/config.json", "elsewhere")
    places["DOCKER_CONFIG"] = str(tmp_path / "other")
    assert find(tmp_path, **places).username == "elsewhere"
    places["REGISTRY_AUTH_FILE"] = file(tmp_path / "auth.json", "named")
    assert find(tmp_path, **places).username == "named"
    places["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"r.example": {"auth": encoded("ci:x")}}})
    assert find(tmp_path, **places).username == "ci"
    assert find(tmp_path, explicit={"r.example": Credential("given", "x")}, **places).username == "given"
    assert find(tmp_path, "other.example", explicit={"r.example": Credential("given", "x")}, **places) is None


@pytest.mark.fault(44)
@pytest.mark.parametrize(
    "document",
    ["{", "[]", "null", '{"auths":null}', '{"auths":{"r.example":{"auth":"%%%"}}}', '{"auths":{"r.example":1}}'],
)
def test_broken_files_are_passed_over_and_noted(tmp_path, document):
    docker(tmp_path, document)
    keychain = Keychain({}, {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}, tmp_path)
    (tmp_path / "xdg/containers").mkdir(parents=True)
    (tmp_path / "xdg/containers/auth.json").write_text(json.dumps({"auths": {"r.example": {"auth": encoded("ada:x")}}}))
    assert keychain.find("r.example").username == "ada"
    if document in ("{", "[]", "null"):
        where = " (line 1)" if document == "{" else ""
        assert keychain.notes == [f"{tmp_path / '.docker' / 'config.json'} is not a JSON object{where}"]


@pytest.mark.fault(44)
def test_a_byte_order_mark_and_a_folder_in_the_place_of_a_file(tmp_path):
    docker(tmp_path, "\ufeff" + json.dumps({"auths": {"r.example": {"auth": encoded("ada:x")}}}))
    assert find(tmp_path).username == "ada"
    keychain = Keychain({}, {"DOCKER_CONFIG": str(tmp_path / "d")}, tmp_path)
    (tmp_path / "d/config.json").mkdir(parents=True)
    assert keychain.find("r.example") is None
    assert len(keychain.notes) == 1


def program(folder, name, body) -> str:
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(folder)


ANSWER = 'import json, sys\nprint(json.dumps({"ServerURL": "", "Username": "ada", "Secret": sys.stdin.read()}))'
posix = pytest.mark.skipif(os.name == "nt", reason="the helpers of these tests are scripts with a #! line")


@posix
def test_a_helper_gets_the_host_and_gives_the_secret(tmp_path):
    path = program(tmp_path, "here", ANSWER)
    docker(tmp_path, {"credHelpers": {"r.example": "here"}, "auths": {"r.example": {"auth": encoded("no:x")}}})
    found = find(tmp_path, PATH=path)
    assert (found.username, found.password, found.source) == ("ada", "r.example", "docker-credential-here")
    docker(tmp_path, {"credsStore": "here"})
    assert find(tmp_path, "docker.io", PATH=path).password == "https://index.docker.io/v1/"


@posix
def test_a_helper_s_identity_token(tmp_path):
    path = program(tmp_path, "here", ANSWER.replace('"ada"', '"<token>"'))
    docker(tmp_path, {"credsStore": "here"})
    found = find(tmp_path, PATH=path)
    assert (found.username, found.identity_token, found.basic) == ("", "r.example", "")


@pytest.mark.fault(43)
@posix
@pytest.mark.parametrize(
    "body, expected",
    [
        ("print('credentials not found in native keychain'); raise SystemExit(1)", None),
        ("raise SystemExit(3)", "docker-credential-x failed with status 3"),
        ("print('hello')", "docker-credential-x did not answer with a user name and a secret"),
        ("print('[]')", "docker-credential-x did not answer with a user name and a secret"),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "docker-credential-x failed with status -9"),
        ("import time; time.sleep(60)", "docker-credential-x gave no answer within 0.5 s"),
    ],
)
def test_helpers_that_fail(tmp_path, body, expected):
    started = time.monotonic()
    assert helper.get("x", "r.example", {"PATH": program(tmp_path, "x", body)}, 0.5) == expected
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["none-such", "../x", "a/b", "a;b", ""])
def test_helpers_that_are_not_there(tmp_path, name):
    assert "not installed" in helper.get(name, "r.example", {"PATH": str(tmp_path)})


# The rest of the protocol, against a helper that keeps what it is told in a file.

KEEPER = """import json, pathlib, sys
path = pathlib.Path(__file__).with_suffix(".json")
kept = json.loads(path.read_text()) if path.exists() else {}
action, question = sys.argv[1], sys.stdin.read()
with open(path.with_suffix(".log"), "a") as log:
    log.write(action + "\\n")
if action == "store":
    asked = json.loads(question)
    kept[asked["ServerURL"]] = [asked["Username"], asked["Secret"]]
elif action == "list":
    print(json.dumps({server: user for server, (user, secret) in kept.items()}))
elif question not in kept:
    print("credentials not found in native keychain")
    raise SystemExit(1)
elif action == "erase":
    del kept[question]
else:
    print(json.dumps({"ServerURL": question, "Username": kept[question][0], "Secret": kept[question][1]}))
path.write_text(json.dumps(kept))
"""


@pytest.fixture
def keeper(tmp_path):
    """The environment that has `docker-credential-keeper` on its PATH."""
    (tmp_path / "bin").mkdir()
    return {"PATH": program(tmp_path / "bin", "keeper", KEEPER)}


@posix
def test_a_helper_stores_lists_gives_and_erases(keeper):
    helper.store("keeper", "r.example", "ada", "love:lace\n%ü", keeper)
    helper.store("keeper", "s.example", "<token>", "identity", keeper)
    assert helper.listed("keeper", keeper) == {"r.example": "ada", "s.example": "<token>"}
    assert helper.get("keeper", "r.example", keeper) == ("ada", "love:lace\n%ü")
    assert helper.erase("keeper", "r.example", keeper)
    assert helper.get("keeper", "r.example", keeper) is None
    assert not helper.erase("keeper", "r.example", keeper)


@pytest.mark.fault(43)
@posix
@pytest.mark.parametrize(
    "body, said",
    [
        ("raise SystemExit(3)", "failed with status 3"),
        ("print('the vault is \\x1b[31mlocked'); raise SystemExit(1)", "status 1: the vault is  [31mlocked"),
        ("import sys; print('no:', sys.stdin.read()); raise SystemExit(1)", "failed with status 1"),
        ("import time; time.sleep(60)", "no answer within 0.5 s"),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "failed with status -9"),
    ],
)
def test_a_helper_that_does_not_store(tmp_path, body, said):
    with pytest.raises(ToolError) as caught:
        helper.store("x", "r.example", "ada", "planted-secret", {"PATH": program(tmp_path, "x", body)}, 0.5)
    assert caught.value.code == "helper-failed"
    assert said in caught.value.message
    assert "planted-secret" not in caught.value.message
    assert "\x1b" not in caught.value.message


@posix
@pytest.mark.fault(43)
def test_a_helper_that_hangs_is_ended_when_the_work_is_called_off(tmp_path):
    docker(tmp_path, {"credsStore": "x"})
    cancel = Cancel()
    environ = {"PATH": program(tmp_path, "x", "import time; time.sleep(60)")}
    keychain = Keychain({}, environ, tmp_path, answers=Answers().under(cancel))
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(keychain.find, "r.example") for _ in range(2)]
        time.sleep(0.5)
        assert not any(one.done() for one in waiting)
        started = time.monotonic()
        cancel.set()
        for one in waiting:
            with pytest.raises(Cancelled):
                one.result(10)
        assert time.monotonic() - started < 1
    assert keychain.notes == []


def test_a_helper_that_is_not_there_cannot_store(tmp_path):
    with pytest.raises(ToolError) as caught:
        helper.store("none-such", "r.example", "ada", "x", {"PATH": str(tmp_path)})
    assert caught.value.code == "helper-missing"


@posix
def test_a_helper_is_asked_once_a_session(tmp_path, keeper):
    helper.store("keeper", "r.example", "ada", "x", keeper)
    docker(tmp_path, {"credsStore": "keeper"})
    keychain = Keychain({}, keeper, tmp_path)
    for repository in ("a", "b", "c"):
        assert keychain.find("r.example", repository).username == "ada"
        assert keychain.find("s.example", repository) is None
    log = tmp_path / "bin" / "docker-credential-keeper.log"
    assert log.read_text().split() == ["store", "get", "get"]
    keychain.answers.forget()
    assert keychain.find("r.example").username == "ada"
    assert log.read_text().split() == ["store", "get", "get", "get"]


@posix
def test_no_helper_is_asked_once_the_host_is_known(tmp_path, keeper):
    docker(tmp_path, {"credsStore": "keeper"})
    environ = {**keeper, "DOCKER_AUTH_CONFIG": json.dumps({"auths": {"r.example": {"auth": encoded("ada:x")}}})}
    looks = list(Keychain({}, environ, tmp_path).looks("r.example"))
    assert [look.said for look in looks if look.source == "docker-credential-keeper"] == [
        "not asked: a place before it has the host"
    ]
    assert not (tmp_path / "bin" / "docker-credential-keeper.log").exists()


@posix
def test_a_helper_that_knows_nothing_leaves_the_file_its_say(tmp_path, keeper):
    docker(tmp_path, {"credsStore": "keeper", "auths": {"r.example": {"auth": encoded("ada:x")}, "s.example": {}}})
    assert find(tmp_path, **keeper).username == "ada"
    assert find(tmp_path, "s.example", **keeper) is None


@posix
def test_a_host_can_be_kept_out_of_the_helper(tmp_path, keeper):
    helper.store("keeper", "r.example", "helper", "x", keeper)
    document = {
        "credsStore": "keeper",
        "credHelpers": {"r.example": ""},
        "auths": {"r.example": {"auth": encoded("a:x")}},
    }
    docker(tmp_path, document)
    assert find(tmp_path, **keeper).username == "a"
    kept = login.keep(tmp_path / ".docker" / "config.json", "r.example", Credential("b", "y"), keeper)
    assert kept.is_plain
    assert find(tmp_path, **keeper).username == "b"


@posix
def test_a_helper_that_nobody_named_may_fail_in_silence(tmp_path):
    keychain = Keychain({}, {"PATH": program(tmp_path, "gcloud", "raise SystemExit(1)")}, None)
    looks = {look.source: look.said for look in keychain.looks("gcr.io")}
    assert looks["docker-credential-gcloud"] == "docker-credential-gcloud failed with status 1"
    assert keychain.notes == []


# Keys and entries.


@pytest.mark.parametrize(
    "key, registry",
    [
        ("R.Example", "r.example"),
        ("r.example", "R.Example"),
        ("r.example:443", "r.example"),
        ("r.example", "r.example:443"),
        ("https://r.example:443/v2/", "r.example"),
        ("[::1]:443", "[::1]"),
    ],
)
def test_one_host_written_two_ways(tmp_path, key, registry):
    docker(tmp_path, {"auths": {key: {"auth": encoded("ada:x")}}})
    assert find(tmp_path, registry).username == "ada"
    if "://" not in key:
        assert find(tmp_path / "none", registry, explicit={key: Credential("given", "x")}).username == "given"


@pytest.mark.parametrize(
    "key", ["r.example:80", "r.example.evil", "evil.r.example", "r.exampl", "https://evil/r.example"]
)
def test_another_host_stays_another(tmp_path, key):
    docker(tmp_path, {"auths": {key: {"auth": encoded("ada:x")}}})
    assert find(tmp_path) is None


def test_the_exact_key_goes_before_what_older_clients_wrote(tmp_path):
    entries = {"r.example": {"auth": encoded("new:x")}, "https://r.example/v1/": {"auth": encoded("old:x")}}
    for order in (entries, dict(reversed(entries.items()))):
        docker(tmp_path, {"auths": order})
        assert find(tmp_path).username == "new"


def test_dockercfg_of_old(tmp_path):
    (tmp_path / ".dockercfg").write_text(
        json.dumps({"https://r.example/v1/": {"auth": encoded("ada:x"), "email": "a@b"}})
    )
    found = find(tmp_path)
    assert (found.username, found.source) == ("ada", str(tmp_path / ".dockercfg"))


def test_identity_and_registry_tokens(tmp_path):
    entry = {"auth": encoded("00000000-0000-0000-0000-000000000000:"), "identitytoken": "id"}
    docker(tmp_path, {"auths": {"r.example": entry, "s.example": {"registrytoken": "reg"}}})
    found = find(tmp_path)
    assert (found.identity_token, found.kind) == ("id", "identity token")
    assert base64.b64decode(found.basic_of_token.removeprefix("Basic ")).decode().endswith("000:id")
    assert find(tmp_path, "s.example").registry_token == "reg"
    assert "'id'" not in repr(found)


@pytest.mark.fault(44)
@pytest.mark.parametrize(
    "entry",
    [
        {"username": "ada\r\nX-Evil: 1", "password": "x"},
        {"username": "a:da", "password": "x"},
        {"auth": encoded("ada:x\0y")},
        {"auth": encoded("ada")},
        {"auth": "%%%"},
        {"auth": base64.b64encode(b"\xff\xfe:x").decode()},
        {"registrytoken": "a\nb"},
        {"identitytoken": "ü"},
        "ada:x",
    ],
)
def test_entries_that_cannot_be_sent_are_passed_over_and_noted(tmp_path, entry):
    docker(tmp_path, {"auths": {"r.example": entry}})
    keychain = Keychain({}, {}, tmp_path)
    assert keychain.find("r.example") is None
    assert len(keychain.notes) == 1
    assert "r.example" in keychain.notes[0] or "unusable" in keychain.notes[0]
    for secret in ("x\0y", "a\nb", "X-Evil", encoded("ada:x\0y")):
        assert secret not in keychain.notes[0]


@pytest.mark.fault(45)
def test_a_key_file_with_line_ends_is_a_password(tmp_path):
    key = json.dumps({"type": "service_account", "private_key": "-----BEGIN\n"}, indent=2)
    docker(tmp_path, {"auths": {"gcr.io": {"auth": encoded(f"_json_key:{key}")}}})
    assert find(tmp_path, "gcr.io").password == key


@pytest.mark.fault(44)
@posix
def test_a_file_that_may_not_be_read(tmp_path):
    docker(tmp_path, {"auths": {}})
    path = tmp_path / ".docker" / "config.json"
    path.unlink()
    path.symlink_to(path)
    keychain = Keychain({}, {}, tmp_path)
    assert keychain.find("r.example") is None
    assert "cannot be read" in keychain.notes[0]


def test_a_damaged_file_says_in_which_line_and_not_with_what(tmp_path):
    docker(tmp_path, '{"auths": {\n"r.example": {"auth": "planted-secret"},,\n}}')
    keychain = Keychain({}, {}, tmp_path)
    keychain.find("r.example")
    assert "(line 2)" in keychain.notes[0]
    assert "planted-secret" not in keychain.notes[0]


@given(
    st.text(st.characters(blacklist_categories=["C", "Z"], blacklist_characters=":"), min_size=1),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)),
)
@pytest.mark.fault(45)
def test_whatever_can_be_sent_is_kept_exactly(user, password, identity):
    kept = Credential(user, password, identity_token=identity, source="x")
    assert kept.flaw == ""
    assert authfile.credential(json.loads(json.dumps(authfile.entry_of(kept))), "x") == kept
    assert base64.b64decode(kept.basic.removeprefix("Basic ")) == f"{user}:{password}".encode()


@given(st.text(), st.dictionaries(st.text(), st.text() | st.none() | st.dictionaries(st.text(), st.integers())))
def test_any_file_is_searched_without_complaint(registry, auths):
    document = {"auths": auths, "credHelpers": auths}
    names = authfile.aliases(registry)
    authfile.helper_of(document, names)
    for _, entry in authfile.entries(document, names, "a/b"):
        with contextlib.suppress(ValueError):
            authfile.credential(entry, "x")


# The order, as the documentation has it.

PAGE = Path(__file__).parents[2] / "docs" / "credentials.md"


def test_the_order_is_the_one_that_is_documented(tmp_path):
    def auths(name):
        return json.dumps({"auths": {"ghcr.io": {"auth": encoded(f"{name}:x")}}})

    home, environ, explicit = tmp_path / "home", {}, {}
    home.mkdir()

    def file(path, name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(auths(name))

    def folder(variable, below, name):
        environ[variable] = str(tmp_path / variable)
        file(tmp_path / variable / below, name)

    def provided(name):
        environ.update(GITHUB_ACTIONS="true", GITHUB_TOKEN="t", GITHUB_ACTOR=name)

    put = {
        "--username": lambda name: explicit.update({"ghcr.io": Credential(name, "x")}),
        "DOCKER_AUTH_CONFIG": lambda name: environ.update(DOCKER_AUTH_CONFIG=auths(name)),
        "REGISTRY_AUTH_FILE": lambda name: folder("REGISTRY_AUTH_FILE", "", name),
        "DOCKER_CONFIG": lambda name: folder("DOCKER_CONFIG", "config.json", name),
        "XDG_RUNTIME_DIR": lambda name: folder("XDG_RUNTIME_DIR", "containers/auth.json", name),
        "XDG_CONFIG_HOME": lambda name: folder("XDG_CONFIG_HOME", "containers/auth.json", name),
        "~/.dockercfg": lambda name: file(home / ".dockercfg", name),
        "what": provided,
    }
    listed = re.findall(r"^\d+\. (?:`([^`]+)`|(what))", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = [name or other for name, other in listed]
    assert set(documented) - set(put) == {"/run/containers/UID/auth.json"}
    # From the last to the first: each that is added goes before those that are there.
    for name in reversed([name for name in documented if name in put]):
        put[name](name)
        assert Keychain(explicit, environ, home).find("ghcr.io").username == name
    looked = [look.source for look in Keychain(explicit, environ, home, 1234).looks("ghcr.io")]
    assert looked == [
        "given",
        "DOCKER_AUTH_CONFIG",
        *(str(tmp_path / "REGISTRY_AUTH_FILE"), str(tmp_path / "DOCKER_CONFIG/config.json")),
        *(str(tmp_path / "XDG_RUNTIME_DIR/containers/auth.json"), "/run/containers/1234/auth.json"),
        *(str(tmp_path / "XDG_CONFIG_HOME/containers/auth.json"), str(home / ".dockercfg"), "GITHUB_TOKEN"),
    ]


def test_the_page_names_every_variable_and_helper():
    text = PAGE.read_text(encoding="utf-8")
    environ = {"CI_REGISTRY": "r", "CI_DEPENDENCY_PROXY_SERVER": "p", "GITHUB_ACTIONS": "true"}
    for provider in cloud.providers(environ):
        for look in provider.looks(environ):
            assert f"`{look.source}`" in text
        for name in provider.helpers:
            assert f"`docker-credential-{name}`" in text


# To whom the variables of CI services and clouds belong.

EVERYTHING = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_ACTOR": "octo",
    "GITHUB_TOKEN": "planted-github",
    "CI_REGISTRY": "registry.gitlab.example:5050",
    "CI_REGISTRY_USER": "gitlab",
    "CI_REGISTRY_PASSWORD": "planted-gitlab",
    "CI_DEPENDENCY_PROXY_SERVER": "gitlab.example:443",
    "CI_DEPENDENCY_PROXY_USER": "proxy",
    "CI_DEPENDENCY_PROXY_PASSWORD": "planted-proxy",
    "CLOUDSDK_AUTH_ACCESS_TOKEN": "planted-google",
    "AZURE_CLIENT_ID": "client",
    "AZURE_CLIENT_SECRET": "planted-azure",
    "PATH": "",
}


@pytest.mark.parametrize(
    "registry, user, secret",
    [
        ("ghcr.io", "octo", "planted-github"),
        ("registry.gitlab.example:5050", "gitlab", "planted-gitlab"),
        ("gitlab.example", "proxy", "planted-proxy"),
        ("gcr.io", "oauth2accesstoken", "planted-google"),
        ("eu.gcr.io", "oauth2accesstoken", "planted-google"),
        ("europe-west4-docker.pkg.dev", "oauth2accesstoken", "planted-google"),
        ("mine.azurecr.io", "client", "planted-azure"),
        ("mine.azurecr.cn", "client", "planted-azure"),
    ],
)
def test_a_service_s_variables_are_for_its_own_host(registry, user, secret):
    found = Keychain({}, EVERYTHING, None).find(registry)
    assert (found.username, found.password) == (user, secret)
    assert secret not in repr(found)
    assert found.source in EVERYTHING


@pytest.mark.parametrize(
    "registry",
    [
        "ghcr.io.evil.example",
        "evilghcr.io",
        "evil.ghcr.io",
        "ghcr.io:8443",
        "ghcr.iox",
        "ghcrxio",
        "registry.gitlab.example",
        "registry.gitlab.example:5051",
        "registry.gitlab.example:5050.evil.example",
        "evil.registry.gitlab.example:5050",
        "evilgcr.io",
        "gcr.io.evil.example",
        "a.b.evil-gcr.io",
        "docker.pkg.dev.evil.example",
        "europe-docker.pkg.dev.evil.example",
        "europe-npm.pkg.dev",
        "evilazurecr.io",
        "azurecr.io",
        ".azurecr.io",
        "mine.azurecr.io.evil.example",
        "mine.azurecr.iox",
        "mine-azurecr.io",
        "evil.example/mine.azurecr.io",
        "docker.io",
        "registry-1.docker.io",
        "127.0.0.1:5000",
    ],
)
def test_what_looks_like_it_gets_nothing(registry):
    assert Keychain({}, EVERYTHING, None).find(registry, "me/app") is None


@pytest.mark.parametrize(
    "host, is_amazon",
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", True),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", True),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", True),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", True),
        ("public.ecr.aws", True),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", False),
        ("123456789012.dkr.ecr.eu-west-1.evilamazonaws.com", False),
        ("12345.dkr.ecr.eu-west-1.amazonaws.com", False),
        ("evil.public.ecr.aws", False),
        ("x.123456789012.dkr.ecr.eu-west-1.amazonaws.com", False),
    ],
)
@posix
def test_amazon_s_helper_is_asked_for_amazon_s_hosts(tmp_path, host, is_amazon):
    environ = {"PATH": program(tmp_path, "ecr-login", ANSWER)}
    found = Keychain({}, environ, None).find(host)
    assert (found is not None) is is_amazon
    if found:
        assert (found.password, found.source) == (host, "docker-credential-ecr-login")


def test_the_token_of_a_github_of_one_s_own_does_not_reach_github(tmp_path):
    environ = {**EVERYTHING, "GITHUB_SERVER_URL": "https://github.example.com"}
    assert Keychain({}, environ, None).find("ghcr.io") is None
    assert Keychain({}, environ, None).find("containers.github.example.com").password == "planted-github"


def test_a_github_token_outside_an_action_is_not_looked_at():
    environ = {**EVERYTHING, "GITHUB_ACTIONS": ""}
    assert Keychain({}, environ, None).find("ghcr.io") is None


def test_gitlab_s_job_token_stands_in():
    environ = {"CI_REGISTRY": "r.example", "CI_JOB_TOKEN": "job"}
    found = Keychain({}, environ, None).find("r.example")
    assert (found.username, found.password) == ("gitlab-ci-token", "job")


def test_a_service_account_s_key(tmp_path):
    path = tmp_path / "key.json"
    path.write_text('{\n  "type": "service_account"\n}')
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(path), "PATH": ""}
    found = Keychain({}, environ, None).find("europe-docker.pkg.dev")
    assert (found.username, found.password) == ("_json_key", path.read_text())
    for text in ('{"type": "authorized_user"}', "[]", "{", "\xff"):
        path.write_text(text, encoding="latin-1")
        assert Keychain({}, environ, None).find("europe-docker.pkg.dev") is None
    path.unlink()
    assert Keychain({}, environ, None).find("europe-docker.pkg.dev") is None


def test_what_a_person_set_up_goes_before_the_cloud(tmp_path):
    docker(tmp_path, {"auths": {"ghcr.io": {"auth": encoded("me:x")}}})
    assert find(tmp_path, "ghcr.io", **EVERYTHING).username == "me"


# Writing.


def test_what_is_not_changed_stays(tmp_path):
    docker(
        tmp_path, {"proxies": {"default": {}}, "auths": {"a.example": {"auth": encoded("a:x"), "email": "e"}}, "x": [1]}
    )
    path = tmp_path / ".docker" / "config.json"
    path.chmod(0o644)
    login.keep(path, "b.example", Credential("b", "y"), {})
    login.keep(path, "a.example", Credential("a", "z"), {})
    document = json.loads(path.read_text())
    assert list(document) == ["proxies", "auths", "x"]
    assert document["proxies"] == {"default": {}}
    assert document["auths"] == {
        "a.example": {"auth": encoded("a:z"), "email": "e"},
        "b.example": {"auth": encoded("b:y")},
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["config.json"]


def test_docker_hub_is_written_as_docker_writes_it_and_taken_away_by_any_name(tmp_path):
    path = tmp_path / "config.json"
    login.keep(path, "docker.io", Credential("a", "x"), {})
    assert list(json.loads(path.read_text())["auths"]) == ["https://index.docker.io/v1/"]
    path.write_text(
        json.dumps({"auths": {"docker.io": {"auth": "eA=="}, "index.docker.io": {"auth": "eA=="}, "o": {}}})
    )
    assert login.drop(path, "docker.io", {}) == (str(path),)
    assert json.loads(path.read_text()) == {"auths": {"o": {}}}
    assert login.drop(path, "docker.io", {}) == ()


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles" / "config.json").write_text("{}")
    link = tmp_path / "config.json"
    link.symlink_to(tmp_path / "dotfiles" / "config.json")
    login.keep(link, "r.example", Credential("a", "x"), {})
    assert link.is_symlink()
    assert json.loads((tmp_path / "dotfiles" / "config.json").read_text())["auths"]


def test_a_damaged_file_is_left_alone(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{half")
    with pytest.raises(StoreError) as caught:
        login.keep(path, "r.example", Credential("a", "planted-secret"), {})
    assert caught.value.code == "auth-file-invalid"
    assert path.read_text() == "{half"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        login.keep(tmp_path / "file" / "config.json", "r.example", Credential("a", "x"), {})
    assert caught.value.code == "not-writable"
    assert "--authfile" in str(caught.value.hint)


@posix
def test_who_holds_the_lock_for_long_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(authfile, "_PATIENCE", 0.2)
    lock = atomic.FolderLock(tmp_path)
    assert lock.acquire("exclusive")
    try:
        with pytest.raises(StoreError) as caught:
            login.keep(tmp_path / "config.json", "r.example", Credential("a", "x"), {})
    finally:
        lock.release()
    assert caught.value.code == "auth-file-busy"
    assert list(tmp_path.iterdir()) == []


@posix
def test_the_helper_that_the_file_names_keeps_the_secret(tmp_path, keeper):
    path = tmp_path / "config.json"
    for document, key in (
        ({"credsStore": "keeper"}, "credsStore"),
        ({"credHelpers": {"r.example": "keeper"}}, "credHelpers"),
    ):
        path.write_text(json.dumps(document))
        kept = login.keep(path, "r.example", Credential("ada", "planted-secret"), keeper)
        assert (kept.where, kept.is_plain) == ("docker-credential-keeper", False)
        assert "planted" not in path.read_text()
        assert json.loads(path.read_text()) == {key: document[key], "auths": {"r.example": {}}}
        environ = {**keeper, "REGISTRY_AUTH_FILE": str(path)}
        assert Keychain({}, environ, None).find("r.example").password == "planted-secret"
        assert login.drop(path, "r.example", keeper) == ("docker-credential-keeper",)
        assert Keychain({}, environ, None).find("r.example") is None
        assert login.drop(path, "r.example", keeper) == ()


@posix
def test_a_helper_that_does_not_store_leaves_the_file_alone(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"credsStore": "x"}')
    with pytest.raises(ToolError):
        login.keep(path, "r.example", Credential("a", "b"), {"PATH": program(tmp_path, "x", "raise SystemExit(1)")})
    assert path.read_text() == '{"credsStore": "x"}'


WRITER = """
import sys
from pathlib import Path
from ocibuild.registry import login
from ocibuild.registry.credentials import Credential

for number in range(15):
    login.keep(Path(sys.argv[1]), f"r{number}.{sys.argv[2]}.example", Credential("a", "x" * 2000), {})
    if number % 3 == 0:
        login.drop(Path(sys.argv[1]), f"r{number}.{sys.argv[2]}.example", {})
"""


@pytest.mark.fault(90)
@posix
def test_many_processes_write_one_file_and_none_reads_half_of_it(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"keep": true}')
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(4)]
    reads = 0
    deadline = time.monotonic() + 60
    while any(writer.poll() is None for writer in writers) and time.monotonic() < deadline:
        assert json.loads(path.read_text())["keep"] is True
        reads += 1
    assert [writer.wait(1) for writer in writers] == [0] * 4
    expected = {f"r{number}.{writer}.example" for number in range(15) if number % 3 for writer in range(4)}
    assert set(json.loads(path.read_text())["auths"]) == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["config.json"]
    assert reads > 10


def test_logins_are_listed_with_where_they_are(tmp_path):
    environ = {**EVERYTHING, "DOCKER_AUTH_CONFIG": json.dumps({"auths": {"c.example": {"identitytoken": "planted"}}})}
    docker(tmp_path, {"credHelpers": {"h.example": "none"}, "auths": {"d.example": {"auth": encoded("d:planted")}}})
    found = list(Keychain({"g.example": Credential("g", "planted")}, environ, tmp_path).logins())
    path = str(tmp_path / ".docker" / "config.json")
    assert [(one.host, one.kind, one.username, one.source) for one in found[:4]] == [
        ("g.example", "password", "g", "given"),
        ("c.example", "identity token", "", "DOCKER_AUTH_CONFIG"),
        ("h.example", "helper", "", "docker-credential-none"),
        ("d.example", "password", "d", path),
    ]
    assert {"ghcr.io", "*.azurecr.io", "registry.gitlab.example:5050"} <= {one.host for one in found}
    assert "planted" not in repr(found)


@pytest.mark.fault(46)
@pytest.mark.parametrize("user, password", [("planted-secret", "planted-secret"), ("ghp_planted-secret", "x")])
def test_a_token_in_the_place_of_a_user_name_is_not_shown(tmp_path, user, password):
    docker(tmp_path, {"auths": {"r.example": {"auth": encoded(f"{user}:{password}")}}})
    keychain = Keychain({}, {"PATH": ""}, tmp_path)
    assert keychain.find("r.example").username == user
    assert [one.username for one in keychain.logins()] == ["(a token)"]
    assert not any("planted" in look.said for look in keychain.looks("r.example"))


@posix
def test_logins_of_a_helper_are_listed(tmp_path, keeper):
    helper.store("keeper", "https://index.docker.io/v1/", "ada", "x", keeper)
    helper.store("keeper", "r.example", "<token>", "x", keeper)
    docker(tmp_path, {"credsStore": "keeper"})
    assert [(one.host, one.kind, one.username) for one in Keychain({}, keeper, tmp_path).logins()] == [
        ("index.docker.io", "password", "ada"),
        ("r.example", "identity token", ""),
    ]
