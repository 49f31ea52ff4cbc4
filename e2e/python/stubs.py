"""Python types of the contract, generated from proto/ when this module is first imported."""

import atexit
import importlib
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"
GATEWAY = "agentgateway/v1/agentgateway.proto"


def generate():
    """Generates into a folder that goes away with the process; returns (messages, services)."""
    out = tempfile.mkdtemp(prefix="argosy-stubs-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    bundled = Path(grpc_tools.__file__).parent / "_proto"
    arguments = [f"-I{PROTO}", f"-I{bundled}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(["protoc", *arguments, GATEWAY]) != 0:
        raise RuntimeError(f"protoc could not compile {GATEWAY}")
    sys.path.insert(0, out)
    names = ("agentgateway.v1.agentgateway_pb2", "agentgateway.v1.agentgateway_pb2_grpc")
    return tuple(importlib.import_module(name) for name in names)


pb, rpc = generate()
