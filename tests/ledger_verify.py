#!/usr/bin/env python3
"""Verifies a ledger's folder by the published formats alone: C2SP tlog-tiles, tlog-checkpoint, signed-note, RFC 6962.

Shares nothing with authz. `ledger_verify.py LEDGER KEY.PUB` prints size and root, or fails. Ed25519 is openssl's.
"""
import base64
import hashlib
import os
import subprocess
import sys
import tempfile


def leaf(data):
    return hashlib.sha256(b"\0" + data).digest()


def tree(hashes):
    """RFC 6962, section 2.1, as it is written there."""
    if len(hashes) == 1:
        return hashes[0]
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    return hashlib.sha256(b"\1" + tree(hashes[:half]) + tree(hashes[half:])).digest()


def checkpoint(folder, key):
    """Origin, size and root, after the signature."""
    note = open(os.path.join(folder, "checkpoint"), "rb").read().decode()
    text, signatures = note.rsplit("\n\n", 1)
    name, key_id, public = key.strip().split("+", 2)
    public = base64.b64decode(public, validate=True)
    assert public[0] == 1 and len(public) == 33, "not an Ed25519 key"
    assert hashlib.sha256(name.encode() + b"\n" + public).digest()[:4].hex() == key_id, "the key's hash"
    mine = [line.split(" ")[2] for line in signatures.splitlines() if line.split(" ")[:2] == ["\u2014", name]]
    blob = base64.b64decode(mine[0], validate=True)
    assert blob[:4].hex() == key_id, "signed by another key"
    with tempfile.TemporaryDirectory() as where:
        paths = [os.path.join(where, part) for part in ("key", "signature", "text")]
        der = bytes.fromhex("302a300506032b6570032100") + public[1:]
        for path, data in zip(paths, (der, blob[4:], (text + "\n").encode())):
            open(path, "wb").write(data)
        subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", paths[0], "-rawin",
                        "-sigfile", paths[1], "-in", paths[2]], check=True, stdout=subprocess.DEVNULL)
    origin, size, root = text.split("\n")[:3]
    return origin, int(size), base64.b64decode(root, validate=True)


def resource(folder, kind, index, width):
    """A tile's bytes by its name in the layout."""
    parts = []
    digits = f"{index:03}"
    while len(digits) % 3:
        digits = "0" + digits
    parts = [digits[at:at + 3] for at in range(0, len(digits), 3)]
    path = "/".join(["x" + part for part in parts[:-1]] + parts[-1:])
    return open(os.path.join(folder, "tile", kind, path + (f".p/{width}" if width < 256 else "")), "rb").read()


def entries(data):
    found = []
    while data:
        length = int.from_bytes(data[:2], "big")
        assert len(data) >= 2 + length, "a bundle is cut off"
        found.append(data[2:2 + length])
        data = data[2 + length:]
    return found


def main(folder, key):
    origin, size, root = checkpoint(folder, open(key).read())
    widths = lambda count: [256] * (count // 256) + ([count % 256] if count % 256 else [])
    level = []
    for index, width in enumerate(widths(size)):
        bundle = entries(resource(folder, "entries", index, width))
        assert len(bundle) == width, f"bundle {index} has {len(bundle)} entries"
        level += [leaf(entry) for entry in bundle]
    leaves, number = level, 0
    while level:
        for index, width in enumerate(widths(len(level))):
            want = b"".join(level[index * 256:index * 256 + width])
            assert resource(folder, str(number), index, width) == want, f"tile {number}/{index}"
        level = [tree(level[at:at + 256]) for at in range(0, len(level) - 255, 256)]
        number += 1
    assert (tree(leaves) if leaves else hashlib.sha256(b"").digest()) == root, "the root is another one"
    print(origin, size, root.hex())


if __name__ == "__main__":
    main(*sys.argv[1:])
