"""Calls to a server as an agent makes them: enrolment, handshake, session calls with DPoP.

What the server signs is verified against its pin before it is used. Every wait has an end.
"""

import base64
import json
import os
import time
from urllib.parse import urlsplit

import grpc

import signed
from signed import Refused, b64, sha256
from stubs import pb, rpc

SERVICE = "agentgateway.v1.AgentGatewayService"
CALL_TIMEOUT_S = 30


class Deadline:
    """A point in time after which nothing is waited for."""

    def __init__(self, seconds):
        self.at = time.monotonic() + seconds

    def remaining(self, what):
        left = self.at - time.monotonic()
        if left <= 0:
            raise Refused("timeout", f"no time left while waiting for {what}")
        return left


def metadata_of(error):
    """Metadata of a refusal: trailers, and headers where a key stands in both."""
    return dict(error.trailing_metadata() or ()) | dict(error.initial_metadata() or ())


def code_of(error):
    """The server's stable code, or the gRPC status where something else answered."""
    return metadata_of(error).get("argosy-code") or error.code().name.lower()


def verify(key, purpose, statement):
    return signed.verify(key, purpose, statement.payload, statement.signature)


def expect(what, got, wanted):
    if got != wanted:
        raise Refused("statement", f"{what} is {got!r} instead of {wanted!r}")


class Gateway:
    """One agent's relation to one server."""

    def __init__(self, server, keys, deadline, version, host_id, public_url=None):
        self.origin = (public_url or server).rstrip("/")
        self.channel = grpc.insecure_channel(urlsplit(server).netloc)
        self.stub = rpc.AgentGatewayServiceStub(self.channel)
        self.keys = keys
        self.deadline = deadline
        self.version = version
        self.host_id = host_id
        self.pin = self.machine_id = self.agent_id = None
        self.api_key = self.session = self.continuation = self.nonce = None
        self.server_time = None
        self.nonce_refusals = 0

    def timeout(self, what):
        return min(CALL_TIMEOUT_S, self.deadline.remaining(what))

    # --- what the server signs ------------------------------------------------------------------

    def check_server(self, identity_key):
        """The server is the pinned one; the first one where there is no pin."""
        if self.pin is None:
            self.pin = signed.pin(identity_key)
            print(f"trusted at first contact {self.pin}", flush=True)
        expect("the server's identity", signed.pin(identity_key), self.pin)
        self.identity_key = identity_key

    def command_key(self, certificate):
        """The public key of a certificate that the pinned server signed for commands. Whether it
        is valid now is counted by the server's signed time, never by this host's clock."""
        fields = verify(self.identity_key, "key-certificate", certificate)
        expect("certificate: server", fields["server"], self.pin)
        expect("certificate: use", fields["use"], "command")
        if not fields["not_before"] <= self.server_time <= fields["not_after"]:
            raise Refused("statement", f"the certificate is not valid at {self.server_time}")
        return signed.unb64(fields["public_key"], 32)

    # --- enrolment ------------------------------------------------------------------------------

    def enrol(self, token, name, account_id):
        """Registers with keys: the token is proved and never sent. Returns the fingerprint."""
        token_id, secret, self.pin = signed.read_token(token)
        self.machine_id = self.pin and signed.machine_id(self.pin, self.host_id)
        fields = {
            "server": self.pin or "tofu", "token_id": token_id, "name": name,
            "account_id": str(account_id), "identity_key": b64(self.keys.identity_public),
            "encryption_key": b64(self.keys.encryption_public),
            "device_signing_key": b64(self.keys.device_public), "machine_id": self.machine_id,
            "hostname": name, "platform": "linux-amd64", "version": self.version,
            "nonce": b64(os.urandom(32)),
        }  # fmt: skip
        payload, signature = signed.sign(self.keys.identity, "enrolment", fields)
        device_proof = self.keys.device.sign(signed.pae("enrolment", payload))
        key, use = pb.RegisteredKey, pb.KeyUse
        request = pb.RegisterRequest(
            enrollment_token=signed.token_proof(token_id, signed.proof_key(secret), payload),
            name=name,
            statement=pb.SignedStatement(payload=payload, signature=signature),
            keys=[
                key(use=use.KEY_USE_IDENTITY, public_key=self.keys.identity_public),
                key(use=use.KEY_USE_ENCRYPTION, public_key=self.keys.encryption_public),
                key(
                    use=use.KEY_USE_DEVICE_SIGNING,
                    public_key=self.keys.device_public,
                    proof=device_proof,
                ),
            ],
            key_delivery=pb.KeyDelivery.KEY_DELIVERY_DIRECT,
        )
        answer = self.stub.Register(request, timeout=self.timeout("Register"))
        self.check_receipt(answer, payload)
        self.agent_id, self.api_key = answer.agent_id, answer.api_key
        return answer.identity_fingerprint

    def check_receipt(self, answer, payload):
        self.check_server(answer.server_keys.identity_key)
        receipt = verify(self.identity_key, "enrolment-receipt", answer.receipt)
        for certificate in answer.server_keys.certificates:
            verify(self.identity_key, "key-certificate", certificate)
        statuses = {
            pb.EnrollmentStatus.ENROLLMENT_STATUS_AWAITING_CONFIRMATION: "pending_approval",
            pb.EnrollmentStatus.ENROLLMENT_STATUS_CONFIRMED: "approved",
        }
        expect("receipt: server", receipt["server"], self.pin)
        expect("receipt: agent", receipt["agent_id"], answer.agent_id)
        expect("receipt: enrolment", receipt["enrolment_sha256"], b64(sha256(payload)))
        expect("receipt: status", receipt["status"], statuses.get(answer.enrollment_status))
        expect("fingerprint", answer.identity_fingerprint, signed.fingerprint(payload))
        if not answer.api_key:
            raise Refused("answer", "there is no API key in the answer")

    # --- handshake ------------------------------------------------------------------------------

    def handshake(self):
        """Waits for approval; verifies the server's proof, then gives the agent's."""
        while True:
            try:
                return self.complete(self.begin())
            except grpc.RpcError as error:
                if code_of(error) != "not_approved":
                    raise
            time.sleep(min(1, self.deadline.remaining("approval")))

    def begin(self):
        agent_nonce = os.urandom(32)
        answer = self.stub.BeginAuthHandshake(
            pb.BeginAuthHandshakeRequest(
                api_key=self.api_key,
                identity_pubkey=self.keys.identity_public,
                agent_nonce=agent_nonce,
            ),
            timeout=self.timeout("BeginAuthHandshake"),
        )
        self.check_server(answer.server_keys.identity_key)
        said = self.verified_challenge(answer)
        expect("challenge: server", said["server"], self.pin)
        expect("challenge: agent", said["agent"], self.agent_id)
        expect("challenge: nonce", said["agent_nonce"], b64(agent_nonce))
        expect("challenge: bytes", said["challenge"], b64(answer.challenge))
        expect("challenge: time", said["server_time"], answer.server_time)
        return answer.challenge

    def verified_challenge(self, answer):
        """What the challenge says, signed by one of the server's certified command keys."""
        self.server_time = signed.read_statement("challenge", answer.statement)["server_time"]
        refusal = Refused("statement", "the server shows no certificate")
        for certificate in answer.server_keys.certificates:
            try:
                key = self.command_key(certificate)
                return signed.verify(key, "challenge", answer.statement, answer.signature)
            except Refused as why:
                refusal = why
        raise refusal

    def complete(self, challenge):
        continuation = self.continuation
        _, signature = signed.sign(self.keys.identity, "handshake", {
            "server": self.pin, "agent": self.agent_id, "challenge": b64(challenge),
            "machine_id": self.machine_id, "version": self.version,
            "continuation": continuation and b64(continuation),
        })  # fmt: skip
        answer = self.stub.CompleteAuthHandshake(
            pb.CompleteAuthHandshakeRequest(
                agent_id=self.agent_id,
                challenge=challenge,
                signature=signature,
                machine_id=self.machine_id and signed.unb64(self.machine_id, 32),
                version=self.version,
                continuation=continuation,
            ),
            timeout=self.timeout("CompleteAuthHandshake"),
        )
        if len(answer.continuation) != 32:
            raise Refused("answer", "a continuation has 32 bytes")
        self.continuation, self.session = answer.continuation, answer.session_token

    def session_claims(self):
        """What the session token says; it is the server's own word to itself and only a hint."""
        part = self.session.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))

    # --- session calls --------------------------------------------------------------------------

    def proof(self, method):
        url = f"{self.origin}/{SERVICE}/{method}"
        unique, now = b64(os.urandom(16)), int(time.time())
        return signed.make_dpop(self.keys.identity, url, self.session, unique, now, self.nonce)

    def credentials(self, method):
        metadata = [
            ("authorization", f"DPoP {self.session}"),
            ("dpop", self.proof(method)),
            ("x-agent-version", self.version),
        ]
        return metadata + ([("x-machine-id", self.machine_id)] if self.machine_id else [])

    def learn(self, metadata):
        self.nonce = dict(metadata or ()).get("dpop-nonce", self.nonce)

    def with_proof(self, method, send):
        """Calls `send(metadata)`, once more where the server asks for its nonce."""
        for last in (False, True):
            try:
                return send(self.credentials(method))
            except grpc.RpcError as error:
                self.learn(metadata_of(error).items())
                if last or code_of(error) != "use_dpop_nonce":
                    raise
                self.nonce_refusals += 1

    def unary(self, method, request):
        """One session call. `request` is an iterator for client streams."""

        def send(metadata):
            message = iter(request) if isinstance(request, list) else request
            answer, call = getattr(self.stub, method).with_call(
                message, metadata=metadata, timeout=self.timeout(method)
            )
            self.learn(call.initial_metadata())
            return answer

        return self.with_proof(method, send)
