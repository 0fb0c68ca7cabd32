"""Names of blocks. Without the secret nobody can tell from them what was read, nor guess and look it up."""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from allod.core.ids import BlockName, TenantId, TokenId
from allod.core.step import BLOCK_TOKENS

_NAME_BYTES = 20


def block_names(secret: bytes, tenant: TenantId, tokens: Sequence[TokenId]) -> Iterator[BlockName]:
    """The names of a prompt's whole blocks, in order.

    Each is a keyed BLAKE2b over the one before it and the block's tokens, so that it stands for all that was
    read up to its end. The first follows the tenant's: nobody finds what another has sent.

    Args:
        secret: of this home; at most 64 bytes.
        tenant: whose prompt it is.
        tokens: of the prompt.
    """
    before = hashlib.blake2b(tenant.encode(), key=secret, digest_size=_NAME_BYTES).digest()
    for start in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        block = msgspec.msgpack.encode(list(tokens[start : start + BLOCK_TOKENS]))
        before = hashlib.blake2b(before + block, key=secret, digest_size=_NAME_BYTES).digest()
        yield BlockName(before.hex())
