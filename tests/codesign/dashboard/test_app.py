"""What the live page's server answers, and to whom."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from codesign.cli import main
from codesign.dashboard.app import make_app
from codesign.dashboard.delta import changes
from codesign.dashboard.source import StudySource
from codesign.errors import StudyError
from codesign.study.folder import StudyFolder, write_json
from tests.support.studies import rewind, run
from tests.support.toy_spec import TOY_SPEC

HERE = "http://127.0.0.1:8765"
SECTIONS: dict[str, Any] = {
    "space": {**TOY_SPEC["space"], "fate": ["completes", "diverges"]},
    "search": {"trials": 5, "proposer": "random"},
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of five trials, one of which diverged."""
    run(tmp_path, **SECTIONS)
    return tmp_path / "study"


@pytest.fixture
def source(study: Path) -> Iterator[StudySource]:
    found = StudySource(study)
    yield found
    found.close()


@pytest.fixture
def client(source: StudySource) -> TestClient:
    return TestClient(make_app(source), base_url=HERE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=20,
)


@given(JSON, JSON)
def test_changes_make_any_value_of_any_other(before: Any, now: Any) -> None:
    value = copy.deepcopy(before)
    for path, new in json.loads(json.dumps(changes(before, now))):
        value = applied(value, path, new)
    # As text: 1 is not true there.
    assert json.dumps(value, sort_keys=True) == json.dumps(now, sort_keys=True)


def applied(value: Any, path: list[Any], new: Any) -> Any:
    """Do what the page does with a change: a place behind the end of a list appends."""
    if not path:
        return new
    inner = value
    for part in path[:-1]:
        inner = inner[part]
    if isinstance(inner, list) and path[-1] == len(inner):
        inner.append(new)
    else:
        inner[path[-1]] = new
    return value


def test_one_more_trial_costs_little_of_the_whole(study: Path) -> None:
    whole = (study / "snapshot.jsonl").read_text()
    rewind(study, lambda event: event.trial != 4 or event.kind == "opened")
    source = StudySource(study, clock=iter(range(10_000)).__next__)
    client = TestClient(make_app(source), base_url=HERE)
    first = client.get("/api/study").json()
    (study / "snapshot.jsonl").write_text(whole)
    since = first["version"]
    while (news := client.get(f"/api/study?since={since}").json())["version"] == since:
        assert not news["changes"]
    assert news["changes"]
    # Of the trials' columns only what is new: the values of one row.
    places = {tuple(path[3:]) for path, _ in news["changes"] if path[:2] == ["content", "columns"]}
    assert ("values", 4) in places
    assert () not in places
    source.close()


def test_what_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    version = client.get("/api/study").json()["version"]
    known = client.get(f"/api/study?since={version}")
    assert known.json()["changes"] == []
    again = client.get(
        f"/api/study?since={version}", headers={"if-none-match": known.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_any_design_is_exported_as_codesign_train_reads_it(study: Path, client: TestClient) -> None:
    best = yaml.safe_load((study / "best.yaml").read_text())
    assert yaml.safe_load(client.get(f"/api/trials/{best['trial']}/design.yaml").text) == best
    others = [n for n in range(5) if n != best["trial"]]
    found = yaml.safe_load(client.get(f"/api/trials/{others[0]}/design.yaml").text)
    assert found["trial"] == others[0]
    assert found["selected_by"] == "hand"


def test_a_failed_trial_tells_why_and_shows_its_log(study: Path, client: TestClient) -> None:
    log = StudyFolder(study).attempt(0, 1) / "log.txt"
    log.write_text("first\nsecond\nthird\n")
    found = client.get("/api/trials/0/log?tail=2").json()
    assert (found["trial"], found["attempt"]) == (0, 1)
    (file,) = (each for each in found["files"] if each["path"] == "log.txt")
    assert file["lines"] == ["second", "third"]
    assert not any("/" in each["path"] for each in found["files"])


def test_where_jobs_wait_is_told_with_the_reason(study: Path) -> None:
    rewind(study, lambda event: event.kind in ("opened", "created", "submitted"))
    job = {"state": "PENDING", "reason": "Priority", "nodes": "", "starts": 0, "seconds": 0.0}
    write_json(
        study / "queue.json",
        {"time": 0.0, "outage": "", "jobs": {str(n): {"job": f"7_{n}", **job} for n in range(5)}},
    )
    source = StudySource(study)
    live = TestClient(make_app(source), base_url=HERE).get("/api/study").json()["live"]
    source.close()
    assert live["waiting"] == [
        {"state": "pending", "reason": "Priority", "count": 5, "trials": [0, 1, 2, 3, 4]}
    ]
    assert live["running"] == []


@pytest.mark.parametrize(
    "path", ["/api/trials/99/log", "/api/trials/99/design.yaml", "/api/trials/x/log", "/etc/passwd"]
)
def test_what_is_not_there_is_not_found(path: str, client: TestClient) -> None:
    assert client.get(path).status_code == 404


def test_nothing_can_be_changed(client: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, "/api/study").status_code == 405


def test_only_names_of_this_machine_are_served_without_a_token(source: StudySource) -> None:
    app = make_app(source)
    for host in ("127.0.0.1:8765", "localhost", "[::1]:9"):
        assert TestClient(app, base_url=HERE, headers={"host": host}).get("/").status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "", "evil.example:8765"):
        assert TestClient(app, base_url=HERE, headers={"host": host}).get("/").status_code == 421


def test_with_a_token_everybody_needs_it_once(source: StudySource) -> None:
    app = make_app(source, token="a-secret")
    asking = TestClient(app, base_url="http://login7:8765")
    assert asking.get("/").status_code == 401
    assert asking.get("/?token=other").status_code == 401
    assert asking.get("/api/study?token=a-secret").status_code == 401
    first = asking.get("/?token=a-secret", follow_redirects=False)
    assert (first.status_code, first.headers["location"]) == (303, "./")
    assert "HttpOnly" in first.headers["set-cookie"]
    assert asking.get("/api/study").status_code == 200
    bearer = TestClient(app, base_url="http://login7:8765")
    headers = {"authorization": "Bearer a-secret"}
    assert bearer.get("/api/study", headers=headers).status_code == 200


def test_a_study_that_vanishes_is_told_and_what_was_read_stays(study: Path) -> None:
    source = StudySource(study, clock=iter(range(10_000)).__next__)
    client = TestClient(make_app(source), base_url=HERE)
    version = client.get("/api/study").json()["version"]
    study.rename(study.with_name("elsewhere"))
    news: dict[str, Any] = {"problem": ""}
    while not news["problem"]:
        news = client.get(f"/api/study?since={version}").json()
    assert (news["version"], news["changes"]) == (version, [])
    assert "holds no study" in news["problem"]
    assert client.get("/").status_code == 200
    source.close()


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no study"):
        StudySource(tmp_path)


def test_a_port_in_use_is_said(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            main(["dashboard", str(study), "--port", str(port)])
    assert ended.value.code == 6
    assert f"127.0.0.1:{port}: cannot be listened on: Address already in use" in (
        capsys.readouterr().err
    )
