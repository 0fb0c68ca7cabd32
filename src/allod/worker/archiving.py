"""The archive of one model's prefixes, where its owner wants one and its states allow it."""

import hashlib
import logging
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import msgspec

from allod.archive.folder import ArchiveLimits, BlockFolder
from allod.archive.secret import home_secret
from allod.core.step import ModelFacts
from allod.engine.settings import EngineSettings
from allod.runner.trials import files_of
from allod.version import __version__

_SECRET_FILE = ".secret"
_IDENTITY_BYTES = 12

log = logging.getLogger(__name__)


def open_archive(
    folder: Path | None, model: Path, settings: EngineSettings, facts: ModelFacts
) -> BlockFolder | None:
    """Open it.

    Args:
        folder: the model's own; its parent has the secret of the home.
        model: the checkpoint's files.
        settings: how much of the disk may be used.
        facts: what was measured on the model.
    """
    if folder is None or not settings.prefix_disk_bytes:
        return None
    refusal = facts.unkept_because or facts.unstored_because
    if refusal:
        log.warning("prefixes of this model are not kept on disk: %s", refusal)
        return None
    try:
        secret = home_secret(folder.parent / _SECRET_FILE)
    except OSError as error:
        log.warning("prefixes are not kept on disk: %s", error)
        return None
    limits = ArchiveLimits(settings.prefix_disk_bytes, settings.prefix_disk_daily_bytes)
    return BlockFolder(folder, identity_of(model, facts), secret, limits)


def identity_of(model: Path, facts: ModelFacts) -> str:
    """What a model's states depend on: its files, the form it computes in, device, libraries, layers."""
    libraries = (mx.__version__, version("mlx-lm"), __version__)
    parts = (files_of(model), facts.compute, facts.device, libraries, facts.layers)
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=_IDENTITY_BYTES).hexdigest()
