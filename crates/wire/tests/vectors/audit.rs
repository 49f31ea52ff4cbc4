//! Exports of the audit log, whole and tampered with.

use argosy_domain::{
    chain::{ChainHead, ChainPosition, ChainedEntry},
    id::OrgId,
};
use argosy_wire::{
    audit::{AuditVerifier, InvalidExport, VerifiedExport},
    bytes::{Fixed, encode},
    rest::{
        audit::{
            EXPORT_FORMAT, ExportEnd, ExportHeader, ExportLine, ExportedCheckpoint, ExportedEntry,
        },
        enrolment::SignedJson,
    },
    sign::{Signed, thumbprint},
    statement::{AuditCheckpoint, KeyCertificate, Successor},
    succession::Cosigned,
};
use serde_json::{Value, json};

use crate::{
    keys::{SERVER_AUDIT, SERVER_COMMAND, SERVER_IDENTITY, SERVER_SUCCESSOR, STRANGER, VectorKey},
    statements::{HARD_TEXT, at, server},
    text,
};

const ENTRIES: u64 = 4;

fn org() -> OrgId {
    OrgId::default_org()
}

fn entry(n: u64) -> ChainedEntry {
    let hard = n == 2;
    ChainedEntry {
        action: "agent.approved".into(),
        actor: "user:ada".into(),
        at: at(i64::try_from(n).unwrap()).to_string(),
        detail: json!({ "fingerprint": if hard { HARD_TEXT } else { "e3b0" } }).to_string(),
        id: format!("019c1305-8c00-7000-8000-0000000000{n:02}"),
        org: org().to_string(),
        source: hard.then(|| "192.0.2.1".to_owned()),
        target: (n > 1).then(|| format!("agent:{n}")),
        trace_id: hard.then(|| "6f1d".to_owned()),
    }
}

fn head(count: u64) -> ChainHead {
    (1..=count).fold(ChainHead::genesis(&org()), |head, n| head.then(&entry(n)))
}

fn wire(signed: &Signed) -> SignedJson {
    SignedJson { payload: encode(&signed.payload), signature: signed.signature.to_string() }
}

fn certificate() -> KeyCertificate {
    KeyCertificate {
        server: server(),
        usage: "audit".into(),
        public_key: SERVER_AUDIT.public(),
        serial: 1,
        not_before: at(-3_600),
        not_after: at(86_400),
    }
}

fn statement(head: ChainHead) -> AuditCheckpoint {
    let (position, link) = (head.position, Fixed(head.link.0));
    AuditCheckpoint { server: server(), org: org(), position, link, time: at(10) }
}

fn signed_by(
    identity: &VectorKey,
    certificate: &KeyCertificate,
    audit: &VectorKey,
    checkpoint: &AuditCheckpoint,
) -> ExportLine {
    ExportLine::Checkpoint(ExportedCheckpoint {
        checkpoint: wire(&Signed::new(&audit.signer(), checkpoint)),
        certificate: wire(&Signed::new(&identity.signer(), certificate)),
    })
}

fn checkpoint(statement: &AuditCheckpoint) -> ExportLine {
    signed_by(&SERVER_IDENTITY, &certificate(), &SERVER_AUDIT, statement)
}

fn header() -> ExportHeader {
    ExportHeader {
        format: EXPORT_FORMAT.into(),
        server: server(),
        identity_key: SERVER_IDENTITY.public(),
        org: org().to_string(),
        exported_at: at(11).to_string(),
        successors: Vec::new(),
    }
}

/// The first half is signed under the identity that was succeeded, the second under its successor.
fn succeeded() -> Vec<ExportLine> {
    let identity_key = SERVER_SUCCESSOR.public();
    let successor = thumbprint(&identity_key);
    let link = Cosigned::new(
        &SERVER_IDENTITY.signer(),
        &SERVER_SUCCESSOR.signer(),
        &Successor {
            server: server(),
            identity_key: SERVER_IDENTITY.public(),
            successor: identity_key,
            serial: 2,
            time: at(9),
        },
    );
    let mut lines = whole();
    let successors = vec![link.to_json()];
    lines[0] = ExportLine::Header(ExportHeader {
        server: successor,
        identity_key,
        successors,
        ..header()
    });
    let certificate = KeyCertificate { server: successor, serial: 2, ..certificate() };
    let statement = AuditCheckpoint { server: successor, ..statement(head(ENTRIES)) };
    lines[6] = signed_by(&SERVER_SUCCESSOR, &certificate, &SERVER_AUDIT, &statement);
    lines
}

fn tampered_successions() -> Vec<Value> {
    let headed = |why: &str, line: u64, change: fn(&mut ExportHeader)| {
        refused(why, (line, None), |lines| {
            *lines = succeeded();
            let ExportLine::Header(header) = &mut lines[0] else { panic!("no header") };
            change(header);
        })
    };
    vec![
        headed("pinned identity, and no succession from it", 1, |h| h.successors.clear()),
        headed("a succession that the old key did not sign", 1, |h| {
            h.successors[0].signature = h.successors[0].successor_signature.clone();
        }),
        headed("a succession that the new key did not sign", 1, |h| {
            h.successors[0].successor_signature = h.successors[0].signature.clone();
        }),
        headed("a succession that stands twice", 1, |h| {
            h.successors.push(h.successors[0].clone());
        }),
        headed("a succession to another identity", 1, |h| {
            h.identity_key = STRANGER.public();
            h.server = thumbprint(&h.identity_key);
        }),
    ]
}

fn entry_line(n: u64) -> ExportLine {
    let head = head(n);
    let link = Fixed(head.link.0);
    ExportLine::Entry(ExportedEntry { position: head.position, link, entry: entry(n) })
}

fn end(position: u64) -> ExportLine {
    ExportLine::End(ExportEnd { position: ChainPosition(position) })
}

/// Line 1 header, 2 and 3 entries, 4 checkpoint, 5 and 6 entries, 7 checkpoint, 8 end.
fn whole() -> Vec<ExportLine> {
    let mut lines = vec![ExportLine::Header(header())];
    for n in 1..=ENTRIES {
        lines.push(entry_line(n));
        if n % 2 == 0 {
            lines.push(checkpoint(&statement(head(n))));
        }
    }
    lines.push(end(ENTRIES));
    lines
}

fn texts(lines: &[ExportLine]) -> Vec<String> {
    lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect()
}

fn accepted(why: &str, lines: &[ExportLine], count: u64, checkpoints: u64) -> Value {
    json!({
        "why": why,
        "pin": server().to_string(),
        "lines": texts(lines),
        "position": count,
        "link": Fixed(head(count).link.0).to_string(),
        "checkpoints": checkpoints,
    })
}

/// A tampered export, and the line and position at which it must be refused.
fn refused(
    why: &str,
    (line, position): (u64, Option<u64>),
    change: impl FnOnce(&mut Vec<ExportLine>),
) -> Value {
    let mut lines = whole();
    change(&mut lines);
    let pin = server().to_string();
    json!({ "why": why, "pin": pin, "lines": texts(&lines), "line": line, "position": position })
}

fn entry_of(line: &mut ExportLine) -> &mut ExportedEntry {
    match line {
        ExportLine::Entry(entry) => entry,
        ExportLine::Header(_) | ExportLine::Checkpoint(_) | ExportLine::End(_) => {
            panic!("not an entry")
        }
    }
}

/// Entries from the third on are other ones, chained as they should be.
fn rewrite_tail(lines: &mut Vec<ExportLine>) {
    let mut head = head(2);
    lines.truncate(4);
    for n in 3..=ENTRIES {
        let entry = ChainedEntry { actor: "user:eve".into(), ..entry(n) };
        head = head.then(&entry);
        let link = Fixed(head.link.0);
        lines.push(ExportLine::Entry(ExportedEntry { position: head.position, link, entry }));
    }
}

fn tampered_entries() -> Vec<Value> {
    vec![
        refused("an entry was changed", (3, Some(2)), |lines| {
            entry_of(&mut lines[2]).entry.actor = "user:eve".into();
        }),
        refused("an entry was changed and its link made to fit", (3, Some(2)), |lines| {
            let exported = entry_of(&mut lines[1]);
            exported.entry.actor = "user:eve".into();
            exported.link = Fixed(head(0).then(&exported.entry).link.0);
        }),
        refused("the same with the last entry before a checkpoint", (4, Some(2)), |lines| {
            let exported = entry_of(&mut lines[2]);
            exported.entry.actor = "user:eve".into();
            exported.link = Fixed(head(1).then(&exported.entry).link.0);
        }),
        refused("an entry was removed", (5, Some(3)), |lines| drop(lines.remove(4))),
        refused("two entries changed places", (5, Some(3)), |lines| lines.swap(4, 5)),
        refused("two entries changed places and numbers", (5, Some(3)), |lines| {
            let (third, fourth) = (entry(3), entry(4));
            entry_of(&mut lines[4]).entry = fourth;
            entry_of(&mut lines[5]).entry = third;
        }),
        refused("an entry stands twice", (3, Some(1)), |lines| lines.insert(2, entry_line(1))),
        refused("an entry of another organisation", (5, Some(3)), |lines| {
            let exported = entry_of(&mut lines[4]);
            exported.entry.org = "other".into();
            exported.link = Fixed(head(2).then(&exported.entry).link.0);
        }),
        refused("the last entry is missing", (6, Some(4)), |lines| drop(lines.drain(5..7))),
        refused("a rewritten tail without a checkpoint", (7, Some(3)), |lines| {
            rewrite_tail(lines);
            lines.push(end(ENTRIES));
        }),
        refused("a rewritten tail under the old checkpoint", (7, Some(4)), |lines| {
            let kept = lines[6].clone();
            rewrite_tail(lines);
            lines.extend([kept, end(ENTRIES)]);
        }),
    ]
}

fn tampered_signatures() -> Vec<Value> {
    let certified = |change: fn(&mut KeyCertificate)| {
        let mut certificate = certificate();
        change(&mut certificate);
        let checkpoint = statement(head(2));
        move |lines: &mut Vec<ExportLine>| {
            lines[3] = signed_by(&SERVER_IDENTITY, &certificate, &SERVER_AUDIT, &checkpoint);
        }
    };
    let stated = |change: fn(&mut AuditCheckpoint)| {
        let mut statement = statement(head(2));
        change(&mut statement);
        move |lines: &mut Vec<ExportLine>| lines[3] = checkpoint(&statement)
    };
    vec![
        refused("signed by a stranger", (4, None), |lines| {
            lines[3] = signed_by(&SERVER_IDENTITY, &certificate(), &STRANGER, &statement(head(2)));
        }),
        refused("certified by a stranger", (4, None), |lines| {
            lines[3] = signed_by(&STRANGER, &certificate(), &SERVER_AUDIT, &statement(head(2)));
        }),
        refused("signed by the command key", (4, None), |lines| {
            let certificate = KeyCertificate {
                usage: "command".into(),
                public_key: SERVER_COMMAND.public(),
                ..certificate()
            };
            let statement = statement(head(2));
            lines[3] = signed_by(&SERVER_IDENTITY, &certificate, &SERVER_COMMAND, &statement);
        }),
        refused(
            "certified for another server",
            (4, None),
            certified(|c| c.server = Fixed([9; 32])),
        ),
        refused("certificate not valid yet", (4, None), certified(|c| c.not_before = at(11))),
        refused("certificate not valid any more", (4, None), certified(|c| c.not_after = at(10))),
        refused("another organisation", (4, Some(2)), stated(|s| s.org = "other".parse().unwrap())),
        refused("another server", (4, Some(2)), stated(|s| s.server = Fixed([9; 32]))),
        refused("another link", (4, Some(2)), stated(|s| s.link = Fixed([9; 32]))),
        refused("a later position", (4, Some(3)), stated(|s| s.position = ChainPosition(3))),
    ]
}

fn tampered_files() -> Vec<Value> {
    let headed = |change: fn(&mut ExportHeader)| {
        let mut header = header();
        change(&mut header);
        move |lines: &mut Vec<ExportLine>| lines[0] = ExportLine::Header(header)
    };
    let stranger = |lines: &mut Vec<ExportLine>| {
        let identity_key = STRANGER.public();
        let server = thumbprint(&identity_key);
        lines[0] = ExportLine::Header(ExportHeader { server, identity_key, ..header() });
    };
    vec![
        refused("cut off", (7, None), |lines| lines.truncate(7)),
        refused("nothing at all", (0, None), Vec::clear),
        refused("without its header", (1, None), |lines| drop(lines.remove(0))),
        refused("two headers", (2, None), |lines| lines.insert(1, ExportLine::Header(header()))),
        refused("another format", (1, None), headed(|h| h.format = "argosy-audit-export/2".into())),
        refused(
            "another key under the thumbprint",
            (1, None),
            headed(|h| {
                h.identity_key = STRANGER.public();
            }),
        ),
        refused("another server than the pinned one", (1, None), stranger),
        refused("of another organisation's header", (2, Some(1)), headed(|h| h.org = "b".into())),
        refused("more after its end", (9, None), |lines| lines.push(end(ENTRIES))),
        refused("an end that is too early", (8, Some(4)), |lines| lines[7] = end(3)),
        refused("an end that is too late", (8, Some(5)), |lines| lines[7] = end(5)),
    ]
}

/// `audit-export.json`.
pub(crate) fn document() -> Value {
    let first_half: Vec<ExportLine> = whole().into_iter().take(4).chain([end(2)]).collect();
    let empty = [ExportLine::Header(header()), end(0)];
    let refused =
        [tampered_entries(), tampered_signatures(), tampered_successions(), tampered_files()]
            .concat();
    json!({
        "about": "Exports of the audit log, line by line. line and position: where a refused one \
                  is refused; position is null where no entry is to blame.",
        "genesis": Fixed(head(0).link.0).to_string(),
        "accepted": [
            accepted("whole", &whole(), ENTRIES, 2),
            accepted("as it was at its first checkpoint", &first_half, 2, 1),
            accepted("empty", &empty, 0, 0),
            accepted("across a succession of the identity", &succeeded(), ENTRIES, 2),
        ],
        "refused": refused,
    })
}

/// Reads the export of a case.
pub(crate) fn verify(case: &Value) -> Result<VerifiedExport, InvalidExport> {
    let mut verifier = AuditVerifier::new(Some(text(case, "pin").parse().unwrap()));
    for line in case["lines"].as_array().unwrap() {
        verifier.line(line.as_str().unwrap())?;
    }
    verifier.finish()
}
