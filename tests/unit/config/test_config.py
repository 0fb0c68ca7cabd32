"""Settings: who wins, what is refused, and what a refusal says."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod import config
from allod.core.errors import ConfigurationError
from allod.device.settings import DeviceSettings
from allod.engine.settings import EngineSettings
from allod.runner.settings import RunnerSettings


def load(
    home: Path, flags: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
) -> config.Settings:
    return config.load({"home": str(home), **(flags or {})}, environment or {})


def test_defaults(tmp_path: Path) -> None:
    """With nothing said anywhere, every room has its declared defaults."""
    settings = load(tmp_path)
    assert settings == config.Settings(home=tmp_path)


def test_each_source_is_stronger_than_the_one_before(tmp_path: Path) -> None:
    """A flag beats the environment, which beats the file, which beats the default."""
    (tmp_path / "config.toml").write_text("[api]\nport = 1001\nhost = '::1'\n[engine]\nmax_batch_rows = 3\n")
    environment = {"ALLOD_API_PORT": "1002", "ALLOD_API_HOST": "localhost"}
    resolved = config.resolve({"home": str(tmp_path), "api.port": "1003"}, environment)
    settings = resolved.settings
    assert (settings.api.port, settings.api.host, settings.engine.max_batch_rows) == (1003, "localhost", 3)
    assert resolved.origins == {
        "api.port": "command line",
        "api.host": "environment variable ALLOD_API_HOST",
        "engine.max_batch_rows": str(tmp_path / "config.toml"),
    }


def test_home_comes_from_flag_then_environment_then_platform(tmp_path: Path) -> None:
    """`home` is found before the file in it is read."""
    (tmp_path / "config.toml").write_text("[api]\nport = 1001\n")
    assert config.load({}, {"ALLOD_HOME": str(tmp_path)}).api.port == 1001
    assert config.load({"home": "/flag"}, {"ALLOD_HOME": str(tmp_path)}).home == Path("/flag")
    assert config.default_home().name == "allod"


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """The file of the home is optional, one given with --config is not."""
    with pytest.raises(ConfigurationError, match=r"cannot read .*nowhere.toml"):
        load(tmp_path, {"config": str(tmp_path / "nowhere.toml")})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port = 1", "`port`|unknown section"),
        ("api = 1", "must be a section: write .api."),
        ("[api\n", "not valid TOML"),
        ("[apo]\nport = 1", "unknown section of .*: apo; did you mean api"),
        ("[api]\nprot = 1", "unknown setting in .*: api.prot; did you mean api.port"),
        ("[api]\nport = true", r"api.port = True .from .*config.toml.: a truth value is not allowed"),
        ("[api]\nport = 'x'", "api.port = 'x' .* valid integer"),
        ("[api]\nport = 70000", "less than or equal to 65535. Allowed: int, at least 0, at most 65535"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, expected: str) -> None:
    """A fault in the file is named with its place, its problem and what is allowed."""
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=expected):
        load(tmp_path)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    """Bytes that are no text are a configuration error, not a traceback."""
    (tmp_path / "config.toml").write_bytes(b"[api]\nhost = '\xff'\n")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load(tmp_path)


def test_unknown_variables_and_flags_name_near_ones(tmp_path: Path) -> None:
    """A typing error is answered with the nearest names."""
    with pytest.raises(ConfigurationError, match="ALLOD_API_PROT; did you mean ALLOD_API_PORT"):
        load(tmp_path, environment={"ALLOD_API_PROT": "1"})
    with pytest.raises(ConfigurationError, match=r"engine.max_batch_row; did you mean engine.max_batch_rows"):
        load(tmp_path, {"engine.max_batch_row": "1"})
    with pytest.raises(ConfigurationError, match="`allod config show` lists every setting"):
        load(tmp_path, {"zzzz.qqqq": "1"})


def test_other_variables_are_nobodys_business(tmp_path: Path) -> None:
    """Only names with the prefix are read; the client's key is not a setting."""
    settings = load(tmp_path, environment={"PATH": "x", "_ALLOD_COMPLETE": "bash", "ALLOD_KEY": "secret"})
    assert settings == config.Settings(home=tmp_path)
    assert config.client_key({"ALLOD_KEY": "secret"}) == "secret"
    assert config.client_key({}) is None


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("4096", 4096), ("16GiB", 16 * 2**30), ("1.5 GiB", 3 * 2**29), ("512MB", 512_000_000)],
)
def test_sizes(tmp_path: Path, text: str, count: int) -> None:
    """Fields in bytes take sizes as people write them."""
    assert load(tmp_path, {"device.memory_budget_bytes": text}).device.memory_budget_bytes == count


@pytest.mark.parametrize("text", ["", "lots", "16 Gallons", "-1GiB", "1e3GiB"])
def test_bad_sizes(tmp_path: Path, text: str) -> None:
    """A size that cannot be read names the setting."""
    with pytest.raises(ConfigurationError, match=r"device\.memory_budget_bytes = "):
        load(tmp_path, {"device.memory_budget_bytes": text})


def test_lists_are_comma_separated_in_text_and_arrays_in_files(tmp_path: Path) -> None:
    """Both spellings give the same tuple; the empty text gives the empty one."""
    (tmp_path / "config.toml").write_text("[api]\nallowed_hosts = ['a', 'b']\n")
    assert load(tmp_path).api.allowed_hosts == ("a", "b")
    assert load(tmp_path, {"api.allowed_hosts": " a , b,"}).api.allowed_hosts == ("a", "b")
    assert load(tmp_path, {"api.allowed_hosts": ""}).api.allowed_hosts == ()


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_numbers_that_are_none(tmp_path: Path, text: str) -> None:
    """Not-a-number and infinity never get past a bound."""
    with pytest.raises(ConfigurationError, match=r"api.keepalive_seconds"):
        load(tmp_path, {"api.keepalive_seconds": text})


def test_every_setting_is_documented_and_its_default_is_legal() -> None:
    """What a room declares passes its own bounds, has words, and a variable of its own."""
    documented = config.describe()
    assert len({item.environment for item in documented}) == len(documented) > 20
    for item in documented:
        assert item.doc.endswith("."), item.dotted
        settings = config.load({"home": "/none", item.dotted: item.default}, {})
        assert config.values(settings)[item.dotted] == item.default_value


@given(
    st.builds(
        config.WorkerSettings,
        st.builds(EngineSettings, max_batch_rows=st.integers(1, 512)),
        st.builds(RunnerSettings, compute=st.sampled_from(("auto", "stored", "dense"))),
        st.builds(DeviceSettings, memory_budget_bytes=st.integers(0, 2**50), blas=st.text()),
    )
)
def test_worker_settings_survive_the_process_border(settings: config.WorkerSettings) -> None:
    """from_json(to_json(x)) == x, on one line."""
    text = settings.to_json()
    assert "\n" not in text
    assert config.WorkerSettings.from_json(text) == settings


def test_worker_settings_that_do_not_decode() -> None:
    """Damage on the command line is a configuration error."""
    with pytest.raises(ConfigurationError, match="worker settings do not decode"):
        config.WorkerSettings.from_json('{"engine": 1}')
    assert msgspec.json.decode(config.WorkerSettings.of(config.Settings(Path("/h"))).to_json())


def test_settings_are_frozen() -> None:
    """Nothing changes a setting after the start; `replace` makes another one."""
    settings = config.Settings(home=Path("/h"))
    with pytest.raises(AttributeError):
        settings.home = Path("/other")  # type: ignore[misc]
    assert replace(settings, home=Path("/other")).models_folder == Path("/other/models")
    assert settings.keys_file == Path("/h/keys.json")
