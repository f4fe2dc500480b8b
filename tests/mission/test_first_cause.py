"""The cause in what others wrap around it."""

from __future__ import annotations

import pytest

from mission.text.first_cause import BACK_END_GONE, cause_in_log, cause_of

RAY = """FederationError: sat-0-00 failed: <class 'ray.exceptions.RayTaskError(ClientAppException)'>:<'\x1b[36mray::ClientAppActor.run()\x1b[39m (pid=9123, ip=127.0.0.1)
  File "client_app.py", line 79, in train
ValueError: crossings.features: no room
The above exception was the direct cause of the following exception:

\x1b[36mray::ClientAppActor.run()\x1b[39m (pid=9123, ip=127.0.0.1)
flwr.clientapp.client_app.ClientAppException:\x20
Exception ValueError occurred. Message: crossings.features: no room'>"""  # noqa: E501
PYTHON = """Traceback (most recent call last):
  File "run.py", line 1, in <module>
KeyError: 'x'
During handling of the above exception, another exception occurred:
Traceback (most recent call last):
  File "run.py", line 3, in <module>
OSError: [Errno 28] No space left on device: '/run/rounds.parquet'
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("ImageError: a.png is not readable as an image", "ImageError: a.png is not readable as an image"),
        (RAY, "FederationError: sat-0-00 failed: ValueError: crossings.features: no room"),
        (PYTHON, "OSError: [Errno 28] No space left on device: '/run/rounds.parquet'"),
        ("RuntimeError: cannot schedule new futures after interpreter shutdown", BACK_END_GONE),
        ("two lines\nwithout a traceback", "two lines\nwithout a traceback"),
        ("", ""),
    ],
)
def test_what_is_wrapped_comes_out_on_one_line_and_what_is_not_stays(text: str, cause: str) -> None:
    assert cause_of(text) == cause


def test_of_a_log_the_first_fault_counts_and_what_only_follows_from_it_never() -> None:
    log = "INFO: listening\nRuntimeError: cannot schedule new futures after interpreter shutdown\n"
    assert not cause_in_log(log)
    assert cause_in_log(f"{log}OSError: AF_UNIX path length cannot exceed 107 bytes\nKeyError: 1") == (
        "OSError: AF_UNIX path length cannot exceed 107 bytes"
    )
