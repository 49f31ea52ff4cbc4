"""The signed bytes of Argosy, written from the protocol and from nothing else.

Canonical JSON (RFC 8785) for flat objects, DSSE's pre-authentication encoding, strict Ed25519,
thumbprints, token proofs, DPoP. Only Ed25519 and X25519 themselves come from a library. Every
check raises `Refused`; nothing here opens a connection.
"""

import base64
import hashlib
import hmac
import json
import re
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class Refused(Exception):
    """Something is not what the protocol asks for. `cause` is what: signature, statement, …"""

    def __init__(self, cause, why):
        super().__init__(why)
        self.cause = cause


def b64(data):
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64(text, length=None):
    """The bytes of base64url without padding, in its one canonical form."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise Refused("statement", "not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise Refused("statement", "not base64url") from None
    if b64(data) != text or (length is not None and len(data) != length):
        raise Refused("statement", "not base64url of the right length")
    return data


def sha256(data):
    return hashlib.sha256(data).digest()


# --- canonical JSON -----------------------------------------------------------------------------

ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


def json_string(text):
    """RFC 8785, section 3.2.2.2: only what must be escaped is, in the shortest form."""
    out = "".join(ESCAPES.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in text)
    return f'"{out}"'


def canonical(fields):
    """RFC 8785 for one flat object of strings. Names are sorted by UTF-16 code units."""
    names = sorted(fields, key=lambda name: name.encode("utf-16-be"))
    members = (f"{json_string(name)}:{json_string(fields[name])}" for name in names)
    return ("{" + ",".join(members) + "}").encode("utf-8")


def read_flat(payload):
    """The fields of canonical bytes: one flat object of strings, each name once."""

    def unique(pairs):
        if len({name for name, _ in pairs}) != len(pairs):
            raise Refused("statement", "a field stands twice")
        return dict(pairs)

    try:
        fields = json.loads(payload.decode("utf-8"), object_pairs_hook=unique)
    except ValueError:
        raise Refused("statement", "not JSON") from None
    if not isinstance(fields, dict) or not all(isinstance(v, str) for v in fields.values()):
        raise Refused("statement", "not a flat object of strings")
    try:
        same = canonical(fields) == payload
    except UnicodeEncodeError:
        same = False
    if not same:
        raise Refused("statement", "not canonical")
    return fields


# --- statements ---------------------------------------------------------------------------------


def _bytes32(value):
    unb64(value, 32)


def _server(value):
    if value != "tofu":
        _bytes32(value)


def _integer(value):
    if not re.fullmatch(r"0|-?[1-9][0-9]*", value) or not -(2**63) <= int(value) < 2**63:
        raise Refused("statement", "not an integer in its one form")


def _time(value):
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", value, re.ASCII):
        raise Refused("statement", "not a time with microseconds and Z")
    parse_time(value)


def _id(value):
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", value):
        raise Refused("statement", "not an id")


def _text(_value):
    pass


# Purpose -> field -> check. A question mark stands before fields that may be left out.
STATEMENTS = {
    "key-certificate": {
        "server": _bytes32, "use": _text, "public_key": _bytes32, "serial": _integer,
        "not_before": _time, "not_after": _time,
    },
    "enrolment": {
        "server": _server, "token_id": _id, "name": _text, "account_id": _integer,
        "identity_key": _bytes32, "encryption_key": _bytes32, "?device_signing_key": _bytes32,
        "?machine_id": _bytes32, "hostname": _text, "platform": _text, "version": _text,
        "?release_root_sha256": _bytes32, "nonce": _bytes32,
    },
    "enrolment-receipt": {
        "server": _bytes32, "agent_id": _id, "enrolment_sha256": _bytes32, "status": _text,
        "time": _time,
    },
    "challenge": {
        "server": _bytes32, "agent": _id, "agent_nonce": _bytes32, "challenge": _bytes32,
        "server_time": _time,
    },
    "handshake": {
        "server": _bytes32, "agent": _id, "challenge": _bytes32, "?machine_id": _bytes32,
        "version": _text, "?continuation": _bytes32, "?nonce": _text,
    },
    "hello": {
        "agent": _id, "session_sha256": _bytes32, "journal_id": _id, "high_water": _integer,
    },
    "command": {
        "server": _bytes32, "org": _id, "agent": _id, "command_id": _id, "kind": _text,
        "params_sha256": _bytes32, "sequence": _integer, "not_before": _time,
        "expires_at": _time, "server_time": _time,
    },
    "receipt": {
        "agent": _id, "command_id": _id, "params_sha256": _bytes32, "outcome": _text,
        "result_sha256": _bytes32, "policy_sha256": _bytes32, "?started_at": _time,
        "ended_at": _time, "boot_id": _text, "journal_id": _id,
    },
    "result-ack": {
        "server": _bytes32, "agent": _id, "command_id": _id, "result_sha256": _bytes32,
    },
    "cancel": {
        "server": _bytes32, "org": _id, "agent": _id, "command_id": _id, "kind": _text,
        "params_sha256": _bytes32, "sequence": _integer, "server_time": _time,
    },
    "config": {
        "server": _bytes32, "org": _id, "agent": _id, "generation": _integer,
        "document_sha256": _bytes32, "server_time": _time,
    },
    "audit-checkpoint": {
        "server": _bytes32, "org": _id, "position": _integer, "link": _bytes32, "time": _time,
    },
    "successor": {
        "server": _bytes32, "identity_key": _bytes32, "successor": _bytes32, "serial": _integer,
        "time": _time,
    },
    "key-rotation": {
        "server": _bytes32, "agent": _id, "identity_key": _bytes32, "successor": _bytes32,
        "serial": _integer,
    },
}  # fmt: skip


def parse_time(text):
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise Refused("statement", "not a time") from None


def read_statement(purpose, payload):
    """The fields of a statement of that purpose."""
    fields = read_flat(payload)
    known = STATEMENTS[purpose]
    for name, check in known.items():
        if name.startswith("?"):
            if name[1:] in fields:
                check(fields[name[1:]])
        elif name in fields:
            check(fields[name])
        else:
            raise Refused("statement", f"{purpose}: {name} is missing")
    if unknown := fields.keys() - {name.lstrip("?") for name in known}:
        raise Refused("statement", f"{purpose}: unknown {sorted(unknown)}")
    return fields


# --- signatures ---------------------------------------------------------------------------------

P = 2**255 - 19
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
# The y of the points of order eight; the other one is -y.
ORDER_8_Y = int.from_bytes(
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
)
SMALL_ORDER_Y = {0, 1, P - 1, ORDER_8_Y, P - ORDER_8_Y}


def _small_order(point):
    return (int.from_bytes(point, "little") & (2**255 - 1)) % P in SMALL_ORDER_Y


def pae(purpose, payload):
    """DSSE's pre-authentication encoding."""
    kind = f"application/vnd.argosy.{purpose}.v1+json".encode("ascii")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def verify_bytes(key, message, signature):
    """Ed25519 as `verify_strict` has it: S below the group order, no point of small order."""
    if len(key) != 32 or len(signature) != 64:
        raise Refused("signature", "a key has 32 bytes and a signature 64")
    if int.from_bytes(signature[32:], "little") >= GROUP_ORDER:
        raise Refused("signature", "S is not below the order of the group")
    if _small_order(key) or _small_order(signature[:32]):
        raise Refused("signature", "a point of small order")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Refused("signature", "the signature does not verify") from None


def verify(key, purpose, payload, signature):
    """Verifies the bytes that arrived, then reads them."""
    verify_bytes(key, pae(purpose, payload), signature)
    return read_statement(purpose, payload)


def sign(key: Ed25519PrivateKey, purpose, fields):
    """A statement's payload and signature. Fields that are None are left out."""
    payload = canonical({name: value for name, value in fields.items() if value is not None})
    read_statement(purpose, payload)
    return payload, key.sign(pae(purpose, payload))


# --- names of keys and machines -----------------------------------------------------------------


def pin(key):
    """What agents pin of a server."""
    return b64(sha256(key))


def jkt(key):
    """RFC 7638 thumbprint of an Ed25519 key (RFC 8037)."""
    return b64(sha256(b'{"crv":"Ed25519","kty":"OKP","x":"%s"}' % b64(key).encode("ascii")))


def fingerprint(enrolment):
    """What people compare: the first 128 bits of SHA-256 of the PAE of enrolment bytes."""
    digits = sha256(pae("enrolment", enrolment))[:16].hex()
    return " ".join(digits[at : at + 4] for at in range(0, 32, 4))


def machine_id(server_pin, host):
    return b64(hmac.digest(unb64(server_pin, 32), host.strip().encode("utf-8"), "sha256"))


# --- tokens -------------------------------------------------------------------------------------


def read_token(text):
    """(id, secret, pin or None) of `boot_<id>_<secret>[.<pin>]`."""
    token, dot, pinned = text.partition(".")
    found = re.fullmatch(r"boot_([A-Za-z0-9._:-]{1,128})_([A-Za-z0-9_-]{43})", token)
    if not found or len(token) > 512:
        raise Refused("token", "not a token string")
    return found[1], unb64(found[2], 32), b64(unb64(pinned, 32)) if dot else None


def proof_key(secret):
    """HKDF-SHA256 (RFC 5869) without salt; one block is the 32 bytes asked for."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, b"argosy/enrol/v1\x01", "sha256")


def token_proof(token_id, key, enrolment):
    return f"bootproof_{token_id}_{b64(hmac.digest(key, enrolment, 'sha256'))}"


# --- DPoP ---------------------------------------------------------------------------------------


def make_dpop(key, url, token, unique, iat, nonce=None, method="POST"):
    """A proof (RFC 9449) by `key` for one request under one session token."""
    public = key.public_key().public_bytes_raw()
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64(public)}
    header = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk}
    claims = {"htm": method, "htu": url, "jti": unique, "iat": iat}
    claims["ath"] = b64(sha256(token.encode("ascii")))
    if nonce is not None:
        claims["nonce"] = nonce
    parts = [b64(json.dumps(part).encode("utf-8")) for part in (header, claims)]
    signature = key.sign(".".join(parts).encode("ascii"))
    return ".".join([*parts, b64(signature)])


def read_dpop(proof):
    """(key, header, claims) of a proof that verifies under the key in its own header."""
    parts = proof.split(".")
    if len(parts) != 3:
        raise Refused("proof", "not a JWS")
    try:
        header, claims = (json.loads(unb64(part)) for part in parts[:2])
        key = unb64(header["jwk"]["x"], 32)
        jwk = (header["jwk"]["kty"], header["jwk"]["crv"])
        required = [claims[name] for name in ("htm", "htu", "jti", "iat", "ath")]
    except (KeyError, TypeError, ValueError):
        raise Refused("proof", "a part is missing") from None
    if (header.get("typ"), header.get("alg")) != ("dpop+jwt", "EdDSA") or None in required:
        raise Refused("proof", "not a DPoP proof")
    if jwk != ("OKP", "Ed25519") or "d" in header["jwk"]:
        raise Refused("proof", "not a public Ed25519 key")
    verify_bytes(key, ".".join(parts[:2]).encode("ascii"), unb64(parts[2]))
    return key, header, claims
