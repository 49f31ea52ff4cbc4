//! Command lines as people write them.

use super::*;
use clap::CommandFactory as _;

fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_sound() {
    Args::command().debug_assert();
}

#[test]
fn every_command_of_the_manual_parses() {
    for line in [
        "argosy login --server http://localhost:8080 --key-file admin.key",
        "argosy login --user ada --organisation acme --password-stdin",
        "argosy user passwd --password-stdin",
        "argosy user set-role ada operator",
        "argosy --profile prod status --output json",
        "argosy agents list --status pending --label env=prod -q web --limit 5",
        "argosy agent approve web-1 --yes",
        "argosy agent revoke web-1 --reason stolen -y",
        "argosy agent label web-1 env=prod old-",
        "argosy agent watch --every 5",
        "argosy inventory",
        "argosy inventory web-1 storage",
        "argosy command send web-1 subsystem.run --param subsystem=system --wait --wait-for 30s",
        "argosy command receipt 0195 --verify",
        "argosy command receipt --file r.json --verify",
        "argosy token create web --max-uses 10 --expires-in 7d --no-proof --label env=prod",
        "argosy resources list --type vpc",
        "argosy resources export --format csv --account 1",
        "argosy sync start --all-agents --wait",
        "argosy sync list --status failed",
        "argosy key create ci --role viewer --expires-in-days 90",
        "argosy audit list --since 24h",
        "argosy audit export audit.ndjson",
        "argosy audit verify",
        "argosy security events --kind clone_detected --agent web-01 --since 24h",
        "argosy security events --follow",
        "argosy audit verify audit.ndjson --pin p --against earlier.ndjson",
        // Base64url may begin with a dash.
        "argosy audit verify audit.ndjson --pin -p",
        "argosy command receipt 0195 --verify --identity-key -k",
        "argosy completions bash",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_exit_code_2() {
    for line in [
        "argosy agent approve web-1 --fingerprint e3b0",
        "argosy agent label web-1 nonsense",
        "argosy agent list --limit 0",
        "argosy command send web-1 subsystem.run --param subsystem",
        "argosy command receipt",
        "argosy key create ci",
        "argosy token revoke ../x",
        "argosy login --key argosy_a --key-file b",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn a_fingerprint_may_be_typed_with_spaces_or_dashes() {
    let words = ["argosy", "agent", "approve", "web-1", "--fingerprint"];
    for form in
        ["e3b0 c442 98fc 1c14 9afb f4c8 996f b924", "E3B0-C442-98FC-1C14-9AFB-F4C8-996F-B924"]
    {
        assert!(Args::try_parse_from(words.into_iter().chain([form])).is_ok(), "{form}");
    }
}

#[test]
fn a_typed_key_shows_in_no_error() {
    let parsed = parse("argosy login --key boot_verysecret").unwrap();
    assert!(!format!("{parsed:?}").contains("verysecret"));
    for line in ["argosy login --key argosy_verysecret --nonsense", "argosy --key verysecret"] {
        let shown = parse(line).unwrap_err().to_string();
        assert!(!shown.contains("verysecret"), "{shown}");
    }
}
