"""Others with accounts on the machine are named before a run that they could use."""

from __future__ import annotations

import os
import pwd

import pytest

from skysplit.commands import doctor
from skysplit.commands.doctor import State
from skysplit.shared_machine import others_with_accounts, warning


def account(name: str, uid: int, shell: str) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, uid, "", "/", shell))


def test_people_are_others_who_can_log_in() -> None:
    accounts = [
        account("root", 0, "/bin/bash"),
        account("daemon", 1, "/usr/sbin/nologin"),
        account("service", 1001, "/usr/sbin/nologin"),
        account("me", os.getuid() or 1005, "/bin/bash" if os.getuid() else "/bin/false"),
        account("nobody", 65534, "/bin/sh"),
        account("alice", 1002, "/bin/zsh"),
        account("bob", 1003, "/bin/bash"),
    ]
    assert others_with_accounts(accounts) == ("alice", "bob")
    assert "alice, bob" in warning(("alice", "bob"))
    assert "run code as you" in warning(("alice",))


def test_doctor_tells_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "others_with_accounts", lambda: ("alice",))
    found = doctor.accounts()
    assert found.state is State.NOTE
    assert "alice: can run code as you" in found.found
    monkeypatch.setattr(doctor, "others_with_accounts", lambda: ())
    assert doctor.accounts().state is State.OK
