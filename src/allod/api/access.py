"""Who may come in: the policy on API keys."""

from starlette.types import Scope

from allod.api.exchange import Exchange
from allod.api.hosts import is_loopback
from allod.api.keys import KeyFile
from allod.api.settings import ApiSettings
from allod.core.errors import ConfigurationError, NotAuthenticated
from allod.core.ids import TenantId

LOCAL_TENANT = TenantId("local")


def tenant_of(scope: Scope) -> TenantId:
    """Who asks."""
    return Exchange.of(scope).tenant or LOCAL_TENANT


class Access:
    """Decides about keys, freshly for each request: the first key that is made closes the door."""

    def __init__(self, settings: ApiSettings, keys: KeyFile) -> None:
        self._settings = settings
        self._keys = keys

    def check_start(self) -> None:
        """Refuse to listen beyond loopback with nothing between the network and the models.

        Raises:
            ConfigurationError: no key exists and the owner did not say that none is needed, or the
                key file is damaged.
        """
        settings = self._settings
        if self._keys.list() or is_loopback(settings.host) or settings.allow_unauthenticated_lan:
            return
        raise ConfigurationError(
            f"api.host = {settings.host!r} lets other machines in, and there is no API key. Make one with "
            "`allod keys add NAME`, or let everybody in with `--set api.allow_unauthenticated_lan=true`."
        )

    def admit(self, secrets: tuple[str, ...]) -> TenantId:
        """The tenant behind the secrets a request shows; any will do while keys are off.

        Raises:
            NotAuthenticated: keys are required, and none of these is known.
            ConfigurationError: the key file became unreadable; the door stays shut.
        """
        if not self.required():
            return LOCAL_TENANT
        for secret in secrets:
            tenant = self._keys.check(secret)
            if tenant is not None:
                return tenant
        if secrets:
            raise NotAuthenticated(
                "The API key is unknown here or was revoked; `allod keys list` shows the keys."
            )
        raise NotAuthenticated(
            "This server asks for an API key: send `Authorization: Bearer KEY` or `x-api-key: KEY`."
        )

    def required(self) -> bool:
        """Whether a request needs a key now."""
        settings = self._settings
        if settings.keys == "always" or self._keys.list():
            return True
        return not is_loopback(settings.host) and not settings.allow_unauthenticated_lan
