"""Must be refused for the first of two faults: the order of the checks is part of the contract."""

from .key import PLANE_REVOKED, STRANGER, WEB_01_REVOKED, WEB_02
from .times import DAY, HOUR, NOW
from .tree import proof
from .vector import agent, answer, presence
from .wire import (
    BOOT, SEVEN, address, altered, command, command_message, heartbeat, heartbeat_message, result_message,
)

OVER = 1024 * 1024 + 1
ELSEWHERE = proof("web-02", SEVEN)
WHY = "two faults: the check that comes first gives the reason"


def unsigned(key, text):
    return bytes(key.bits // 8)


def reports():
    typed = altered(result_message(), payloadType="text/plain")
    halved = altered(typed, signatures=[])
    yield answer("too-large-before-malformed", WHY, "too_large", "{", pad_to_bytes=OVER)
    yield answer("malformed-before-wrong-type", WHY, "malformed", halved)
    foreign = altered(result_message(key=STRANGER), payloadType="text/plain")
    yield answer("wrong-type-before-unknown-key", WHY, "wrong_type", foreign)
    unknown = result_message(key=STRANGER, sign=unsigned)
    yield answer("unknown-key-before-bad-signature", WHY, "unknown_key", unknown)
    revoked = result_message(key=WEB_01_REVOKED, sign=unsigned)
    yield answer("revoked-key-before-bad-signature", WHY, "revoked_key", revoked)
    yield answer("bad-signature-before-bad-body", WHY, "bad_signature", result_message(b"no", sign=unsigned))
    yield answer("bad-body-before-wrong-issuer", WHY, "bad_body", result_message({"iss": "web-09"}))
    yield answer("wrong-issuer-before-unknown-task", WHY, "wrong_issuer", result_message(key=WEB_02), asked=None)
    both = {"command_digest": "0" * 64, "is_target": False}
    yield answer("wrong-digest-before-not-a-target", WHY, "wrong_digest", result_message(), asked=both)
    old = heartbeat_message(heartbeat(iss="web-02", counter=1))
    yield presence("wrong-issuer-before-replayed", WHY, "wrong_issuer", old, known=(BOOT, 8))


def commands():
    def first(name, expect, body, **how):
        return agent(name, WHY, expect, command_message(body, **how))

    stale = {"issued_at": NOW - 3 * DAY, "expires_at": NOW - DAY}
    seven = command(SEVEN, **stale)
    yield first("command-unknown-key-before-expired", "unknown_key", seven, key=STRANGER, hosts=SEVEN)
    yield first("command-revoked-key-before-expired", "revoked_key", seven, key=PLANE_REVOKED, hosts=SEVEN)
    yield first("command-bad-signature-before-not-included", "bad_signature", seven, sign=unsigned, proved=ELSEWHERE)
    yield first("command-bad-body-before-not-included", "bad_body", {"iss": "muster"}, proved=ELSEWHERE)
    foreign = command(SEVEN, iss="web-01")
    yield first("wrong-issuer-before-not-included", "wrong_issuer", foreign, proved=ELSEWHERE)
    yield first("not-included-before-expired", "not_included", seven, proved=ELSEWHERE)
    late = NOW + 2 * HOUR
    backwards = command(issued_at=late, expires_at=NOW)
    yield first("from-the-future-before-expired", "from_the_future", backwards)
    longer = command(issued_at=late, expires_at=late + 2 * DAY)
    yield first("from-the-future-before-valid-too-long", "from_the_future", longer)
    yield first("expired-before-valid-too-long", "expired", command(**stale))
    heartbeat_with_bad_proof = address(heartbeat_message(), {"index": 0})
    yield agent("malformed-proof-before-wrong-type", WHY, "malformed", heartbeat_with_bad_proof)


VECTORS = [*reports(), *commands()]
