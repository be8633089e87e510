"""A change that cannot be made."""


class Refused(Exception):
    """Says which change, which layer, and why."""
