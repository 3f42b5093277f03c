"""Credentials that CI services and clouds leave in environment variables, and the helpers they install.

Each is for the hosts of whoever issued it, matched whole: a token of GitHub's goes to ghcr.io and to nothing that looks
like it. Files and helpers a person has set up go before all of these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from ocibuild.record import record
from ocibuild.registry.credentials import Credential, Look

_NOBODY = re.compile(r"(?!)")
_AMAZON = re.compile(
    r"public\.ecr\.aws|[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.[a-z0-9-]+\."
    r"(?:amazonaws\.(?:com(?:\.cn)?|eu)|on\.aws|on\.amazonwebservices\.(?:com\.cn|eu)|sc2s\.sgov\.gov|c2s\.ic\.gov)"
)
_GOOGLE = re.compile(r"(?:[a-z0-9-]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev")
_AZURE = re.compile(r"[a-z0-9-]+\.azurecr\.(?:io|us|cn|de)")
_TOKENS = ("CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN")
_KEY_FILES = ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE")
_LARGEST = 64 * 1024


@record
class Provider:
    """One service: `hosts` for people, `pattern` for the whole of a host[:port], its looks, and its helpers' names."""

    name: str
    hosts: str
    pattern: re.Pattern[str]
    looks: Callable[[Mapping[str, str]], Iterator[Look]]
    helpers: tuple[str, ...] = ()


def providers(environ: Mapping[str, str]) -> tuple[Provider, ...]:
    """Every service there is; whose own host is a matter of its variables, has it from them."""
    github, gitlab, proxy = _github_host(environ), _host(environ, "CI_REGISTRY"), _host(environ, _PROXY[0])
    return (
        Provider("GitHub", github, _exactly(github), _github),
        Provider("GitLab", gitlab, _exactly(gitlab), _gitlab),
        Provider("GitLab's dependency proxy", proxy, _exactly(proxy), _gitlab_proxy),
        Provider("Amazon", "*.dkr.ecr.*.amazonaws.com", _AMAZON, lambda environ: iter(()), ("ecr-login",)),
        Provider("Google", "*.gcr.io, *-docker.pkg.dev", _GOOGLE, _google, ("gcloud", "gcr")),
        Provider("Azure", "*.azurecr.io", _AZURE, _azure, ("acr-env",)),
    )


def serving(registry: str, environ: Mapping[str, str]) -> Iterator[Provider]:
    """Those whose host this is."""
    for provider in providers(environ):
        if provider.pattern.fullmatch(registry.lower()):
            yield provider


def _exactly(host: str) -> re.Pattern[str]:
    return re.compile(re.escape(host)) if host else _NOBODY


def _host(environ: Mapping[str, str], name: str) -> str:
    host = environ.get(name, "").lower().removesuffix(":443")
    return "" if "/" in host else host


def _github_host(environ: Mapping[str, str]) -> str:
    # On a server of one's own the token is that server's, and must not reach ghcr.io.
    try:
        server = urlsplit(environ.get("GITHUB_SERVER_URL") or "https://github.com").hostname
    except ValueError:
        server = None
    return "ghcr.io" if server == "github.com" else f"containers.{server}" if server else ""


def _github(environ: Mapping[str, str]) -> Iterator[Look]:
    if environ.get("GITHUB_ACTIONS") != "true":
        yield Look("GITHUB_TOKEN", "not looked at: this is no GitHub Action")
    else:
        yield _pair(environ, "GITHUB_ACTOR", "GITHUB_TOKEN", otherwise="x-access-token")


_PROXY = ("CI_DEPENDENCY_PROXY_SERVER", "CI_DEPENDENCY_PROXY_USER", "CI_DEPENDENCY_PROXY_PASSWORD")


def _gitlab(environ: Mapping[str, str]) -> Iterator[Look]:
    yield _pair(environ, "CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD")
    yield _pair(environ, "CI_DEPLOY_USER", "CI_DEPLOY_PASSWORD")
    yield _pair(environ, "", "CI_JOB_TOKEN", otherwise="gitlab-ci-token")


def _gitlab_proxy(environ: Mapping[str, str]) -> Iterator[Look]:
    yield _pair(environ, _PROXY[1], _PROXY[2])


def _azure(environ: Mapping[str, str]) -> Iterator[Look]:
    yield _pair(environ, "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")


def _google(environ: Mapping[str, str]) -> Iterator[Look]:
    for name in _TOKENS:
        yield _pair(environ, "", name, otherwise="oauth2accesstoken")
    for name in _KEY_FILES:
        yield _google_key(name, environ.get(name, ""))


def _pair(environ: Mapping[str, str], user: str, secret: str, otherwise: str = "") -> Look:
    """The look at a variable with a name and one with a secret; `otherwise` stands in for the name."""
    if not environ.get(secret):
        return Look(secret, "not set")
    name = environ.get(user) or otherwise
    if not name:
        return Look(secret, f"unusable: {user} is not set")
    return Look.at(secret, Credential(name, environ[secret].rstrip("\r\n"), source=secret))


def _google_key(variable: str, path: str) -> Look:
    if not path:
        return Look(variable, "not set")
    try:
        with open(path, "rb") as stream:
            text = stream.read(_LARGEST).decode()
        kind = json.loads(text)["type"]
    except OSError as error:
        return Look(variable, f"{path} cannot be read ({error.strerror})")
    except (ValueError, KeyError, TypeError, RecursionError):
        return Look(variable, f"{path} is no key of a Google account")
    if kind != "service_account":
        return Look(variable, f"{path} is no key of a service account; docker-credential-gcloud can use it")
    return Look.at(variable, Credential("_json_key", text, source=variable))
