"""Where what concerns the OpenID provider lies on a machine, and who asks it."""

from guest.gateway import places

PROVIDER = places.CONFIG / "provider.json"
"""Who it is, and what it has to say; nothing in it is secret."""
SECRET = places.STATE / "provider-secret"
"""Root's alone: by what the stack proves itself to it."""
IDENTITIES = places.STATE / "identities"
"""Root's alone: by person, what the provider calls them."""
SOCKET = "/run/secondlock-oidc.sock"
"""Root's alone: who speaks to the provider."""
USER = "secondlock-oidc"
