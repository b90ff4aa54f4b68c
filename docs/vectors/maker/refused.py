"""Texts that are no acceptable public key of an agent. Nothing here is random."""

from base64 import b64encode
from hashlib import sha256

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from .key import PLANE, WEB_03, pkcs8

RSA = bytes.fromhex("06092a864886f70d010101") + b"\x05\x00"
RSA_PSS = bytes.fromhex("06092a864886f70d01010a")
MODULUS = WEB_03.private.public_key().public_numbers().n


def der(tag, content):
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def integer(number):
    return der(2, number.to_bytes(number.bit_length() // 8 + 1, signed=True))


def pkcs1(n, e):
    return der(0x30, integer(n) + integer(e))


def spki(key, algorithm=RSA):
    return der(0x30, der(0x30, algorithm) + der(3, b"\x00" + key))


def pem(content, label="PUBLIC KEY"):
    return f"-----BEGIN {label}-----\n{b64encode(content).decode()}\n-----END {label}-----"


def rsa(n=MODULUS, e=65_537):
    return pem(spki(pkcs1(n, e)))


def odd(bits):
    """A number of exactly so many bits; whether it has two prime factors is not looked at."""
    stream = b"".join(sha256(bytes([part])).digest() for part in range(64))
    return int.from_bytes(stream) >> (64 * 256 - bits) | 1 << (bits - 1) | 1


def sizes():
    for bits in [512, 1_024, 2_047, 4_097, 8_192]:
        yield f"rsa-{bits}", "2048 to 4096 bits", rsa(odd(bits))
    yield "modulus-even", "no product of two odd primes", rsa(MODULUS - 1)
    yield "modulus-negative", "a missing zero byte", rsa(MODULUS - 2**2_048)
    yield "modulus-0", "no modulus", rsa(0)


def exponents():
    for exponent in [0, 1, 3, 17, 65_535]:
        yield f"exponent-{exponent}", "at least 65537", rsa(e=exponent)
    yield "exponent-even", "65538", rsa(e=65_538)
    yield "exponent-huge", "2^64 + 1", rsa(e=2**64 + 1)


def other_kinds():
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    curves = {"ec-p256": ec.derive_private_key(7, ec.SECP256R1()), "ec-p384": ec.derive_private_key(7, ec.SECP384R1())}
    edwards = {"ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))}
    for name, private in (curves | edwards).items():
        yield name, "not RSA", private.public_key().public_bytes(serialization.Encoding.PEM, form).decode()
    inner = pkcs1(MODULUS, 65_537)
    yield "rsa-pss-only", "the identifier id-RSASSA-PSS; write the key as rsaEncryption", pem(spki(inner, RSA_PSS))
    yield "certificate", "a certificate", pem(spki(inner), "CERTIFICATE")
    yield "openssh", "the form of OpenSSH", "ssh-rsa " + b64encode(b"\x00\x00\x00\x07ssh-rsa" + inner).decode()


def private_keys():
    encoding = serialization.Encoding.PEM
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    nothing = serialization.NoEncryption()
    why = "a private key"
    whole = pkcs8(PLANE.private).decode()
    yield "private-pkcs8", why, whole
    yield "private-pkcs1", why, PLANE.private.private_bytes(encoding, traditional, nothing).decode()
    curve = ec.derive_private_key(7, ec.SECP256R1())
    yield "private-ec", why, curve.private_bytes(encoding, traditional, nothing).decode()
    yield "private-encrypted", why, pem(b"not really", "ENCRYPTED PRIVATE KEY")
    yield "private-after-public", why, rsa() + "\n" + whole


def forms():
    good = spki(pkcs1(MODULUS, 65_537))
    text = pem(good)
    yield "empty", "no text", ""
    yield "der-as-base64", "no BEGIN and END", b64encode(good).decode()
    yield "without-end", "the last line is missing", text[: text.index("-----END")]
    yield "text-before", "a word before BEGIN", "key: " + text
    yield "text-after", "a word after END", text + "\nthanks"
    yield "two-keys", "one key only", text + "\n" + text
    yield "der-trailing-data", "a byte after the key", pem(good + b"\x00")
    yield "der-trailing-data-inside", "a byte after the exponent", pem(spki(pkcs1(MODULUS, 65_537) + b"\x00"))
    yield "der-truncated", "a byte too few", pem(good[:-1])
    yield "spki-labelled-pkcs1", "the label decides", pem(good, "RSA PUBLIC KEY")
    yield "pkcs1-labelled-spki", "the label decides", pem(pkcs1(MODULUS, 65_537))
    yield "too-long", "over 8 KiB", text.replace("\n", "\n" + " " * 8_192, 1)


KEYS = [
    {"name": name, "why": why, "pem": text}
    for group in (sizes(), exponents(), other_kinds(), private_keys(), forms())
    for name, why, text in group
]
