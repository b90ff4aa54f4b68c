"""What travels: JSON bodies, DSSE envelopes, and an envelope beside its proof."""

import json
from base64 import b64encode
from hashlib import sha256

from .key import PLANE, WEB_01
from .times import HOUR, NOW, SECOND
from .tree import proof, root

ONE = ["web-01"]
TWO = ["web-01", "web-02"]
THREE = ["web-01", "web-02", "web-03"]
SEVEN = ["db-01", "db-02", "web-01", "web-02", "web-03", "web-04", "web-05"]

TASK = "01977e5c2a007000800000000000c0de"
BOOT = "01977e5c00007000800000000000b007"


def media_type(kind):
    return f"application/vnd.muster.{kind}.v1+json"


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def pae(payload_type, payload):
    head = f"DSSEv1 {len(payload_type.encode())} {payload_type} {len(payload)} "
    return head.encode() + payload


def seal(kind, body, key, sign=None, keyid=None, encode=b64encode):
    """Signs `body`, which is bytes or something to be written as JSON. `sign` replaces the signing."""
    payload = body if isinstance(body, bytes) else compact(body).encode()
    covered = pae(media_type(kind), payload)
    sig = sign(key, covered) if sign else key.sign(covered)
    signatures = [{"keyid": key.keyid if keyid is None else keyid, "sig": encode(sig).decode()}]
    return compact({"payloadType": media_type(kind), "payload": encode(payload).decode(), "signatures": signatures})


def address(envelope, proof):
    return f'{{"envelope":{envelope},"proof":{compact(proof)}}}'


def altered(message, **fields):
    return compact(json.loads(message) | fields)


def without(body, *fields):
    return {field: value for field, value in body.items() if field not in fields}


def targets(hosts):
    return {"count": len(hosts), "root": root(hosts).hex()}


def command(hosts=THREE, **changes):
    body = {
        "iss": "muster",
        "task_id": TASK,
        "command": "uptime",
        "timeout": 30,
        "issued_at": NOW - SECOND,
        "expires_at": NOW + HOUR,
        "targets": targets(hosts),
        "requested_by": "ops",
    }
    return body | changes


def digest(body):
    return sha256(compact(body).encode()).hexdigest()


DIGEST = digest(command())


def cancel(hosts=THREE, **changes):
    body = {
        "iss": "muster",
        "task_id": TASK,
        "command_digest": DIGEST,
        "issued_at": NOW - SECOND,
        "expires_at": NOW + HOUR,
        "targets": targets(hosts),
    }
    return body | changes


def event(**changes):
    body = {
        "iss": "web-01",
        "task_id": TASK,
        "command_digest": DIGEST,
        "kind": "running",
        "at": NOW - SECOND,
        "boot_id": BOOT,
        "seq": 2,
    }
    return body | changes


def result(**changes):
    body = {
        "iss": "web-01",
        "task_id": TASK,
        "command_digest": DIGEST,
        "status": "succeeded",
        "exit_code": 0,
        "stdout": "up 3 days\n",
        "stderr": "",
        "stdout_bytes": 10,
        "stderr_bytes": 0,
        "truncated": False,
        "started_at": NOW - SECOND,
        "finished_at": NOW - 200,
        "boot_id": BOOT,
    }
    return body | changes


def heartbeat(**changes):
    body = {
        "iss": "web-01",
        "boot_id": BOOT,
        "counter": 8,
        "sent_at": NOW - 100,
        "cpu_usage": 12.5,
        "memory_usage": 48.25,
        "agent_version": "0.1.0",
        "running": 1,
        "spooled": 0,
    }
    return body | changes


def command_message(body=None, key=PLANE, host="web-01", hosts=THREE, proved=None, kind="command", **how):
    body = command(hosts) if body is None else body
    return address(seal(kind, body, key, **how), proved or proof(host, hosts))


def cancel_message(body=None, **how):
    return command_message(cancel() if body is None else body, kind="cancel", **how)


def event_message(body=None, key=WEB_01, **how):
    return seal("event", event() if body is None else body, key, **how)


def result_message(body=None, key=WEB_01, **how):
    return seal("result", result() if body is None else body, key, **how)


def heartbeat_message(body=None, key=WEB_01, **how):
    return seal("heartbeat", heartbeat() if body is None else body, key, **how)
