"""The live page's server, without a browser."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mission.record import read_run, write_text
from skysplit.live.live_page import LivePage


def test_what_is_shown_is_the_report_of_the_directory(simulated_run: Path) -> None:
    with LivePage(simulated_run, "") as live:
        view = json.load(urllib.request.urlopen(f"{live.address}view"))
    assert list(view["figures"]) == ["curve", "gantt", "map", "globe", "bytes", "seconds", "waits"]
    assert "<h1>SkySplit: walker-12</h1>" in view["body"]


def now_of(run: Path, tmp_path: Path, **facts: Any) -> str:
    """What a page shows of a run at this moment, with other facts in its `run.json`."""
    directory = tmp_path / "run"
    directory.mkdir()
    write_text(directory / "run.json", json.dumps(read_run(run) | facts))
    with LivePage(directory, "") as live:
        return urllib.request.urlopen(f"{live.address}now").read().decode()


def test_within_a_round_it_is_told_who_has_answered_and_who_is_awaited(
    simulated_run: Path, tmp_path: Path
) -> None:
    names = read_run(simulated_run)["satellites"]
    awaited, progress = names[:3], {"round": 1}
    shown = now_of(
        simulated_run, tmp_path, state="running", phase="training", awaited=awaited, progress=progress
    )
    assert f"round 2 of 2: {len(names) - 3} of {len(names)} satellites have answered" in shown
    assert all(name in shown for name in awaited)
    assert f'value="{1 + (len(names) - 3) / len(names):.3f}"' in shown


def test_the_error_that_ended_a_run_is_an_alert_and_is_text(simulated_run: Path, tmp_path: Path) -> None:
    shown = now_of(simulated_run, tmp_path, state="failed", result={"error": "sat-0 <b>is</b> gone"})
    assert 'role="alert"' in shown
    assert "sat-0 &lt;b&gt;is&lt;/b&gt; gone" in shown


def test_the_relays_of_an_emulation_are_shown_as_they_are_now(
    simulated_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = {"peer": "sat-0-01", "open": True, "sent_bytes": 2_500_000, "last_error": ""}
    transfer = {
        "round": 2, "step": 5, "kind": "grad_hidden", "from": "ground", "to": "sat-0-00", "bytes": 4321,
        "start_s": 80.0, "end_s": 81.5,
    }  # fmt: skip
    late = transfer | {"from": "sat-0-00", "to": "sat-0-01", "kind": "features", "end_s": 300.0}
    coming = transfer | {"from": "sat-0-02", "kind": "aggregate", "bytes": 9_000, "arrived_bytes": 2_000}
    states = [
        {"node": "sat-0-00", "answers": True, "mission_s": 90.0, "queued_transfers": 3, "queued_bytes": 12_000,
         "received_bytes": 7_000_000, "delivered_transfers": 41, "links": [link, link | {"open": False}],
         "newest_transfers": [transfer, late], "arriving_transfers": [coming]},
        {"node": "sat-0-01", "answers": False},
    ]  # fmt: skip
    monkeypatch.setattr("skysplit.live.live_status.relay_states", lambda files: states)
    shown = now_of(simulated_run, tmp_path, state="running")
    for text in ("1 of 2", "3 (12.0 kB)", "7.00 MB", ">41<", "5.00 MB", "90.0 s", "no answer"):
        assert text in shown
    assert "2.00 kB of 9.00 kB" in shown
    assert shown.index(">arrives<") < shown.index(">features<")
    # Newest first; what went to a relay that does not answer is told by its sender.
    assert shown.index(">features<") < shown.index(">gradient<")
    assert ">2, 5<" in shown
    assert "4.32 kB" in shown
    assert "1.50 s" in shown


def test_before_a_run_has_begun_nothing_is_told_of_it(tmp_path: Path) -> None:
    with LivePage(tmp_path, "") as live:
        assert urllib.request.urlopen(f"{live.address}now").read() == b""


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("", "evil.example:80", 403), ("", "127.0.0.1.evil.example", 403), ("run.json", "localhost:80", 404)],
)
def test_a_page_of_somebody_else_is_told_nothing(path: str, host: str, status: int, tmp_path: Path) -> None:
    with LivePage(tmp_path, "") as live:
        request = urllib.request.Request(f"{live.address}{path}", headers={"Host": host})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
    assert refused.value.code == status


def test_a_stream_tells_the_version_and_at_the_end_of_the_block_the_last_one(simulated_run: Path) -> None:
    heard: list[str] = []
    begun = threading.Event()

    def listen(address: str) -> None:
        with urllib.request.urlopen(f"{address}events") as stream:
            while heard[-2:-1] != ["event: over"]:
                heard.append(stream.readline().decode().strip())
                begun.set()

    with ThreadPoolExecutor(1) as pool, LivePage(simulated_run, "") as live:
        pool.submit(listen, live.address)
        assert begun.wait(60)
    assert heard == [f"data: {live.version()}", "", "event: over", f"data: {live.version()}"]


def test_the_server_is_gone_after_the_block(tmp_path: Path) -> None:
    with LivePage(tmp_path, "") as live:
        urllib.request.urlopen(live.address).close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(live.address)
