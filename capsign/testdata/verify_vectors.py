#!/usr/bin/env python3
"""Make verify_vectors.json: signatures made by the openssl program.

    python3 verify_vectors.py

The vectors are frozen, with the private keys thrown away; this is how they came
about. The first is TEST 1 of RFC 8032, section 7.1.
"""

import json
import pathlib
import subprocess
import tempfile

MESSAGE = b"attack at dawn"
HALF_ORDER = {
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 // 2,
    "ES384": int("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
                 "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16) // 2,
}


def pss(digest, salt):
    return [digest, "-sigopt", "rsa_padding_mode:pss", "-sigopt", f"rsa_pss_saltlen:{salt}",
            "-sigopt", "rsa_mgf1_md:sha256"]


ALGS = {
    "Ed25519": (["-algorithm", "ED25519"], None),
    "ES256": (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], ["-sha256"]),
    "ES384": (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], ["-sha384"]),
    "PS256": (["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"], pss("-sha256", 32)),
    "RS256": (["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"], ["-sha256"]),
}

# Signatures by the right key over the right message that another algorithm made.
REFUSED = {
    "ES256": {"SHA-384": ["-sha384"], "SHA-1": ["-sha1"]},
    "ES384": {"SHA-256": ["-sha256"], "SHA-512": ["-sha512"]},
    "PS256": {"salt of 20 bytes": pss("-sha256", 20), "no salt": pss("-sha256", 0),
              "longest salt": pss("-sha256", "max"), "SHA-512": pss("-sha512", 32),
              "PKCS #1 v1.5": ["-sha256"]},
    "RS256": {"SHA-1": ["-sha1"], "SHA-384": ["-sha384"], "PSS": pss("-sha256", 32)},
}


def openssl(*args):
    return subprocess.run(["openssl", *args], check=True, stdout=subprocess.PIPE).stdout


def s_of(signature):
    """Return s of an ECDSA signature shorter than 128 bytes."""
    r_length = signature[3]
    return int.from_bytes(signature[6 + r_length:], "big")


def sign(alg, digest, key, message):
    if digest is None:
        return openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", message)
    while True:
        signature = openssl("dgst", *digest, "-sign", key, message)
        if alg not in HALF_ORDER or s_of(signature) <= HALF_ORDER[alg]:
            return signature


def main():
    vectors = [{
        "alg": "Ed25519",
        "spki": "302a300506032b6570032100"
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "message": "",
        "signature": "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    }]
    with tempfile.TemporaryDirectory() as directory:
        key, message = directory + "/key", directory + "/message"
        pathlib.Path(message).write_bytes(MESSAGE)
        for alg, (genpkey, digest) in ALGS.items():
            openssl("genpkey", *genpkey, "-out", key)
            vectors.append({
                "alg": alg,
                "spki": openssl("pkey", "-in", key, "-pubout", "-outform", "DER").hex(),
                "message": MESSAGE.hex(),
                "signature": sign(alg, digest, key, message).hex(),
                "refused": {what: sign(alg, other, key, message).hex()
                            for what, other in REFUSED.get(alg, {}).items()},
            })
    path = pathlib.Path(__file__).with_name("verify_vectors.json")
    path.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
