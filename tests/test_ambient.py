from datetime import UTC, timedelta
from pathlib import Path

import pytest

from ocibuild import ambient
from ocibuild.ambient import Ambient
from ocibuild.errors import UsageError


def at(**environ: str) -> Ambient:
    return Ambient(environ, Path("/home/ada"), ambient.read().now)


def test_read_takes_environment_home_and_an_aware_clock(monkeypatch, tmp_path):
    monkeypatch.setenv("OCIBUILD_PROBE", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    found = ambient.read()
    assert found.environ["OCIBUILD_PROBE"] == "1"
    assert found.home == str(tmp_path)
    assert found.now.tzinfo is UTC
    assert found.now - at().now < timedelta(minutes=1)


def test_what_was_read_does_not_change_with_the_process(monkeypatch):
    found = ambient.read()
    monkeypatch.setenv("OCIBUILD_PROBE", "later")
    assert "OCIBUILD_PROBE" not in found.environ


def test_secrets_of_the_environment_are_not_shown():
    assert "hunter2" not in repr(at(TOKEN="hunter2"))


@pytest.mark.parametrize("text, seconds", [("0", 0), ("1700000000", 1700000000), ("253402300799", 253402300799)])
def test_source_date_epoch(text, seconds):
    assert at(SOURCE_DATE_EPOCH=text).source_date_epoch() == seconds


def test_no_source_date_epoch():
    assert at().source_date_epoch() is None
    assert at(SOURCE_DATE_EPOCH="").source_date_epoch() is None


@pytest.mark.parametrize("text", ["-1", "1.5", "yesterday", " 1", "1e9", "٣", "253402300800", "9" * 5000])
def test_source_date_epoch_of_another_kind_is_refused(text):
    with pytest.raises(UsageError) as caught:
        at(SOURCE_DATE_EPOCH=text).source_date_epoch()
    assert caught.value.code == "source-date-epoch-invalid"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({}, False),
        ({"CI": "true"}, True),
        ({"CI": "false"}, False),
        ({"GITHUB_ACTIONS": "1"}, True),
        ({"CI": ""}, False),
    ],
)
def test_is_ci(environ, expected):
    assert at(**environ).is_ci is expected


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({}, False),
        ({"NO_COLOR": ""}, False),
        ({"NO_COLOR": "0"}, True),
        ({"TERM": "dumb"}, True),
        ({"TERM": "xterm"}, False),
    ],
)
def test_no_color(environ, expected):
    assert at(**environ).no_color is expected
