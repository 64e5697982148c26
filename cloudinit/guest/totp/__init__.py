"""The second lock: a one-time code, or an emergency code. One code, one login."""
