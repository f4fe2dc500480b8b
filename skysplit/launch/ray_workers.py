"""Ray's workers in an environment whose path has a space: Ray gives bash the interpreter's path unquoted.

Without this no worker starts, none of Ray's messages reaches the user, and a run waits for its satellites in vain.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from typing import Any

_HOOK = "RAY_RUNTIME_ENV_HOOK"


def with_quoted_interpreter(runtime_env: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return Ray's runtime environment with this interpreter as bash reads it, for ``RAY_RUNTIME_ENV_HOOK``.

    What already names an interpreter keeps it; so does a cluster that runs elsewhere (``RAY_ADDRESS``).
    """
    environment = dict(runtime_env or {})
    quoted = shlex.quote(sys.executable)
    if quoted == sys.executable or os.environ.get("RAY_ADDRESS"):
        return environment
    return {"py_executable": quoted} | environment


def worker_environment() -> dict[str, str]:
    """Return the variable that has ``ray.init`` call :func:`with_quoted_interpreter`; a hook of the user's stays."""
    return {_HOOK: os.environ.get(_HOOK) or f"{__name__}.{with_quoted_interpreter.__name__}"}
