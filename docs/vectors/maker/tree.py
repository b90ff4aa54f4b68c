"""RFC 6962, section 2.1, written down as it stands there."""

from hashlib import sha256


def leaf(name):
    return sha256(b"\x00" + name.encode()).digest()


def node(left, right):
    return sha256(b"\x01" + left + right).digest()


def split(names):
    """At the largest power of two that is smaller than the number of names."""
    at = 1
    while at * 2 < len(names):
        at *= 2
    return names[:at], names[at:]


def root(names):
    if not names:
        return sha256(b"").digest()
    if len(names) == 1:
        return leaf(names[0])
    left, right = split(names)
    return node(root(left), root(right))


def path(index, names):
    if len(names) == 1:
        return []
    left, right = split(names)
    if index < len(left):
        return path(index, left) + [root(right)]
    return path(index - len(left), right) + [root(left)]


def proof(host, hosts):
    index = hosts.index(host)
    return {"index": index, "hashes": [step.hex() for step in path(index, hosts)]}
