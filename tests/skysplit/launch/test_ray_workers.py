"""Ray's workers start, whatever the path of the interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

from skysplit.launch.flower_run import flower_environment
from skysplit.launch.ray_workers import with_quoted_interpreter

# What Ray does to become a worker, by its own code, with what ``ray.init`` makes of a driver's runtime environment.
_BECOME_WORKER = """
import sys
from ray._private.runtime_env.context import RuntimeEnvContext
from ray._private.worker import _maybe_modify_runtime_env
from ray.core.generated.common_pb2 import Language

sys.executable = sys.argv[1]
runtime_env = _maybe_modify_runtime_env({"env_vars": {"A": "B"}}, False)
assert runtime_env["env_vars"] == {"A": "B"}
context = RuntimeEnvContext(py_executable=runtime_env.get("py_executable"))
context.exec_worker(["-c", "import os; print(os.environ['STARTED'])"], Language.PYTHON)
"""


@pytest.mark.parametrize("folder", ["plain", "two words", 'it\'s $HOME; (1) & "quoted"'])
def test_a_worker_of_ray_starts_with_the_interpreter_of_any_path(tmp_path: Path, folder: str) -> None:
    interpreter = tmp_path / folder / "python"
    interpreter.parent.mkdir()
    interpreter.symlink_to(sys.executable)
    environment = flower_environment(tmp_path) | {"STARTED": "yes"}
    done = subprocess.run(
        [sys.executable, "-c", _BECOME_WORKER, str(interpreter)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "yes\n"), done.stderr


def test_a_plain_path_a_cluster_and_an_interpreter_of_the_user_s_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(sys, "executable", "/plain/python")
    assert with_quoted_interpreter(None) == {}
    monkeypatch.setattr(sys, "executable", "/two words/python")
    assert with_quoted_interpreter(None) == {"py_executable": "'/two words/python'"}
    assert with_quoted_interpreter({"py_executable": "other"}) == {"py_executable": "other"}
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    assert with_quoted_interpreter({"env_vars": {}}) == {"env_vars": {}}


def test_a_hook_of_the_user_s_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_RUNTIME_ENV_HOOK", "mine.hook")
    assert flower_environment(tmp_path)["RAY_RUNTIME_ENV_HOOK"] == "mine.hook"
