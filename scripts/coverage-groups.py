"""Prints the line coverage of each group of sources, and fails when one is below its line.

Reads LCOV, the format that scripts/coverage writes. Generated code is left out, and so is what is
only there for tests: files called tests.rs or lying in a folder tests, and what stands below the
line `#[cfg(test)]` of a file.
"""

import pathlib
import re
import sys

# Percent of the lines of each group.
LEAST = 85.0

SERVER = "crates/server/src/"
AGENT = "crates/agent/src/"
# What each group holds. A folder counts with all that is in it. Every use case authorises, so what
# of the use cases is not authentication is authorization.
GROUPS = {
    "domain": ["crates/domain/src/"],
    "protocol": ["crates/wire/src/"],
    "authentication": [
        SERVER + "app/agent_keys.rs",
        SERVER + "app/authn.rs",
        SERVER + "app/authorities.rs",
        SERVER + "app/enrolment/",
        SERVER + "app/guesses.rs",
        SERVER + "app/handshake.rs",
        SERVER + "app/hasher.rs",
        SERVER + "app/keyring",
        SERVER + "app/limits.rs",
        SERVER + "app/login.rs",
        SERVER + "app/proofs.rs",
        SERVER + "app/rotation.rs",
        SERVER + "app/seal.rs",
        SERVER + "app/sessions.rs",
        SERVER + "app/user_sessions.rs",
        SERVER + "app/users.rs",
        SERVER + "http/extract.rs",
        SERVER + "rpc/call.rs",
        AGENT + "credentials.rs",
        AGENT + "engine/verify.rs",
        AGENT + "enrol.rs",
        AGENT + "keys.rs",
        AGENT + "session",
        AGENT + "transport/proof.rs",
        AGENT + "trust",
    ],
    "authorization": [
        "crates/domain/src/access",
        "crates/domain/src/policy.rs",
        SERVER + "app/",
        AGENT + "policy_file.rs",
    ],
}
GENERATED = "crates/wire/src/gen/"


def lines_of(lcov: pathlib.Path, root: pathlib.Path) -> dict[str, dict[int, int]]:
    """File, relative to the repository → line → how often it was reached."""
    files: dict[str, dict[int, int]] = {}
    counts: dict[int, int] = {}
    for line in lcov.read_text().splitlines():
        if line.startswith("SF:"):
            path = pathlib.Path(line[3:])
            name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
            counts = files.setdefault(name, {})
        elif line.startswith("DA:"):
            number, count = line[3:].split(",")[:2]
            counts[int(number)] = max(counts.get(int(number), 0), int(count))
    return files


def own_lines(name: str, root: pathlib.Path) -> int:
    """How many lines of a file are not there for tests only."""
    if name.endswith("/tests.rs") or "/tests/" in name or name.endswith("/testing.rs"):
        return 0
    text = (root / name).read_text().splitlines()
    for number, line in enumerate(text):
        if re.match(r"#\[cfg\(test\)\]", line) and "mod tests {" in text[number + 1]:
            return number
    return len(text)


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    files = lines_of(pathlib.Path(sys.argv[1]), root)
    below = []
    for group, places in GROUPS.items():
        reached = known = 0
        each = []
        for name, counts in sorted(files.items()):
            if name.startswith(GENERATED) or not any(name.startswith(p) for p in places):
                continue
            if group == "authorization" and any(map(name.startswith, GROUPS["authentication"])):
                continue
            last = own_lines(name, root)
            counted = [count for line, count in counts.items() if line <= last]
            hit = sum(count > 0 for count in counted)
            reached, known = reached + hit, known + len(counted)
            if counted:
                each.append((100 * hit / len(counted), len(counted) - hit, name))
        percent = 100 * reached / known if known else 0.0
        print(f"{group:16}{percent:6.1f} %  {reached} of {known} lines, at least {LEAST:.0f} %")
        for share, missed, name in sorted(each)[:5]:
            print(f"{'':18}{share:5.1f} %  {name}, {missed} lines not reached")
        if percent < LEAST:
            below.append(group)
    if below:
        print(f"below {LEAST:.0f} %: {', '.join(below)}", file=sys.stderr)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
