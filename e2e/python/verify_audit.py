"""Verifies an exported audit log without any code of Argosy: see signed.py.

    python e2e/python/verify_audit.py FILE [--pin PIN]

PIN is the thumbprint of the server's identity key, as agents pin it. Without one, the thumbprint
that the file names is shown for somebody to compare. The exit code is 1 when the log is refused;
what is wrong is named with its line and, where an entry is to blame, its position.
"""

import argparse
import json
import sys

import signed
from signed import Refused, b64, sha256, unb64

FORMAT = "argosy-audit-export/1"
LINE_BYTES_MAX = 1024 * 1024

LINES = {
    "header": {"format", "server", "identity_key", "org", "exported_at"},
    "entry": {"position", "link", "entry"},
    "checkpoint": {"checkpoint", "certificate"},
    "end": {"position"},
}
OPTIONAL = {"header": {"successors"}}
ENTRY = {"action", "actor", "at", "detail", "id", "org"}
ENTRY_OPTIONAL = {"source", "target", "trace_id"}


class RefusedExport(Refused):
    """The log is not what was chained and signed. `position` is None where no entry is to blame."""

    def __init__(self, line, why, position=None):
        super().__init__("export", f"line {line}: {why}")
        self.line, self.position = line, position


def genesis(org):
    """The link before the first entry."""
    return sha256(b"argosy/audit-chain/v1/" + org.encode("utf-8"))


def following(link, entry):
    """The link of an entry after the link before it."""
    return sha256(link + signed.canonical(entry))


def read_line(text):
    """The kind and the fields of a line."""

    def unique(pairs):
        if len({name for name, _ in pairs}) != len(pairs):
            raise Refused("export", "a field stands twice")
        return dict(pairs)

    try:
        fields = json.loads(text, object_pairs_hook=unique)
        kind = fields.pop("type")
    except (ValueError, KeyError, AttributeError):
        raise Refused("export", "not a line of an audit export") from None
    if not isinstance(kind, str) or fields.keys() - OPTIONAL.get(kind, set()) != LINES.get(kind):
        raise Refused("export", "not a line of an audit export")
    if "position" in fields and type(fields["position"]) is not int:
        raise Refused("export", "a position is a number")
    return kind, fields


def read_signed(json_object):
    if not isinstance(json_object, dict) or json_object.keys() != {"payload", "signature"}:
        raise Refused("export", "not a signed statement")
    return unb64(json_object["payload"]), unb64(json_object["signature"], 64)


def read_succession(json_object):
    """Who is succeeded by whom, verified by both keys that the statement names, and its serial."""
    names = {"payload", "signature", "successor_signature"}
    if not isinstance(json_object, dict) or json_object.keys() != names:
        raise Refused("export", "not a succession")
    payload = unb64(json_object["payload"])
    named = signed.read_statement("successor", payload)
    old, new = unb64(named["identity_key"], 32), unb64(named["successor"], 32)
    signed.verify(old, "successor", payload, unb64(json_object["signature"], 64))
    signed.verify(new, "successor", payload, unb64(json_object["successor_signature"], 64))
    if signed.pin(old) != named["server"]:
        raise Refused("export", "a succession names a key that is not the server's")
    return old, new, int(named["serial"])


class Log:
    """An export as far as it was read."""

    def __init__(self, pin=None):
        self.pin = pin
        self.line = self.position = self.signed_position = self.checkpoints = 0
        self.org = self.server = self.link = self.signed_at = None
        self.identities = {}
        self.ended = False

    def refuse(self, why, position=None):
        raise RefusedExport(self.line, why, position)

    def take(self, text):
        self.line += 1
        try:
            if len(text) > LINE_BYTES_MAX:
                self.refuse("the line is too long")
            kind, fields = read_line(text)
            if self.ended:
                self.refuse("something stands after the end")
            if (kind == "header") != (self.org is None):
                self.refuse("an export begins with its one header")
            getattr(self, kind)(**fields)
        except RefusedExport:
            raise
        except (Refused, TypeError, AttributeError, UnicodeEncodeError) as error:
            self.refuse(str(error))

    def finish(self):
        if not self.ended:
            self.refuse("the export is cut off: its end is missing")
        return self

    # --- lines ----------------------------------------------------------------------------------

    def header(self, format, server, identity_key, org, exported_at, successors=()):
        if format != FORMAT:
            self.refuse(f"not in the format {FORMAT}")
        identity_key = unb64(identity_key, 32)
        if signed.pin(identity_key) != server:
            self.refuse("the identity key does not have the thumbprint that the header names")
        self.identities = {server: identity_key}
        last = last_serial = None
        for old, new, serial in map(read_succession, successors):
            if last not in (None, old) or (last_serial is not None and serial <= last_serial):
                self.refuse("the successions in the header are no chain")
            self.identities[signed.pin(old)] = old
            last, last_serial = new, serial
        if last not in (None, identity_key):
            self.refuse("the successions in the header do not lead to its identity")
        if self.pin is not None and self.pin not in self.identities:
            self.refuse(f"the export is of the server {server}, not of the pinned one")
        self.org, self.server, self.link = org, server, genesis(org)

    def entry(self, position, link, entry):
        names = entry.keys()
        if not ENTRY <= names <= ENTRY | ENTRY_OPTIONAL:
            self.refuse("not an audit entry")
        if position > self.position + 1:
            wanted = self.position + 1
            self.refuse(f"the entry at position {wanted} is missing", wanted)
        if position <= self.position:
            self.refuse(f"an entry at position {position} stands out of order", position)
        if entry["org"] != self.org:
            self.refuse(f"the entry at position {position} is of another organisation", position)
        if b64(following(self.link, entry)) != link:
            self.refuse(
                f"the entry at position {position} ({entry['id']}) is not the one that was "
                "chained there",
                position,
            )
        self.position, self.link = position, unb64(link, 32)

    def checkpoint(self, checkpoint, certificate):
        payload, signature = read_signed(certificate)
        server = signed.read_statement("key-certificate", payload)["server"]
        if server not in self.identities:
            self.refuse("the certificate is not one of an audit key of this server")
        key = signed.verify(self.identities[server], "key-certificate", payload, signature)
        if key["use"] != "audit":
            self.refuse("the certificate is not one of an audit key of this server")
        public = unb64(key["public_key"], 32)
        stated = signed.verify(public, "audit-checkpoint", *read_signed(checkpoint))
        if not key["not_before"] <= stated["time"] < key["not_after"]:
            self.refuse("the certificate of the audit key was not valid when it signed")
        here = {
            "server": server, "org": self.org, "position": str(self.position),
            "link": b64(self.link), "time": stated["time"],
        }  # fmt: skip
        if stated != here:
            position = int(stated["position"])
            self.refuse(f"the checkpoint at position {position} does not fit the chain", position)
        self.checkpoints += 1
        self.signed_position, self.signed_at = self.position, stated["time"]

    def end(self, position):
        if position > self.position:
            missing = self.position + 1
            self.refuse(f"the entry at position {missing} is missing", missing)
        if position < self.position:
            self.refuse("an entry stands after the end", self.position)
        if self.signed_position < position:
            first = self.signed_position + 1
            self.refuse(f"no checkpoint covers the entries from position {first} on", first)
        self.ended = True


def verify(lines, pin=None):
    """Reads an export to its end; what it proved to be."""
    log = Log(pin)
    for line in lines:
        log.take(line)
    return log.finish()


def main():
    parser = argparse.ArgumentParser(description="Verify an exported audit log.")
    parser.add_argument("file")
    parser.add_argument("--pin", help="thumbprint of the server's identity key")
    # A pin may begin with a dash, which argparse takes for an option unless it is joined.
    arguments = sys.argv[1:]
    if "--pin" in arguments[:-1]:
        at = arguments.index("--pin")
        arguments[at : at + 2] = ["=".join(arguments[at : at + 2])]
    options = parser.parse_args(arguments)
    try:
        with open(options.file, encoding="utf-8", newline="\n") as file:
            log = verify(file, options.pin)
    except (OSError, ValueError, Refused) as error:
        print(f"REFUSED {error}", file=sys.stderr)
        return 1
    print(f"server {log.server}{'' if options.pin else ' (not pinned: compare it)'}")
    print(f"organisation {log.org}: {log.position} entries, {log.checkpoints} checkpoints")
    if log.signed_at:
        print(f"signed up to position {log.signed_position} at {log.signed_at}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
