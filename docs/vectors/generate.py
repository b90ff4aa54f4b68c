#!/usr/bin/env python3
"""Writes keys.json, keys-refused.json, valid.json and invalid.json next to this file.

Needs Python 3.11 and the package `cryptography`. It shares no code with Muster: the hashing, the
tree, the signatures and the JSON are made here a second time, so the vectors are also a check of
Muster against an implementation that is not its own. Only PSS salts differ from run to run.
"""

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # a directory of documents should stay one

from maker import body, context, envelope, key, order, refused, signature, valid  # noqa: E402

HERE = Path(__file__).parent


def write(name, entries):
    names = [entry["name"] for entry in entries]
    assert len(set(names)) == len(names), "two entries have one name"
    text = json.dumps(entries, indent=1)
    (HERE / name).write_text(text + "\n", encoding="utf-8")
    print(f"{name}: {len(entries)}")


def main():
    invalid = [envelope.VECTORS, signature.VECTORS, body.VECTORS, context.VECTORS, order.VECTORS]
    write("keys.json", [known.entry() for known in key.KNOWN])
    write("keys-refused.json", refused.KEYS)
    write("valid.json", valid.VECTORS)
    write("invalid.json", [vector for vectors in invalid for vector in vectors])


if __name__ == "__main__":
    main()
