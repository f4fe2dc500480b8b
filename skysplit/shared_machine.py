"""Whether others have accounts on this machine, who could then act through an unprotected local SuperLink."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from pathlib import PurePath

_PEOPLE_FROM = 1000  # user ids below belong to services, by the convention of Linux distributions
_NOBODY = 65534
_NO_LOGIN = frozenset({"nologin", "false", "sync", "halt", "shutdown"})

WARNING = (
    "WARNING: others have accounts on this machine ({names}). While a run lasts, Flower's SuperLink listens on the "
    "loopback without a password, so any of them can run code as you, with your files. Flower has no protection for "
    "that: use a machine, a container or a network namespace of your own"
)


def others_with_accounts(accounts: Iterable[pwd.struct_passwd] | None = None) -> tuple[str, ...]:
    """Return the names of people other than the caller who can log in here."""
    return tuple(
        sorted(
            account.pw_name
            for account in (pwd.getpwall() if accounts is None else accounts)
            if _PEOPLE_FROM <= account.pw_uid < _NOBODY
            and account.pw_uid != os.getuid()
            and PurePath(account.pw_shell).name not in _NO_LOGIN
        )
    )


def warning(names: tuple[str, ...]) -> str:
    """Return the sentence that a run begins with where others have accounts."""
    return WARNING.format(names=", ".join(names[:5]) + (" …" if len(names) > 5 else ""))
