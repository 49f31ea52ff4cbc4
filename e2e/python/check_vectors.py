"""Checks proto/vectors/ without any code of Argosy: see signed.py.

    python e2e/python/check_vectors.py [FOLDER]

Closes with `N passed, N failed`; the exit code is 1 when anything failed or nothing was checked.
"""

import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import signed
import verify_audit
from signed import Refused, b64, unb64

FOLDER = Path(__file__).resolve().parents[2] / "proto" / "vectors"


class Checks:
    def __init__(self, folder):
        self.folder = folder
        self.passed = self.failed = 0
        self.keys = {}

    def check(self, name, good):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {name}")

    def equal(self, name, got, wanted):
        self.check(f"{name}: {got!r} instead of {wanted!r}", got == wanted)

    def refused(self, name, call, cause=None):
        """`call` must be refused, for `cause` where one is given."""
        try:
            call()
        except Refused as refusal:
            self.check(f"{name}: refused for {refusal.cause}", cause in (None, refusal.cause))
        else:
            self.check(f"{name}: was accepted", False)

    def accepted(self, name, call):
        """What `call` returns; None, and a failure, when it is refused."""
        try:
            result = call()
        except Refused as refusal:
            self.check(f"{name}: refused: {refusal}", False)
            return None
        self.check(name, True)
        return result

    def load(self, name):
        """A file's content; an empty list in it proves nothing, so it fails."""
        content = json.loads((self.folder / name).read_text("utf-8"))
        self.check(
            f"{name}: an empty list", all(v for v in content.values() if isinstance(v, list))
        )
        return content

    # --- files ----------------------------------------------------------------------------------

    def key_file(self):
        for key in self.load("keys.json")["keys"]:
            private = Ed25519PrivateKey.from_private_bytes(unb64(key["seed"], 32))
            public = private.public_key().public_bytes_raw()
            self.keys[key["name"]] = private
            self.equal(f"keys: {key['name']}", b64(public), key["public_key"])
            self.equal(f"keys: pin of {key['name']}", signed.pin(public), key["pin"])
            self.equal(f"keys: jkt of {key['name']}", signed.jkt(public), key["jkt"])

    def statement_file(self, purpose):
        file = self.load(f"statement.{purpose}.json")
        private, public = self.keys[file["key"]], unb64(file["public_key"], 32)
        self.equal(f"{purpose}: key", private.public_key().public_bytes_raw(), public)
        self.equal(f"{purpose}: purpose", file["purpose"], purpose)
        kind = f"application/vnd.argosy.{purpose}.v1+json"
        self.equal(f"{purpose}: payload type", file["payload_type"], kind)
        for number, case in enumerate(file["accepted"]):
            name = f"{purpose} {number}"
            payload, signature = unb64(case["payload"]), unb64(case["signature"], 64)
            fields = self.accepted(
                f"{name}: verifies",
                lambda: signed.verify(public, purpose, payload, signature),
            )
            self.equal(f"{name}: fields", fields, case["fields"])
            self.equal(f"{name}: text", payload, case["payload_text"].encode("utf-8"))
            self.equal(f"{name}: canonical bytes", signed.canonical(case["fields"]), payload)
            self.equal(f"{name}: PAE", signed.pae(purpose, payload).hex(), case["pae_hex"])
            mine = self.accepted(
                f"{name}: signs", lambda: signed.sign(private, purpose, case["fields"])
            )
            self.equal(f"{name}: signature", mine, (payload, signature))
            if "successor_key" in file:
                self.cosigned(name, file, case, fields)
            if purpose == "enrolment":
                self.equal(f"{name}: fingerprint", signed.fingerprint(payload), case["fingerprint"])
            for other in signed.STATEMENTS.keys() - {purpose}:
                self.refused(
                    f"{name}: as {other}",
                    lambda: signed.verify(public, other, payload, signature),
                    "signature",
                )
        for case in file["refused"]:
            payload, signature = unb64(case["payload"]), unb64(case["signature"], 64)
            self.refused(
                f"{purpose}: {case['why']}",
                lambda: signed.verify(public, purpose, payload, signature),
                case["refused_for"],
            )

    def cosigned(self, name, file, case, fields):
        """The same bytes under the key that takes over; the statement names both keys."""
        private, purpose = self.keys[file["successor_key"]], file["purpose"]
        public = private.public_key().public_bytes_raw()
        payload, signature = unb64(case["payload"]), unb64(case["successor_signature"], 64)
        self.equal(f"{name}: successor", b64(public), file["successor_public_key"])
        self.accepted(
            f"{name}: verifies by the successor",
            lambda: signed.verify(public, purpose, payload, signature),
        )
        named = (fields["identity_key"], fields["successor"])
        self.equal(f"{name}: names", named, (file["public_key"], file["successor_public_key"]))
        mine = signed.sign(private, purpose, fields)
        self.equal(f"{name}: successor's signature", mine, (payload, signature))

    def signature_file(self):
        file = self.load("signatures.json")

        def verify(case):
            message = signed.pae(file["purpose"], unb64(case["payload"]))
            signed.verify_bytes(unb64(case["public_key"]), message, unb64(case["signature"]))

        for case in file["accepted"]:
            self.accepted("signatures: the good one", lambda: verify(case))
        for case in file["refused"]:
            self.refused(f"signatures: {case['why']}", lambda: verify(case), "signature")

    def token_file(self):
        file = self.load("enrolment-token.json")
        for case in file["accepted"]:
            name = f"token {case['token_id']}"
            token_id, secret, pin = signed.read_token(case["token"])
            key, enrolment = signed.proof_key(secret), unb64(case["enrolment"])
            parts = {"token_id": token_id, "secret": b64(secret), "pin": pin, "proof_key": b64(key)}
            self.equal(f"{name}: parts", parts, {part: case[part] for part in parts})
            proof = signed.token_proof(token_id, key, enrolment)
            self.equal(f"{name}: proof", proof, case["proof"])
        token_id = file["accepted"][0]["token_id"]
        for case in file["refused_proofs"]:
            key, enrolment = unb64(case["proof_key"], 32), unb64(case["enrolment"])
            good = signed.token_proof(token_id, key, enrolment)
            self.check(f"proof: {case['why']}", case["proof"] != good)
        for case in file["refused_tokens"]:
            self.refused(f"token: {case['why']}", lambda: signed.read_token(case["token"]))

    def machine_file(self):
        for case in self.load("machine-id.json")["accepted"]:
            salted = signed.machine_id(case["server"], case["host_machine_id"])
            self.equal("machine id", salted, case["machine_id"])

    def dpop_file(self):
        file = self.load("dpop.json")
        for number, case in enumerate(file["accepted"]):
            name = f"proof {number}"
            read = self.accepted(name, lambda: signed.read_dpop(case["proof"]))
            wanted = (unb64(case["public_key"], 32), case["header"], case["claims"])
            self.equal(f"{name}: content", read, wanted)
            self.equal(f"{name}: jkt", signed.jkt(wanted[0]), case["jkt"])
            claims, token = case["claims"], case["session_token"]
            mine = signed.make_dpop(
                self.keys[case["key"]], claims["htu"], token, claims["jti"], claims["iat"],
                claims.get("nonce"), claims["htm"],
            )  # fmt: skip
            again = self.accepted(f"{name}: made here", lambda: signed.read_dpop(mine))
            self.equal(f"{name}: content made here", again, wanted)
        for case in file["refused"]:
            self.refused(f"proof: {case['why']}", lambda: signed.read_dpop(case["proof"]))

    def audit_file(self):
        file = self.load("audit-export.json")
        self.equal("audit: genesis", b64(verify_audit.genesis("default")), file["genesis"])
        for case in file["accepted"]:
            name = f"audit: {case['why']}"
            log = self.accepted(name, lambda: verify_audit.verify(case["lines"], case["pin"]))
            wanted = tuple(case[part] for part in ("position", "link", "checkpoints"))
            self.equal(name, log and (log.position, b64(log.link), log.checkpoints), wanted)
        for case in file["refused"]:
            name = f"audit: {case['why']}"
            try:
                verify_audit.verify(case["lines"], case["pin"])
            except verify_audit.RefusedExport as refusal:
                self.equal(name, (refusal.line, refusal.position), (case["line"], case["position"]))
            else:
                self.check(f"{name}: was accepted", False)

    def run(self):
        self.key_file()
        statements = {f"statement.{purpose}.json" for purpose in signed.STATEMENTS}
        there = {path.name for path in self.folder.glob("statement.*.json")}
        self.equal("files of statements", there, statements)
        for purpose in signed.STATEMENTS:
            self.statement_file(purpose)
        self.signature_file()
        self.token_file()
        self.machine_file()
        self.dpop_file()
        self.audit_file()


def main():
    checks = Checks(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
    try:
        checks.run()
    except (OSError, KeyError, ValueError, Refused) as error:
        checks.check(f"the vectors could not be read: {type(error).__name__}: {error}", False)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 0 if checks.passed and not checks.failed else 1


if __name__ == "__main__":
    sys.exit(main())
