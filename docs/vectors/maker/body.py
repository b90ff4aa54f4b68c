"""Must be refused: a good signature over a body that is not what its type says, or by the wrong issuer."""

from .key import PLANE, WEB_02
from .times import NOW
from .vector import agent, answer, presence
from .wire import (
    DIGEST, cancel, cancel_message, command, command_message, compact, event, event_message, heartbeat,
    heartbeat_message, result, result_message, targets, THREE, without,
)


def bad_result(name, why, body):
    return answer(name, why, "bad_body", result_message(body))


def bad_command(name, why, body):
    return agent(name, why, "bad_body", command_message(body))


def bad_heartbeat(name, why, body):
    return presence(name, why, "bad_body", heartbeat_message(body))


def not_an_object():
    good = compact(result()).encode()
    yield bad_result("body-empty", "no bytes", b"")
    yield bad_result("body-no-json", "a sentence", b"all is well")
    yield bad_result("body-array", "the fields' values as an array", list(result().values()))
    yield bad_result("body-text", "the object as a JSON string", compact(good.decode()).encode())
    yield bad_result("body-truncated", "the last bracket is missing", good[:-1])
    yield bad_result("body-text-after", "a letter after the last bracket", good + b"x")
    yield bad_result("body-byte-order-mark", "U+FEFF before the first bracket", b"\xef\xbb\xbf" + good)
    yield bad_result("body-not-utf-8", "a byte that UTF-8 never has", good.replace(b"up 3", b"up \xff"))
    yield bad_result("body-lone-surrogate", "half a character", good.replace(b"up 3", b"up \\ud800"))
    yield bad_result("body-control-character", "a bare line break inside text", good.replace(b"up 3", b"up\n3"))
    yield bad_result("body-field-twice", "readers differ on which one counts", twice(good, b'"status":"failed",'))
    yield bad_result("body-of-event", "an event's body, signed as a result", event())
    yield bad_command("command-array", "the fields' values as an array", list(command().values()))
    doubled = twice(compact(command()).encode(), b'"command":"true",')
    yield bad_command("command-field-twice", "readers differ on which one counts", doubled)
    yield bad_command("command-body-of-cancel", "a cancel's body, signed as a command", cancel())


def twice(body, field):
    return body.replace(b"{", b"{" + field, 1)


def missing_fields():
    for field in ["task_id", "command_digest", "status", "exit_code", "stdout", "truncated", "finished_at", "boot_id"]:
        yield bad_result(f"result-without-{field}", "a field is missing", without(result(), field))
    for field in ["iss", "command", "timeout", "issued_at", "expires_at", "targets", "requested_by"]:
        yield bad_command(f"command-without-{field}", "a field is missing", without(command(), field))
    for field in ["boot_id", "counter"]:
        yield bad_heartbeat(f"heartbeat-without-{field}", "a field is missing", without(heartbeat(), field))
    no_seq = event_message(without(event(), "seq"))
    yield answer("event-without-seq", "a field is missing", "bad_body", no_seq)
    aimless = cancel_message(without(cancel(), "command_digest"))
    yield agent("cancel-without-command_digest", "a field is missing", "bad_body", aimless)


def unknown_fields():
    why = "a restriction that is ignored is a hole"
    yield bad_command("command-unknown-field", why, command(only_if="weekend"))
    yield bad_command("targets-unknown-field", why, command(targets=targets(THREE) | {"except": ["web-01"]}))
    unclear = cancel_message(cancel(only_if="weekend"))
    yield agent("cancel-unknown-field", why, "bad_body", unclear)


def wrong_values():
    yield bad_result("finished_at-text", "times are numbers", result(finished_at="2025-06-15T15:06:40Z"))
    yield bad_result("finished_at-fraction", "times are whole", result(finished_at=NOW + 0.5))
    yield bad_result("exit_code-null", "never absent", result(exit_code=None))
    yield bad_result("exit_code-too-large", "32 bits with a sign", result(exit_code=2**31))
    yield bad_result("stdout_bytes-negative", "a count", result(stdout_bytes=-1))
    yield bad_result("truncated-number", "true or false", result(truncated=0))
    yield bad_result("status-unknown", "a closed set", result(status="fine"))
    yield bad_result("status-upper-case", "words are compared byte by byte", result(status="SUCCEEDED"))
    yield bad_result("status-of-the-plane", "an agent cannot say that it is lost", result(status="lost"))
    yield answer("event-kind-unknown", "a closed set", "bad_body", event_message(event(kind="done")))
    yield bad_heartbeat("counter-text", "a count is a number", heartbeat(counter="9"))
    yield bad_heartbeat("counter-fraction", "a count is whole", heartbeat(counter=9.0))
    yield bad_heartbeat("counter-too-large", "2^64 does not fit", heartbeat(counter=2**64))
    nan = compact(heartbeat()).replace("12.5", "NaN").encode()
    yield bad_heartbeat("cpu_usage-not-a-number", "JSON has no NaN", nan)
    yield bad_command("issued_at-text", "times are numbers", command(issued_at=str(NOW)))
    yield bad_command("timeout-negative", "seconds from 0", command(timeout=-1))
    yield bad_command("timeout-too-large", "2^32 does not fit", command(timeout=2**32))
    yield bad_command("command-null", "text is required", command(command=None))
    yield bad_command("targets-text", "an object is required", command(targets=THREE[0]))


def issuers():
    def wrong(name, why, message):
        return answer(name, why, "wrong_issuer", message)

    yield wrong("other-hosts-key", "web-02's key speaks as web-01", result_message(key=WEB_02))
    yield wrong("other-iss", "web-01's key speaks as web-02", result_message(result(iss="web-02")))
    yield wrong("iss-of-the-plane", "web-01's key speaks as the plane", result_message(result(iss="muster")))
    yield wrong("iss-upper-case", "names are compared byte by byte", result_message(result(iss="WEB-01")))
    yield wrong("iss-with-blank", "nothing is trimmed", result_message(result(iss="web-01 ")))
    yield wrong("iss-empty", "no name", result_message(result(iss="")))
    yield wrong("event-other-iss", "events too", event_message(event(iss="web-02")))
    beat = heartbeat_message(heartbeat(iss="web-02"))
    yield presence("heartbeat-other-iss", "nobody keeps another host online", "wrong_issuer", beat)
    stray = command_message(command(iss="web-01"), PLANE)
    yield agent("command-other-iss", "a command is the plane's", "wrong_issuer", stray)
    yield agent("cancel-other-iss", "so is a cancel", "wrong_issuer", cancel_message(cancel(iss=DIGEST[:8])))


GROUPS = [not_an_object, missing_fields, unknown_fields, wrong_values, issuers]
VECTORS = [vector for group in GROUPS for vector in group()]
