"""The other way through the HTTPS door: an OpenID provider that vouches for several factors."""
