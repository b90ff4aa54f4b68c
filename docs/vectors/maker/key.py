"""The test keys. A private key that is missing from its directory is made anew."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .times import HOUR, NOW

MARK = b"TEST ONLY. This private key is public: never trust it.\n"
PRIVATE = Path(__file__).parent.parent / "test-only-private-keys"


@dataclass(frozen=True)
class Key:
    name: str
    bits: int
    algorithm: str
    role: str = "agent"
    owner: str = ""
    state: str = "active"
    retiring_until: int | None = None

    @property
    def file(self):
        return PRIVATE / f"{self.name}.test-only.pem"

    @cached_property
    def private(self):
        if not self.file.exists():
            PRIVATE.mkdir(exist_ok=True)
            made = rsa.generate_private_key(public_exponent=65537, key_size=self.bits)
            self.file.write_bytes(MARK + pkcs8(made))
        return serialization.load_pem_private_key(self.file.read_bytes(), password=None)

    @cached_property
    def spki(self):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.DER, form)

    @cached_property
    def pem(self):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, form).decode().strip()

    @cached_property
    def keyid(self):
        return "sha256:" + sha256(self.spki).hexdigest()

    def sign(self, message):
        return pss(self, message) if self.algorithm == "PS256" else pkcs1(self, message)

    def entry(self):
        entry = {
            "name": self.name,
            "role": self.role,
            "owner": self.owner,
            "algorithm": self.algorithm,
            "bits": self.bits,
            "state": self.state,
            "retiring_until": self.retiring_until,
            "keyid": self.keyid,
            "public_key_pem": self.pem,
            "private_key_file": f"{PRIVATE.name}/{self.file.name}",
        }
        return {field: value for field, value in entry.items() if value is not None}


def pkcs8(private):
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pss(key, message, digest=hashes.SHA256(), mask=None, salt=32):
    scheme = padding.PSS(mgf=padding.MGF1(mask or digest), salt_length=salt)
    return key.private.sign(message, scheme, digest)


def pkcs1(key, message, digest=hashes.SHA256()):
    return key.private.sign(message, padding.PKCS1v15(), digest)


def raw(key, padded):
    """RSA on bytes that were padded by hand: only for signatures that must be refused."""
    numbers = key.private.private_numbers()
    size = key.bits // 8
    number = pow(int.from_bytes(padded), numbers.d, numbers.public_numbers.n)
    return number.to_bytes(size)


PLANE = Key("plane", 3072, "PS256", "plane", "muster")
PLANE_RS256 = Key("plane-rs256", 3072, "RS256", "plane", "muster")
PLANE_RETIRING = Key("plane-retiring", 2048, "PS256", "plane", "muster", "retiring", NOW + HOUR)
PLANE_REVOKED = Key("plane-revoked", 2048, "PS256", "plane", "muster", "revoked")
WEB_01 = Key("web-01", 3072, "PS256", owner="web-01")
WEB_01_RETIRING = Key("web-01-retiring", 2048, "PS256", owner="web-01", state="retiring", retiring_until=NOW + HOUR)
WEB_01_REVOKED = Key("web-01-revoked", 2048, "PS256", owner="web-01", state="revoked")
WEB_02 = Key("web-02", 3072, "RS256", owner="web-02")
WEB_03 = Key("web-03", 2048, "PS256", owner="web-03")
DB_01 = Key("db-01", 4096, "PS256", owner="db-01")

KNOWN = [PLANE, PLANE_RS256, PLANE_RETIRING, PLANE_REVOKED]
KNOWN += [WEB_01, WEB_01_RETIRING, WEB_01_REVOKED, WEB_02, WEB_03, DB_01]

# Nobody's: in no list of trusted keys.
STRANGER = Key("stranger", 3072, "PS256")
