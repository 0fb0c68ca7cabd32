"""How fakes say that a caller broke a port's contract."""


class ContractViolation(AssertionError):
    """A caller did what the Runner port forbids."""


def require(holds: bool, otherwise: str) -> None:
    """Fail if a caller broke the contract.

    Raises:
        ContractViolation: with these words.
    """
    if not holds:
        raise ContractViolation(otherwise)
