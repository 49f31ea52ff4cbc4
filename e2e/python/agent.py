"""An agent in Python: whoever reads the contract and the protocol can write one.

It enrols with keys, waits for approval, proves itself, opens the stream, carries out commands and
signs for them. It shares no code with the Rust agent; its types come from proto/.

    python e2e/python/agent.py --server http://127.0.0.1:8080 --token boot_… --name py-1

Prints `agent_id …`, `fingerprint …`, `session …`, `stream accepted`, `command … <id>` and
`result acknowledged`. Exit code 0 when as many commands as asked for were acknowledged, 1 when
anything was refused (`refused <code>: …` on standard error) or took too long.
"""

import argparse
import json
import queue
import sys
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import signed
from gateway import Deadline, Gateway, code_of, expect, verify
from signed import Refused, b64, sha256
from stubs import pb

VERSION = "0.1.0"
POLICY = b"# The Python agent runs subsystems and nothing else.\n"


class Keys:
    """Fresh keys of one agent."""

    def __init__(self):
        self.identity = Ed25519PrivateKey.generate()
        self.device = Ed25519PrivateKey.generate()
        self.encryption = X25519PrivateKey.generate()
        self.identity_public = self.identity.public_key().public_bytes_raw()
        self.device_public = self.device.public_key().public_bytes_raw()
        self.encryption_public = self.encryption.public_key().public_bytes_raw()


def now():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def boot_id():
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text("ascii").strip() if path.exists() else str(uuid.uuid4())


class Stream:
    """The control stream: frames go out through a queue and come in through another."""

    def __init__(self, gateway, hello):
        self.gateway = gateway
        self.outbox = self.inbox = None
        self.early = []
        first = gateway.with_proof("ControlStream", lambda metadata: self.open(metadata, hello))
        expect("first frame", first.WhichOneof("frame"), "accepted")
        self.heartbeat_interval_s = first.accepted.heartbeat_interval_s or 60

    def open(self, metadata, hello):
        """Opens it and waits for the first frame, because only then a refusal shows."""
        outbox, inbox = queue.Queue(), queue.Queue()
        outbox.put(pb.ControlStreamRequest(hello=hello))
        timeout = self.gateway.deadline.remaining("the stream")
        call = self.gateway.stub.ControlStream(
            iter(outbox.get, None), metadata=metadata, timeout=timeout
        )

        def read():
            try:
                for frame in call:
                    inbox.put(frame)
                inbox.put(Refused("answer", "the server ended the stream"))
            except grpc.RpcError as error:
                inbox.put(error)

        threading.Thread(target=read, daemon=True).start()
        self.outbox, self.inbox, self.call = outbox, inbox, call
        try:
            first = self.next_frame(timeout)
        except (grpc.RpcError, Refused):
            outbox.put(None)
            raise
        self.gateway.learn(call.initial_metadata())
        return first

    def send(self, **frame):
        self.outbox.put(pb.ControlStreamRequest(**frame))

    def next_frame(self, timeout):
        try:
            frame = self.inbox.get(timeout=timeout)
        except queue.Empty:
            raise Refused("timeout", "no frame in time") from None
        if isinstance(frame, Exception):
            raise frame
        return frame

    def expect_frame(self, kind):
        """The next frame of that kind. Heartbeats go on while it is waited for, and commands that
        arrive meanwhile are kept."""
        for at, frame in enumerate(self.early):
            if frame.WhichOneof("frame") == kind:
                return getattr(self.early.pop(at), kind)
        while True:
            left = self.gateway.deadline.remaining(kind)
            try:
                frame = self.next_frame(min(left, self.heartbeat_interval_s))
            except Refused as refusal:
                if refusal.cause != "timeout":
                    raise
                self.send(heartbeat=pb.Heartbeat(sent_at=now()))
                continue
            got = frame.WhichOneof("frame")
            if got == kind:
                return getattr(frame, kind)
            if got == "command":
                self.early.append(frame)
            elif got == "goaway":
                raise Refused("goaway", f"the server sends the agent away: {frame.goaway.reason}")
            elif got != "heartbeat_ack":
                raise Refused("answer", f"frame {got} instead of {kind}")

    def close(self):
        self.outbox.put(None)
        self.call.cancel()
        self.gateway.channel.close()


class Agent:
    def __init__(self, arguments):
        self.arguments = arguments
        self.keys = Keys()
        self.gateway = Gateway(
            arguments.server, self.keys, Deadline(arguments.timeout), VERSION,
            arguments.host_id, arguments.public_url,
        )  # fmt: skip
        self.journal_id, self.high_water = str(uuid.uuid4()), 0

    def run(self):
        gateway, arguments = self.gateway, self.arguments
        fingerprint = gateway.enrol(arguments.token, arguments.name, arguments.account)
        print(f"agent_id {gateway.agent_id}", flush=True)
        print(f"fingerprint {fingerprint}", flush=True)
        gateway.handshake()
        claims = gateway.session_claims()
        expect("session: subject", claims["sub"], gateway.agent_id)
        expect("session: key", claims["cnf"]["jkt"], signed.jkt(self.keys.identity_public))
        print(f"session until {claims['exp']}", flush=True)
        # Without a nonce, as an agent that was just restarted: it must be refused and told one.
        gateway.unary("UploadHeartbeat", pb.UploadHeartbeatRequest(sent_at=now()))
        expect("refusals for want of a nonce", gateway.nonce_refusals, 1)
        print("heartbeat received", flush=True)
        stream = Stream(gateway, self.hello())
        print("stream accepted", flush=True)
        stream.send(heartbeat=pb.Heartbeat(sent_at=now()))
        stream.expect_frame("heartbeat_ack")
        print("heartbeat acknowledged", flush=True)
        for _ in range(arguments.commands):
            self.carry_out(stream, claims["org"])
        stream.close()

    def hello(self):
        payload, signature = signed.sign(self.keys.identity, "hello", {
            "agent": self.gateway.agent_id,
            "session_sha256": b64(sha256(self.gateway.session.encode("ascii"))),
            "journal_id": self.journal_id, "high_water": str(self.high_water),
        })  # fmt: skip
        return pb.Hello(
            version=VERSION,
            statement=pb.SignedStatement(payload=payload, signature=signature),
            policy_sha256=sha256(POLICY),
        )

    def verify_command(self, command, org):
        """What a command says, once its signer, its names and its parameters fit."""
        said = verify(self.gateway.command_key(command.certificate), "command", command.envelope)
        expect("command: server", said["server"], self.gateway.pin)
        expect("command: organisation", said["org"], org)
        expect("command: agent", said["agent"], self.gateway.agent_id)
        expect("command: parameters", said["params_sha256"], b64(sha256(command.params)))
        if not said["not_before"] <= said["server_time"] < said["expires_at"]:
            raise Refused("statement", "the command is not valid at the time of its signature")
        if int(said["sequence"]) <= self.high_water:
            raise Refused("statement", "the command's sequence was used before")
        self.gateway.server_time = said["server_time"]
        return said

    def carry_out(self, stream, org):
        command = stream.expect_frame("command")
        said = self.verify_command(command, org)
        command_id = said["command_id"]
        print(f"command {said['kind']} {command_id}", flush=True)
        self.high_water = int(said["sequence"])
        received = pb.AckCode.ACK_CODE_RECEIVED
        stream.send(ack=pb.Ack(command_id=command_id, code=received))
        started_at = now()
        stream.send(state=pb.State(command_id=command_id))
        outcome, result = self.effect(said["kind"], json.loads(command.params))
        payload, signature = signed.sign(self.keys.identity, "receipt", {
            "agent": self.gateway.agent_id, "command_id": command_id,
            "params_sha256": said["params_sha256"], "outcome": outcome,
            "result_sha256": b64(sha256(result)), "policy_sha256": b64(sha256(POLICY)),
            "started_at": started_at, "ended_at": now(), "boot_id": boot_id(),
            "journal_id": self.journal_id,
        })  # fmt: skip
        if self.arguments.misbehave == "forge-receipt":
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        message = pb.CommandResult(
            command_id=command_id,
            outcome=outcome,
            payload=result,
            receipt=pb.SignedStatement(payload=payload, signature=signature),
        )
        for _ in range(2 if self.arguments.misbehave == "result-twice" else 1):
            stream.send(result=message)
            if self.arguments.misbehave == "forge-receipt":
                # Frames are answered in order: this heartbeat after the result, if that is.
                stream.send(heartbeat=pb.Heartbeat(sent_at=now()))
                stream.expect_frame("heartbeat_ack")
                raise Refused("receipt", "the server did not acknowledge the result")
            self.check_result_ack(stream.expect_frame("result_ack"), command_id, result)
            print("result acknowledged", flush=True)

    def effect(self, kind, params):
        """This agent has no collectors: it reports that, and succeeds in having done so."""
        if kind != "subsystem.run":
            return "rejected", json.dumps({"error": f"no such kind: {kind}"}).encode("utf-8")
        report = pb.UploadInventoryRequest(
            subsystem=params["subsystem"],
            captured_at=now(),
            error="the Python agent has no collectors",
            breaker="closed",
        )
        accepted = self.gateway.unary("UploadInventory", [report]).accepted_count
        expect("reports accepted", accepted, 1)
        return "succeeded", json.dumps({"subsystem": params["subsystem"]}).encode("utf-8")

    def check_result_ack(self, ack, command_id, result):
        key = self.gateway.command_key(ack.certificate)
        said = verify(key, "result-ack", ack.envelope)
        expect("acknowledgment: server", said["server"], self.gateway.pin)
        expect("acknowledgment: agent", said["agent"], self.gateway.agent_id)
        expect("acknowledgment: command", said["command_id"], command_id)
        expect("acknowledgment: result", said["result_sha256"], b64(sha256(result)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--server", required=True, help="http://HOST:PORT")
    parser.add_argument("--token", required=True, help="boot_…, with a pin or without")
    parser.add_argument("--name", required=True)
    parser.add_argument("--account", type=int, default=1)
    parser.add_argument("--commands", type=int, default=1, help="how many to wait for")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for everything")
    parser.add_argument("--public-url", help="origin in proofs, where it is not --server")
    parser.add_argument("--host-id", default=uuid.uuid4().hex, help="the host's machine id")
    parser.add_argument("--misbehave", choices=["forge-receipt", "result-twice"])
    try:
        Agent(parser.parse_args()).run()
    except grpc.RpcError as error:
        print(f"refused {code_of(error)}: {error.details()}", file=sys.stderr)
        return 1
    except Refused as refusal:
        print(f"refused {refusal.cause}: {refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
