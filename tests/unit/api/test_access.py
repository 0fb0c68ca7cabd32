"""Keys are asked for exactly when the settings and the key file say so."""

from pathlib import Path
from typing import Literal

import pytest

from allod.api.access import LOCAL_TENANT, Access
from allod.api.keys import KeyFile
from allod.api.settings import ApiSettings
from allod.core.errors import ConfigurationError, NotAuthenticated


@pytest.mark.parametrize(
    ("host", "mode", "open_lan", "has_key", "required"),
    [
        ("127.0.0.1", "auto", False, False, False),
        ("127.0.0.1", "auto", False, True, True),
        ("127.0.0.1", "always", False, False, True),
        ("0.0.0.0", "auto", False, False, True),
        ("0.0.0.0", "auto", False, True, True),
        ("0.0.0.0", "auto", True, False, False),
        ("0.0.0.0", "auto", True, True, True),
        ("0.0.0.0", "always", True, False, True),
    ],
)
def test_when_a_key_is_required(
    tmp_path: Path, host: str, mode: Literal["auto", "always"], open_lan: bool, has_key: bool, required: bool
) -> None:
    """A key that exists always counts; without one, only loopback or the owner's word opens."""
    keys = KeyFile(tmp_path / "keys.json")
    if has_key:
        keys.add("laptop")
    access = Access(ApiSettings(host=host, keys=mode, allow_unauthenticated_lan=open_lan), keys)
    assert access.required() is required


def test_while_keys_are_off_any_or_none_will_do(tmp_path: Path) -> None:
    """Clients that insist on sending a key are served as the local tenant."""
    access = Access(ApiSettings(), KeyFile(tmp_path / "keys.json"))
    assert access.admit(()) == access.admit(("noop",)) == LOCAL_TENANT


def test_the_first_key_closes_the_door_and_any_shown_secret_opens_it(tmp_path: Path) -> None:
    """A running server obeys keys from the moment one exists."""
    keys = KeyFile(tmp_path / "keys.json")
    access = Access(ApiSettings(), keys)
    secret = keys.add("laptop")
    for wrong in ((), ("noop",)):
        with pytest.raises(NotAuthenticated):
            access.admit(wrong)
    assert access.admit(("noop", secret)) == keys.list()[0].id


def test_an_open_door_beyond_loopback_stops_the_start(tmp_path: Path) -> None:
    """The refusal holds the command and the setting that help."""
    keys = KeyFile(tmp_path / "keys.json")
    with pytest.raises(ConfigurationError, match=r"allod keys add.*api\.allow_unauthenticated_lan=true"):
        Access(ApiSettings(host="0.0.0.0"), keys).check_start()
    Access(ApiSettings(host="0.0.0.0", allow_unauthenticated_lan=True), keys).check_start()
    Access(ApiSettings(), keys).check_start()
    keys.add("laptop")
    Access(ApiSettings(host="0.0.0.0"), keys).check_start()


@pytest.mark.parametrize("origin", ["*", "https://*.example.com", "example.com", "null"])
def test_origins_that_no_browser_sends_are_refused_at_the_start(origin: str) -> None:
    """There is no wildcard among origins."""
    with pytest.raises(ValueError, match="allowed_origins"):
        ApiSettings(allowed_origins=(origin,))
