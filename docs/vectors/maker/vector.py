"""One vector: a message, what the receiver knows, and what must come of it."""

from .times import NOW
from .wire import DIGEST

ASKED = {"command_digest": DIGEST, "is_target": True}


def agent(name, why, expect, message, hostname="web-01", now=NOW, **more):
    return vector(name, why, "agent", now, expect, message, hostname=hostname, **more)


def answer(name, why, expect, message, now=NOW, asked=ASKED, **more):
    """An event or a result."""
    return vector(name, why, "ingestor", now, expect, message, asked=asked, **more)


def presence(name, why, expect, message, now=NOW, known=None, **more):
    """A heartbeat; `known` is the newest boot id and counter."""
    known = known and {"boot_id": known[0], "counter": known[1]}
    return vector(name, why, "ingestor", now, expect, message, known=known, **more)


def vector(name, why, role, now, expect, message, **more):
    more = {field: value for field, value in more.items() if value is not None}
    return {"name": name, "why": why, "expect": expect, "role": role, "now": now} | more | {"message": message}
