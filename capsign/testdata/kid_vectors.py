#!/usr/bin/env python3
"""Compute kids without any of cap's code, for kid_vectors.json.

This is the second, independent computation behind TestKIDVectors: BLAKE3 is
written here from the BLAKE3 paper, with nothing but Python's standard library,
and the public keys are made by the openssl program. It is checked against
published vectors each time it runs.

    python3 kid_vectors.py check    recompute every kid in kid_vectors.json
    python3 kid_vectors.py make     write a new kid_vectors.json with new keys

The vectors are frozen: "make" is how they came about, not a step of the build.
Changing them means that every kid that was ever published changes.
"""

import json
import pathlib
import subprocess
import sys

VECTORS = pathlib.Path(__file__).with_name("kid_vectors.json")

# BLAKE3 paper, section 2. The initial values are those of SHA-256.
IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
      0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
BLOCK, CHUNK, MASK = 64, 1024, 0xFFFFFFFF


def rotate(word, by):
    return (word >> by | word << (32 - by)) & MASK


def quarter(v, a, b, c, d, x, y):
    v[a] = (v[a] + v[b] + x) & MASK
    v[d] = rotate(v[d] ^ v[a], 16)
    v[c] = (v[c] + v[d]) & MASK
    v[b] = rotate(v[b] ^ v[c], 12)
    v[a] = (v[a] + v[b] + y) & MASK
    v[d] = rotate(v[d] ^ v[a], 8)
    v[c] = (v[c] + v[d]) & MASK
    v[b] = rotate(v[b] ^ v[c], 7)


def compress(chaining, block, counter, length, flags):
    """Return the first eight words of the compression function's output."""
    m = [int.from_bytes(block[i:i + 4], "little") for i in range(0, BLOCK, 4)]
    v = chaining + IV[:4] + [counter & MASK, counter >> 32, length, flags]
    for _ in range(7):
        quarter(v, 0, 4, 8, 12, m[0], m[1])
        quarter(v, 1, 5, 9, 13, m[2], m[3])
        quarter(v, 2, 6, 10, 14, m[4], m[5])
        quarter(v, 3, 7, 11, 15, m[6], m[7])
        quarter(v, 0, 5, 10, 15, m[8], m[9])
        quarter(v, 1, 6, 11, 12, m[10], m[11])
        quarter(v, 2, 7, 8, 13, m[12], m[13])
        quarter(v, 3, 4, 9, 14, m[14], m[15])
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def hash_chunk(data, counter, root):
    """Return the chaining value of one chunk of at most 1024 bytes."""
    blocks = [data[i:i + BLOCK] for i in range(0, len(data), BLOCK)] or [b""]
    chaining = IV
    for i, block in enumerate(blocks):
        flags = (CHUNK_START if i == 0 else 0)
        if i == len(blocks) - 1:
            flags |= CHUNK_END | root
        chaining = compress(chaining, block.ljust(BLOCK, b"\0"), counter, len(block), flags)
    return chaining


def hash_tree(data, counter, root):
    """Return the chaining value of a subtree that starts at chunk counter."""
    if len(data) <= CHUNK:
        return hash_chunk(data, counter, root)
    chunks = 1  # the left side is the largest power of two that leaves a rest
    while chunks * 2 * CHUNK < len(data):
        chunks *= 2
    left = hash_tree(data[:chunks * CHUNK], counter, 0)
    right = hash_tree(data[chunks * CHUNK:], counter + chunks, 0)
    block = b"".join(word.to_bytes(4, "little") for word in left + right)
    return compress(IV, block, 0, BLOCK, PARENT | root)


def blake3(data):
    return b"".join(word.to_bytes(4, "little") for word in hash_tree(data, 0, ROOT))


# From test_vectors.json of the BLAKE3 repository, where the input of length n
# is the bytes 0, 1, .. 250, 0, 1, ..; and the well-known hash of "abc".
PUBLISHED = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
    2048: "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a",
}
ABC = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"


def check_blake3():
    for length, want in PUBLISHED.items():
        data = bytes(i % 251 for i in range(length))
        assert blake3(data).hex() == want, f"BLAKE3 of {length} bytes is wrong"
    assert blake3(b"abc").hex() == ABC, "BLAKE3 of abc is wrong"


def kid(vector):
    """kid = hex(blake3-256(pubkey || provider_id || key_name))"""
    return blake3(bytes.fromhex(vector["spki"])
                  + vector["provider_id"].encode()
                  + vector["key_name"].encode()).hex()


def openssl(*args, stdin=b""):
    return subprocess.run(["openssl", *args], input=stdin, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def new_spki(*genpkey):
    """Have openssl make a key and return its DER SubjectPublicKeyInfo."""
    private = openssl("genpkey", *genpkey)
    return openssl("pkey", "-pubout", "-outform", "DER", stdin=private).hex()


# The Ed25519 public key of RFC 8410, section 10.1.
RFC8410 = "302a300506032b6570032100" \
    "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"

EC = ("-algorithm", "EC", "-pkeyopt")
KEYS = {
    "RFC 8410 Ed25519": lambda: RFC8410,
    "Ed25519": lambda: new_spki("-algorithm", "ED25519"),
    "P-256": lambda: new_spki(*EC, "ec_paramgen_curve:P-256"),
    "P-384": lambda: new_spki(*EC, "ec_paramgen_curve:P-384"),
    "RSA-3072": lambda: new_spki("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"),
    "RSA-4096": lambda: new_spki("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"),
}
PROVIDERS = ["software", "pkcs11", "cloudkms"]
NAMES = [
    "cap-signing",
    "a",
    "releases/2026 Q1",         # base64url in subjects
    "a.b",
    "=a",
    "software",                 # as if the provider id stood twice
    "Schl\u00fcssel",           # composed ...
    "Schlu\u0308ssel",          # ... and decomposed: two names
    "\u043a\u043b\u044e\u0447",
    "\u9375 \U0001f511",
    "n" * 128,
]


def make():
    vectors = []
    spki = {title: build() for title, build in KEYS.items()}
    for i, title in enumerate(KEYS):
        for provider in PROVIDERS:
            # Every name with the first key, two of them with each other one.
            names = NAMES if i == 0 else [NAMES[0], NAMES[1 + i]]
            for name in names:
                vectors.append({"key": title, "spki": spki[title],
                                "provider_id": provider, "key_name": name})
    for vector in vectors:
        vector["kid"] = kid(vector)
    VECTORS.write_text(json.dumps(vectors, indent=1, ensure_ascii=True) + "\n")


def check():
    vectors = json.loads(VECTORS.read_text())
    for vector in vectors:
        assert kid(vector) == vector["kid"], f"wrong kid: {vector}"
    print(f"{len(vectors)} kids are right")


if __name__ == "__main__":
    check_blake3()
    {"make": make, "check": check}[sys.argv[1]]()
