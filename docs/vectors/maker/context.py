"""Must be refused: authentic, but not for this host, not for now, or not an answer to what was asked."""

from hashlib import sha256

from .times import DAY, HOUR, NOW, SECOND
from .tree import node, proof, root
from .vector import ASKED, agent, answer, presence
from .wire import (
    BOOT, ONE, SEVEN, THREE, TWO, cancel, cancel_message, command, command_message, event_message, heartbeat_message,
    result, result_message, targets,
)


def excluded(name, why, proved=None, body=None, hostname="web-01", hosts=SEVEN):
    sealed = command_message(body or command(hosts), proved=proved or proof("web-01", hosts))
    return agent(name, why, "not_included", sealed, hostname=hostname)


def proofs():
    shown = proof("web-01", SEVEN)
    hashes = shown["hashes"]
    yield excluded("proof-wrong-index", "a neighbour's place", shown | {"index": shown["index"] + 1})
    yield excluded("proof-index-is-count", "places count from 0", shown | {"index": 7})
    yield excluded("proof-index-largest", "2^64 - 1", shown | {"index": 2**64 - 1})
    yield excluded("proof-wrong-hash", "one bit differs", shown | {"hashes": [flip(hashes[0]), *hashes[1:]]})
    yield excluded("proof-wrong-last-hash", "one bit differs", shown | {"hashes": [*hashes[:-1], flip(hashes[-1])]})
    yield excluded("proof-too-short", "the last hash is missing", shown | {"hashes": hashes[:-1]})
    yield excluded("proof-empty", "no hashes", shown | {"hashes": []})
    yield excluded("proof-too-long", "a hash too many", shown | {"hashes": hashes + hashes[-1:]})
    yield excluded("proof-reversed", "from the root downwards", shown | {"hashes": hashes[::-1]})
    yield excluded("proof-hash-short", "31 bytes", shown | {"hashes": [hashes[0][2:], *hashes[1:]]})
    yield excluded("proof-hash-not-hex", "not hexadecimal", shown | {"hashes": ["zz" * 32, *hashes[1:]]})
    yield excluded("proof-of-another-host", "web-02's proof", proof("web-02", SEVEN))
    yield excluded("proof-of-another-command", "the tree of three", proof("web-01", THREE))
    yield excluded("proof-to-another-host", "web-01's proof at web-02", hostname="web-02")
    yield excluded("host-not-a-target", "web-09 is in no list", hostname="web-09")
    yield excluded("host-upper-case", "names are compared byte by byte", hostname="WEB-01")
    extra = {"index": 0, "hashes": [root(ONE).hex()]}
    yield excluded("proof-too-long-of-one", "one target has an empty proof", extra, hosts=ONE)
    yield excluded("proof-index-of-one", "one target has the index 0", {"index": 1, "hashes": []}, hosts=ONE)
    cancelled = cancel_message(cancel(SEVEN), proved=proof("web-02", SEVEN))
    yield agent("cancel-proof-of-another-host", "cancels are addressed too", "not_included", cancelled)


def trees():
    nobody = command([])
    empty = {"index": 0, "hashes": []}
    yield excluded("count-0", "a command for nobody", empty, nobody)
    lying = command(ONE, targets=targets(ONE) | {"count": 0})
    yield excluded("count-0-with-root", "no target, though the root is this host", empty, lying)
    small = command(THREE, targets=targets(THREE) | {"count": 2})
    yield excluded("count-too-small", "the shape follows from the count", proof("web-01", THREE), small)
    large = command(THREE, targets=targets(THREE) | {"count": 5})
    yield excluded("count-too-large", "the shape follows from the count", proof("web-01", THREE), large)
    shrunk = command(TWO, targets=targets(TWO) | {"count": 1})
    aside = {"index": 0, "hashes": [root(ONE).hex()]}
    yield excluded("count-1-of-two", "a tree of one has no hashes", aside, shrunk, hostname="web-02")
    shouted = command(TWO, targets={"count": 2, "root": root(TWO).hex().upper()})
    yield excluded("root-upper-case", "the root is lower-case", proof("web-01", TWO), shouted)
    bare = [sha256(name.encode()).digest() for name in TWO]
    flat = command(TWO, targets={"count": 2, "root": sha256(bare[0] + bare[1]).hexdigest()})
    without_marks = {"index": 0, "hashes": [bare[1].hex()]}
    yield excluded("hashes-without-marks", "leaves start with 0x00, nodes with 0x01", without_marks, flat)
    doubled = command(THREE, targets={"count": 3, "root": last_doubled(THREE).hex()})
    yield excluded("odd-leaf-doubled", "an odd last node moves up, it is not doubled", body=doubled, hosts=THREE)


def last_doubled(names):
    """The other common way to treat an odd number of leaves."""
    single = root(names[2:])
    return node(root(names[:2]), node(single, single))


def flip(hash):
    return f"{int(hash[0], 16) ^ 1:x}" + hash[1:]


def times():
    def late(name, why, expect, **changes):
        return agent(name, why, expect, command_message(command(**changes)))

    ahead = NOW + 60 * SECOND + 1
    yield late("from-the-future", "60.001 s ahead", "from_the_future", issued_at=ahead, expires_at=ahead + HOUR)
    largest = 2**63 - 1
    yield late("from-the-far-future", "2^63 - 1", "from_the_future", issued_at=largest, expires_at=largest)
    yield late("expired", "it counts only before expires_at", "expired", expires_at=NOW)
    yield late("expired-long-ago", "a day late", "expired", issued_at=NOW - 2 * DAY, expires_at=NOW - DAY)
    yield late("valid-too-long", "24 h and 1 ms", "valid_too_long", issued_at=NOW, expires_at=NOW + DAY + 1)
    yield late("valid-for-ever", "2^63 - 1", "valid_too_long", expires_at=largest)
    yield late("valid-since-ever", "-2^63", "valid_too_long", issued_at=-(2**63))
    cancelled = cancel_message(cancel(expires_at=NOW))
    yield agent("cancel-expired", "cancels expire too", "expired", cancelled)
    cancelled = cancel_message(cancel(issued_at=ahead, expires_at=ahead + HOUR))
    yield agent("cancel-from-the-future", "60.001 s ahead", "from_the_future", cancelled)


def answers():
    elsewhere = ASKED | {"is_target": False}
    other = ASKED | {"command_digest": "0" * 64}
    cut = ASKED | {"command_digest": ASKED["command_digest"][:-1]}
    shouted = result_message(result(command_digest=ASKED["command_digest"].upper()))
    yield answer("unknown-task", "no such task", "unknown_task", result_message(), asked=None)
    yield answer("unknown-task-event", "no such task", "unknown_task", event_message(), asked=None)
    yield answer("wrong-digest", "the task had another command", "wrong_digest", result_message(), asked=other)
    yield answer("wrong-digest-event", "the task had another command", "wrong_digest", event_message(), asked=other)
    yield answer("wrong-digest-prefix", "the whole digest counts", "wrong_digest", result_message(), asked=cut)
    yield answer("wrong-digest-upper-case", "digests are lower-case", "wrong_digest", shouted)
    yield answer("not-a-target", "the host was never asked", "not_a_target", result_message(), asked=elsewhere)
    yield answer("not-a-target-event", "the host was never asked", "not_a_target", event_message(), asked=elsewhere)


def replays():
    def again(name, why, known):
        return presence(name, why, "replayed", heartbeat_message(), known=known)

    later = "01977e5c00017000800000000000b007"
    yield again("replayed-heartbeat", "the same again", (BOOT, 8))
    yield again("older-heartbeat", "a lower counter", (BOOT, 9))
    yield again("heartbeat-of-an-earlier-boot", "a higher counter, but of an earlier run", (later, 1))


GROUPS = [proofs, trees, times, answers, replays]
VECTORS = [vector for group in GROUPS for vector in group()]
