"""Must be refused: too large, no envelope with one signature, a type that does not belong here."""

import json
from base64 import b64encode

from .key import PLANE, WEB_01
from .tree import proof
from .vector import agent, answer, presence
from .wire import (
    THREE, address, altered, cancel, command, command_message, compact, event_message, heartbeat_message,
    media_type, result, result_message, seal,
)

OVER = 1024 * 1024 + 1
RESULT = result_message()
COMMAND = command_message()


def sizes():
    yield presence("one-byte-over-1-mib", "1,048,577 bytes", "too_large", heartbeat_message(), pad_to_bytes=OVER)
    yield agent("command-over-1-mib", "the limit holds for agents too", "too_large", COMMAND, pad_to_bytes=OVER)


def malformed(name, why, message):
    return answer(name, why, "malformed", message)


def signatures(*entries):
    return altered(RESULT, signatures=list(entries))


def not_json():
    yield malformed("empty", "no bytes", "")
    yield malformed("white-space", "nothing but blanks", " \n\t ")
    yield malformed("no-json", "a sentence", "hello")
    yield malformed("null", "JSON, but no object", "null")
    yield malformed("truncated-json", "the last bracket is missing", RESULT[:-1])
    yield malformed("half", "the first half", RESULT[: len(RESULT) // 2])
    yield malformed("two-objects", "the message twice", RESULT + RESULT)
    yield malformed("text-after", "a letter after the last bracket", RESULT + "x")
    yield malformed("byte-order-mark", "U+FEFF before the first bracket", "\ufeff" + RESULT)
    yield malformed("comment", "JSON has no comments", RESULT.replace("{", "{/**/", 1))


def not_an_envelope():
    fields = json.loads(RESULT)
    yield malformed("empty-object", "no fields", "{}")
    yield malformed("array-envelope", "the fields' values as an array", compact(list(fields.values())))
    for field in fields:
        rest = {name: value for name, value in fields.items() if name != field}
        yield malformed(f"without-{field}", "a field is missing", compact(rest))
    twice = RESULT.replace("{", f'{{"payload":{compact(fields["payload"])},', 1)
    yield malformed("payload-twice", "readers differ on which one counts", twice)
    yield malformed("payload-number", "a number for text", altered(RESULT, payload=7))
    yield malformed("payload-object", "the body itself instead of its base64", altered(RESULT, payload=result()))


def wrong_number_of_signatures():
    (only,) = json.loads(RESULT)["signatures"]
    yield malformed("no-signature", "an empty list", signatures())
    yield malformed("two-signatures", "the same one twice", signatures(only, only))
    yield malformed("signature-object", "an object instead of a list", altered(RESULT, signatures=only))
    yield malformed("signature-without-keyid", "keyid is required", signatures({"sig": only["sig"]}))
    yield malformed("signature-without-sig", "sig is required", signatures({"keyid": only["keyid"]}))
    yield malformed("keyid-too-long", "129 bytes", signatures(only | {"keyid": "k" * 129}))


def not_base64():
    fields = json.loads(RESULT)
    payload, (only,) = fields["payload"], fields["signatures"]
    yield malformed("payload-not-base64", "an exclamation mark", altered(RESULT, payload="!" + payload[1:]))
    yield malformed("signature-not-base64", "an exclamation mark", signatures(only | {"sig": "!" + only["sig"][1:]}))
    folded = payload[:76] + "\n" + payload[76:]
    yield malformed("base64-line-break", "no white space inside", altered(RESULT, payload=folded))
    yield malformed("base64-mixed-alphabets", "one or the other", altered(RESULT, payload=payload[:-8] + "+_AA"))
    padded = b64encode(compact(result(stdout="")).encode().ljust(400)).decode()
    assert padded.endswith("==")
    yield malformed("base64-without-padding", "= is required", altered(RESULT, payload=padded.rstrip("=")))
    loose = padded[:-3] + chr(ord(padded[-3]) + 1) + "=="
    yield malformed("base64-loose-bits", "unused bits that are not zero", altered(RESULT, payload=loose))


def not_addressed():
    envelope = json.loads(COMMAND)["envelope"]
    shown = proof("web-01", THREE)

    def bad(name, why, message):
        return agent(name, why, "malformed", message)

    def inside(**changes):
        return altered(COMMAND, envelope=envelope | changes)

    def beside(changed):
        return altered(COMMAND, proof=changed)

    yield bad("agent-bare-envelope", "an agent's message has a proof beside the envelope", compact(envelope))
    yield bad("agent-without-proof", "no proof", compact({"envelope": envelope}))
    yield bad("agent-envelope-as-text", "the envelope as a JSON string", altered(COMMAND, envelope=compact(envelope)))
    yield bad("agent-array", "an array for an object", compact([envelope, shown]))
    yield bad("agent-array-envelope", "an array for the inner object", altered(COMMAND, envelope=[*envelope.values()]))
    yield bad("agent-two-signatures", "the same one twice", inside(signatures=envelope["signatures"] * 2))
    yield bad("agent-proof-without-index", "index is required", beside({"hashes": shown["hashes"]}))
    yield bad("agent-proof-negative-index", "an index is not negative", beside(shown | {"index": -1}))
    yield bad("agent-proof-index-text", "an index is a number", beside(shown | {"index": "0"}))
    yield bad("agent-proof-index-huge", "2^64 does not fit", beside(shown | {"index": 2**64}))
    yield bad("agent-proof-hash-number", "a hash is text", beside(shown | {"hashes": [0, 0]}))
    yield malformed("ingestor-addressed", "reports come without a proof", address(RESULT, shown))


def foreign_types():
    def typed(name):
        return altered(RESULT, payloadType=name)

    def wrong(name, why, message):
        return answer(name, why, "wrong_type", message)

    yield wrong("foreign-type", "of another system", typed("application/vnd.in-toto+json"))
    yield wrong("empty-type", "no type", typed(""))
    yield wrong("next-version", "v2 is another type", typed("application/vnd.muster.result.v2+json"))
    yield wrong("upper-case-type", "types are compared byte by byte", typed(media_type("result").upper()))
    yield wrong("type-with-parameter", "types have no parameters", typed(media_type("result") + "; charset=utf-8"))
    yield wrong("type-with-blank", "nor blanks", typed(media_type("result") + " "))
    yield wrong("short-type", "the full name is required", typed("result"))


def wrong_direction():
    yield answer("command-to-ingestor", "commands go to agents", "wrong_type", seal("command", command(), PLANE))
    yield answer("cancel-to-ingestor", "cancels go to agents", "wrong_type", seal("cancel", cancel(), PLANE))
    reports = {"heartbeat": heartbeat_message(), "result": RESULT, "event": event_message()}
    for kind, message in reports.items():
        addressed = address(message, proof("web-01", THREE))
        yield agent(f"{kind}-to-agent", "reports go to the ingestor", "wrong_type", addressed)
    by_plane = address(seal("heartbeat", b"{}", PLANE), proof("web-01", THREE))
    yield agent("heartbeat-to-agent-by-plane", "whoever signed it", "wrong_type", by_plane)
    by_agent = seal("command", command(iss="web-01"), WEB_01)
    yield answer("command-to-ingestor-by-agent", "whoever signed it", "wrong_type", by_agent)


GROUPS = [
    sizes, not_json, not_an_envelope, wrong_number_of_signatures, not_base64, not_addressed, foreign_types,
    wrong_direction,
]
VECTORS = [vector for group in GROUPS for vector in group()]
