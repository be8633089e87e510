"""The one exception of the translation: a sentence for people."""

SHOWN_CHARACTERS = 100


class Refused(Exception):
    pass


def shown(value):
    """Text from a file, on one line and not too long."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
