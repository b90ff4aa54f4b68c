"""Messages that every implementation must accept."""

import json
from base64 import b64decode, urlsafe_b64encode
from hashlib import sha256

from .key import DB_01, PLANE_RETIRING, PLANE_RS256, WEB_01_RETIRING, WEB_02, WEB_03
from .times import DAY, HOUR, NOW, SECOND
from .vector import agent, answer, presence
from .wire import (
    BOOT, ONE, SEVEN, THREE, TWO, altered, cancel_message, command, command_message, event, event_message,
    heartbeat, heartbeat_message, result, result_message, without,
)

MIB = 1024 * 1024


def for_agent(name, why, body, hosts=THREE, host="web-01", message=command_message, **more):
    how = {"key": more.pop("key")} if "key" in more else {}
    sealed = message(body, hosts=hosts, host=host, **how)
    return agent(name, why, "ok", sealed, hostname=host, targets=hosts, **more)


def commands():
    for hosts, count in [(ONE, "one"), (TWO, "two"), (THREE, "three"), (SEVEN, "seven")]:
        for host in hosts:
            why = f"host {hosts.index(host)} of {len(hosts)}"
            yield for_agent(f"command-{count}-targets-{host}", why, command(hosts), hosts, host)
    text = "printf '%s\\n' \"größer ✓ 日本\" && exit 3"
    foreign = command(user="ops", command=text)
    yield for_agent("command-non-ascii-as-user", "an account, and text beyond ASCII", foreign)
    yield for_agent("command-rs256", "the plane's RS256 key", command(), key=PLANE_RS256)
    why = "a retiring key in its last millisecond"
    late = {"issued_at": NOW, "expires_at": NOW + 2 * HOUR}
    yield for_agent("command-retiring-key", why, command(**late), key=PLANE_RETIRING, now=NOW + HOUR - 1)
    ahead = command(issued_at=NOW + 60 * SECOND, expires_at=NOW + 60 * SECOND + DAY)
    yield for_agent("command-latest-and-longest", "60 s ahead, valid for exactly 24 h", ahead)
    yield for_agent("command-last-millisecond", "expires one millisecond from now", command(expires_at=NOW + 1))


def cancels():
    yield for_agent("cancel", "the command's own proof serves", None, message=cancel_message)


def answers():
    accepted = event_message(event(kind="accepted", seq=1))
    yield answer("event-accepted", "a command was accepted", "ok", accepted)
    yield answer("event-running", "a command runs", "ok", event_message())
    why = "reports may say more than is known"
    yield answer("event-unknown-field", why, "ok", event_message(event(mood="sunny")))
    yield answer("result-ps256", "RSA 3072, PSS with a salt of 32 bytes", "ok", result_message())
    yield answer("result-ps256-2048", "the smallest key", "ok", result_message(result(iss="web-03"), WEB_03))
    yield answer("result-ps256-4096", "the largest key", "ok", result_message(result(iss="db-01"), DB_01))
    why = "PKCS #1 v1.5: the same key and payload give the same bytes in any language"
    yield answer("result-rs256", why, "ok", result_message(result(iss="web-02"), WEB_02))
    retiring = result_message(key=WEB_01_RETIRING)
    yield answer("result-retiring-key", "a replaced key in its last millisecond", "ok", retiring, now=NOW + HOUR - 1)
    yield answer("result-very-late", "results never expire", "ok", result_message(), now=NOW + 300 * DAY)
    yield from result_bodies()


def result_bodies():
    words = "Größe ✓ 日本語 🙂 \u0000 \"quoted\" \\ \t\r\n"
    size = len(words.encode())
    foreign = result(stdout=words, stdout_bytes=size)
    yield answer("result-non-ascii", "output beyond ASCII", "ok", result_message(foreign))
    failed = result(status="failed", exit_code=137, signal=9)
    yield answer("result-signal", "ended by a signal", "ok", result_message(failed))
    rejected = without(result(status="rejected", reason="expired", exit_code=126), "started_at")
    yield answer("result-rejected", "never started, so no started_at", "ok", result_message(rejected))
    nulls = result(reason=None, signal=None, started_at=None)
    yield answer("result-null-options", "null is the same as absent", "ok", result_message(nulls))
    newer = result(mood="sunny", nested={"a": [1, None]})
    yield answer("result-unknown-field", "reports may say more than is known", "ok", result_message(newer))
    pretty = json.dumps(result(), indent=2, sort_keys=True).encode()
    yield answer("result-pretty-body", "order and white space are free: bytes are signed", "ok", result_message(pretty))
    yield answer("result-url-safe-base64", "both alphabets of base64 are read", "ok", url_safe())


def url_safe():
    """Both fields need a character in which the two alphabets differ."""
    body = result(stdout="???>>>~~~")
    while True:
        message = result_message(body, encode=urlsafe_b64encode)
        signature = json.loads(message)["signatures"][0]["sig"]
        if "-" in signature and "_" in signature:
            return message


def heartbeats():
    first = heartbeat_message()
    yield presence("heartbeat-first", "nothing is known of the host", "ok", first)
    yield presence("heartbeat-next", "the counter grew", "ok", first, known=(BOOT, 7))
    later = heartbeat_message(heartbeat(boot_id="01977e5c00017000800000000000b007", counter=1))
    yield presence("heartbeat-next-boot", "a later run starts again from 1", "ok", later, known=(BOOT, 9_000))
    why = "reports may say more than is known"
    yield presence("heartbeat-unknown-field", why, "ok", heartbeat_message(heartbeat(mood="sunny")))
    idle = heartbeat_message(heartbeat(cpu_usage=0))
    yield presence("heartbeat-whole-percent", "a whole number is a number", "ok", idle)
    more = altered(first, comment="ignored")
    yield presence("envelope-unknown-field", "DSSE ignores unknown fields of an envelope", "ok", more)
    pretty = json.dumps(json.loads(first), indent=2)
    yield presence("envelope-pretty", "white space around the envelope's fields is free", "ok", pretty)
    yield presence("envelope-largest", "exactly 1 MiB", "ok", first, pad_to_bytes=MIB)


def with_digest(vector):
    """Adds the payload's digest, which later messages refer to a command by."""
    message = json.loads(vector["message"])
    payload = message.get("envelope", message)["payload"]
    decoded = b64decode(payload.translate(str.maketrans("-_", "+/")))
    return vector | {"payload_sha256": sha256(decoded).hexdigest()}


VECTORS = [with_digest(vector) for group in (commands(), cancels(), answers(), heartbeats()) for vector in group]
