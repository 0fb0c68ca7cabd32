"""Names of blocks and tips. Without the secret nobody can tell from them what was read, nor try a guess."""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from allod.core.blocks import BLOCK_TOKENS
from allod.core.ids import BlockName, TenantId, TokenId

_NAME_BYTES = 20
_TIP = b"tip"


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


def tip_name(secret: bytes, block: BlockName, tokens: Sequence[TokenId]) -> BlockName:
    """The name of a tip.

    It is found again by the block that it stands behind: it begins with that block's, and tells how many
    tokens lie between. Its end is a keyed BLAKE2b over the block's name and these tokens, so that it stands
    for all that was read up to the tip.

    Args:
        secret: of this home.
        block: the last whole block before it.
        tokens: those behind the block; fewer than make another.
    """
    behind = bytes.fromhex(block) + msgspec.msgpack.encode(list(tokens))
    own = hashlib.blake2b(behind, key=secret, digest_size=_NAME_BYTES, person=_TIP).hexdigest()
    return BlockName(f"{block}-{len(tokens):02x}-{own}")


def block_before(name: BlockName) -> BlockName | None:
    """The block that a tip stands behind; None for the name of a block."""
    block, mark, _ = name.partition("-")
    return BlockName(block) if mark else None


def tokens_behind(tip: BlockName) -> int:
    """How many tokens lie between a tip and the block before it; 0 where a name does not tell."""
    try:
        return int(tip.split("-")[1], 16)
    except (IndexError, ValueError):
        return 0
