"""Must be refused: a key that does not count, a signature that does not hold."""

import json
from base64 import b64decode, b64encode
from hashlib import sha256

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from .key import (
    PLANE, PLANE_RETIRING, PLANE_REVOKED, PLANE_RS256, STRANGER, WEB_01, WEB_01_RETIRING, WEB_01_REVOKED, WEB_02,
    WEB_03, pkcs1, pss, raw,
)
from .times import HOUR, NOW
from .vector import agent, answer, presence
from .wire import (
    altered, command, command_message, compact, event_message, heartbeat_message, media_type, pae, result,
    result_message,
)

BY_02 = result(iss="web-02")  # the host whose key signs with PKCS #1


def keys():
    def unknown(name, why, message):
        return answer(name, why, "unknown_key", message)

    yield unknown("unknown-key", "signed by a key that nobody registered", result_message(key=STRANGER))
    yield unknown("plane-key-signs-result", "the plane is no agent", result_message(key=PLANE))
    yield unknown("keyid-empty", "the key is found by its keyid alone", keyid(""))
    yield unknown("keyid-upper-case", "keyids are compared byte by byte", keyid(WEB_01.keyid.upper()))
    yield unknown("keyid-without-prefix", "sha256: belongs to it", keyid(WEB_01.keyid.removeprefix("sha256:")))
    yield unknown("keyid-of-pkcs1-form", "the hash is over the SPKI form", keyid(pkcs1_keyid(WEB_01)))
    yield agent("agent-key-signs-command", "an agent is not the plane", "unknown_key", command_message(key=WEB_01))
    yield agent("unknown-plane-key", "a key that is in no list", "unknown_key", command_message(key=STRANGER))


def keyid(text):
    return result_message(keyid=text)


def pkcs1_keyid(key):
    form = serialization.PublicFormat.PKCS1
    der = key.private.public_key().public_bytes(serialization.Encoding.DER, form)
    return "sha256:" + sha256(der).hexdigest()


def keys_of_the_past():
    gone = "revoked_key"
    retiring = result_message(key=WEB_01_RETIRING)
    over = command_message(command(expires_at=NOW + 2 * HOUR), PLANE_RETIRING)
    yield answer("revoked-key", "a good signature by a revoked key", gone, result_message(key=WEB_01_REVOKED))
    yield presence("revoked-key-heartbeat", "presence too", gone, heartbeat_message(key=WEB_01_REVOKED))
    yield answer("retired-key", "its time ends now", gone, retiring, now=NOW + HOUR)
    yield answer("retired-key-long-ago", "its time ended long ago", gone, retiring, now=NOW + 900 * HOUR)
    yield agent("revoked-plane-key", "a good signature by a revoked key", gone, command_message(key=PLANE_REVOKED))
    yield agent("retired-plane-key", "its time ends now", gone, over, now=NOW + HOUR)


def bad(name, why, message):
    return answer(name, why, "bad_signature", message)


def signed(name, why, sign, body=None, key=WEB_01):
    return bad(name, why, result_message(body, key, sign=sign))


def flipped(data, bit):
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def flips():
    fields = json.loads(result_message())
    payload = b64decode(fields["payload"])
    for name, bit in [("first", 0), ("middle", len(payload) * 4), ("last", len(payload) * 8 - 1)]:
        other = b64encode(flipped(payload, bit)).decode()
        message = altered(result_message(), payload=other, signatures=fields["signatures"])
        yield bad(f"payload-{name}-bit", "one bit is flipped", message)
    for name, bit in [("first", 0), ("middle", 1_536), ("last", 3_071)]:
        yield signed(f"signature-{name}-bit", "one bit is flipped", flipping(bit))


def flipping(bit):
    return lambda key, text: flipped(key.sign(text), bit)


def other_lengths():
    yield signed("signature-empty", "no bytes", lambda key, text: b"")
    yield signed("signature-zero", "all bits zero", lambda key, text: bytes(384))
    yield signed("signature-one", "the number 1, whose power is 1", lambda key, text: bytes(383) + b"\x01")
    yield signed("signature-short", "the last byte is missing", lambda key, text: key.sign(text)[:-1])
    yield signed("signature-long", "a zero byte before it", lambda key, text: b"\x00" + key.sign(text))
    yield signed("signature-plus-modulus", "the same number modulo n, but not below n", plus_modulus)
    yield signed("signature-hex", "hexadecimal text instead of bytes", lambda key, text: key.sign(text).hex().encode())


def plus_modulus(key, text):
    modulus = key.private.private_numbers().public_numbers.n
    while True:
        number = int.from_bytes(key.sign(text)) + modulus
        if number.bit_length() <= key.bits:
            return number.to_bytes(key.bits // 8)


def schemes():
    auto = padding.PSS.MAX_LENGTH
    by_02 = {"body": BY_02, "key": WEB_02}
    yield signed("pkcs1-for-ps256", "the registered algorithm counts", pkcs1)
    yield signed("pss-for-rs256", "the registered algorithm counts", pss, **by_02)
    yield signed("pss-salt-0", "a salt has 32 bytes", lambda key, text: pss(key, text, salt=0))
    yield signed("pss-salt-20", "a salt has 32 bytes", lambda key, text: pss(key, text, salt=20))
    yield signed("pss-salt-max", "a salt has 32 bytes", lambda key, text: pss(key, text, salt=auto))
    yield signed("pss-sha1", "the hash is SHA-256", lambda key, text: pss(key, text, hashes.SHA1()))
    yield signed("pss-sha384", "the hash is SHA-256", lambda key, text: pss(key, text, hashes.SHA384()))
    yield signed("pss-sha512", "the hash is SHA-256", lambda key, text: pss(key, text, hashes.SHA512()))
    yield signed("pss-mask-sha1", "so is the mask's", lambda key, text: pss(key, text, mask=hashes.SHA1()))
    yield signed("pkcs1-sha1", "the hash is SHA-256", lambda key, text: pkcs1(key, text, hashes.SHA1()), **by_02)
    yield signed("pkcs1-sha512", "the hash is SHA-256", lambda key, text: pkcs1(key, text, hashes.SHA512()), **by_02)


def bad_padding():
    """What lax PKCS #1 readers accept."""
    with_null = bytes.fromhex("3031300d060960864801650304020105000420")
    without_null = bytes.fromhex("302f300b0609608648016503040201" + "0420")

    def padded(name, why, pad):
        return signed(name, why, lambda key, text: raw(key, pad(sha256(text).digest())), BY_02, WEB_02)

    def filled(info, fill=b"\xff", first=b"\x00\x01"):
        return first + fill * (381 - len(info)) + b"\x00" + info

    yield padded("pkcs1-without-null", "the hash's parameters are required", lambda sha: filled(without_null + sha))
    yield padded("pkcs1-no-hash-name", "a bare hash", filled)
    encrypting = b"\x00\x02"
    yield padded("pkcs1-block-type-2", "as if encrypted", lambda sha: filled(with_null + sha, first=encrypting))
    yield padded("pkcs1-zero-fill", "zeros for ones", lambda sha: filled(with_null + sha, fill=b"\x00"))
    short = b"\x00\x01" + b"\xff" * 8 + b"\x00" + with_null
    why = "short padding, then the hash, then anything"
    yield padded("pkcs1-text-after", why, lambda sha: (short + sha).ljust(384, b"x"))


def other_bytes():
    payload = compact(result()).encode()
    size = str(len(payload)).encode()

    def over(name, why, change):
        return signed(name, why, lambda key, text: key.sign(change(text)))

    yield over("bare-payload", "signed without type and lengths", lambda text: payload)
    yield over("base64-payload", "signed over the base64", lambda text: text.replace(payload, b64encode(payload)))
    other = b"%d" % len(b64encode(payload))
    yield over("length-of-base64", "the length is the body's own", lambda text: text.replace(size, other, 1))
    yield over("length-with-zero", "lengths have no leading zeros", lambda text: text.replace(size, b"0" + size, 1))
    yield over("other-prefix", "DSSEv2 is not DSSEv1", lambda text: text.replace(b"v1", b"v2", 1))
    yield over("hashed-twice", "SHA-256 before signing, which hashes again", lambda text: sha256(text).digest())
    yield signed("signed-by-another", "one key's keyid, another's signature", lambda key, text: WEB_03.sign(text))
    unsigned = json.loads(result_message())
    unsigned["signatures"][0]["sig"] = ""
    yield bad("algorithm-in-message", "no message chooses how it is checked", altered(json.dumps(unsigned), alg="none"))
    rewritten = b64encode(json.dumps(result()).encode()).decode()
    yield bad("payload-rewritten", "the same JSON in other bytes", altered(result_message(), payload=rewritten))


def other_types():
    """One body, signed as one type and sent as another."""

    def as_kind(message, kind):
        return altered(message, payloadType=media_type(kind))

    yield bad("result-as-event", "the type is signed", as_kind(result_message(), "event"))
    yield bad("event-as-result", "the type is signed", as_kind(event_message(), "result"))
    yield presence("result-as-heartbeat", "the type is signed", "bad_signature", as_kind(result_message(), "heartbeat"))
    sealed = command_message(sign=lambda key, text: key.sign(retyped(text, "command", "cancel")))
    yield agent("cancel-as-command", "the type is signed", "bad_signature", sealed)
    late = command_message(sign=lambda key, text: flipped(key.sign(text), 9))
    yield agent("command-signature-bit", "one bit is flipped", "bad_signature", late)
    yield agent("command-other-scheme", "the registered algorithm counts", "bad_signature", command_message(sign=pkcs1))
    rs256 = command_message(key=PLANE_RS256, sign=pss)
    yield agent("command-pss-for-rs256", "the registered algorithm counts", "bad_signature", rs256)


def retyped(text, old, new):
    payload = text[text.index(b"{") :]
    assert text == pae(media_type(old), payload)
    return pae(media_type(new), payload)


GROUPS = [keys, keys_of_the_past, flips, other_lengths, schemes, bad_padding, other_bytes, other_types]
VECTORS = [vector for group in GROUPS for vector in group()]
