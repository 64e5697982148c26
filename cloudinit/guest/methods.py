"""The ways to log in: each is the factors that one login takes together, in their order.

The first is who has no other. A factor is a folder beside this file and a module in infra/factors/.
"""

METHODS = ("key+totp", "password+totp", "fido2", "fido2+totp")


def factors(method: str) -> tuple[str, ...]:
    """The names of its factors."""
    return tuple(method.split("+"))


def every_factor() -> tuple[str, ...]:
    """The names of all factors that some method takes."""
    return tuple(dict.fromkeys(name for method in METHODS for name in factors(method)))
