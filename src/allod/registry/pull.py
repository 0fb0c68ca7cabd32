"""Fetch a model by name: a built-in one, or a repository of the Hugging Face hub."""

from collections.abc import Callable, Mapping

from allod.core.card import ModelCard
from allod.core.errors import ImportRefused
from allod.registry.catalog import Catalog
from allod.registry.hub import HubAddress, pull_hub
from allod.registry.minilm import MINILM_NAME, pull_minilm
from allod.registry.progress import ProgressCallback
from allod.registry.settings import RegistrySettings
from allod.registry.starter import STARTER_NAME, pull_starter

BUILT_IN: Mapping[str, Callable[[Catalog, str | None, ProgressCallback], ModelCard]] = {
    STARTER_NAME: pull_starter,
    MINILM_NAME: pull_minilm,
}

_DEFAULTS = RegistrySettings()


def pull(
    catalog: Catalog,
    what: str,
    name: str | None,
    on_progress: ProgressCallback,
    settings: RegistrySettings = _DEFAULTS,
    endpoint: str | None = None,
) -> ModelCard:
    """Fetch a model and put it into the catalogue.

    Args:
        catalog: where it goes.
        what: a built-in key, or `org/repo` or `org/repo@revision` of the hub.
        name: the key it gets; None makes one.
        on_progress: told how far it is.
        settings: whether fetching is allowed at all.
        endpoint: the hub's address; None takes huggingface_hub's own.

    Raises:
        ImportRefused: says why, and the way out.
    """
    if settings.offline:
        raise ImportRefused(
            f"{what[:200]} was not fetched: the setting `registry.offline` is on; switch it off, "
            f"or bring the files here yourself and use `allod import PATH`"
        )
    if what in BUILT_IN:
        return BUILT_IN[what](catalog, name, on_progress)
    address = HubAddress.parse(what)
    if address is None:
        raise ImportRefused(
            f"{what[:200]!r} is neither a built-in model ({', '.join(BUILT_IN)}) nor `org/repo` or "
            f"`org/repo@revision` of the hub; for files on this machine use `allod import PATH`"
        )
    return pull_hub(catalog, address, name, on_progress, endpoint)
