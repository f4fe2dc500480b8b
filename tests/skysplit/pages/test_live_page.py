"""The live page's server, without a browser."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from skysplit.live_page import LivePage


def test_what_is_shown_is_the_report_of_the_directory(simulated_run: Path) -> None:
    with LivePage(simulated_run, "") as live:
        view = json.load(urllib.request.urlopen(f"{live.address}view"))
    assert list(view["figures"]) == ["curve", "gantt", "map", "globe", "bytes", "seconds"]
    assert "<h1>SkySplit: walker-12</h1>" in view["body"]


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

    def listen(address: str) -> None:
        with urllib.request.urlopen(f"{address}events") as stream:
            while heard[-2:-1] != ["event: over"]:
                heard.append(stream.readline().decode().strip())

    with ThreadPoolExecutor(1) as pool, LivePage(simulated_run, "") as live:
        pool.submit(listen, live.address)
        while not heard:
            time.sleep(0.01)
    assert heard == [f"data: {live.version()}", "", "event: over", f"data: {live.version()}"]


def test_the_server_is_gone_after_the_block(tmp_path: Path) -> None:
    with LivePage(tmp_path, "") as live:
        urllib.request.urlopen(live.address).close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(live.address)
