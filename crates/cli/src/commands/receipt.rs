//! `argosy command receipt`: an agent's signed word, checked without trusting the server that
//! hands it over.

use std::{fs, path::PathBuf};

use argosy_domain::{digest::Sha256, id::CommandId};
use argosy_wire::{
    bytes::{self, Bytes32},
    rest::commands::Receipt,
    sign::{self, Signed},
    statement::{ReceiptStatement, digest},
};

use super::Context;
use crate::{error::CliError, output::commands};

/// Where a receipt comes from.
#[derive(Debug)]
pub enum From {
    /// The server keeps it.
    Server(CommandId),
    /// It was kept in a file.
    File(PathBuf),
}

/// A receipt that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the agent says.
    pub statement: ReceiptStatement,
    /// The key that is said to have signed it.
    pub identity_key: Bytes32,
}

fn bad(what: &str) -> impl Fn(bytes::InvalidBytes) -> CliError {
    move |error| CliError::Receipt(format!("{what} {error}"))
}

/// Reads the statement without checking who signed it.
pub fn read(receipt: &Receipt) -> Result<Verified, CliError> {
    let payload = bytes::decode(&receipt.receipt.payload).map_err(bad("the payload"))?;
    let statement = sign::read(&payload).map_err(|error| CliError::Receipt(error.to_string()))?;
    let identity_key = receipt.identity_key.parse().map_err(bad("the identity key"))?;
    Ok(Verified { statement, identity_key })
}

/// Checks that the identity key signed these bytes, that they speak of this command of this agent,
/// and that the result is the one that was signed. `expected_key` is the key as the reader knows
/// it; without it, the key is the server's word.
pub fn verify(receipt: &Receipt, expected_key: Option<&Bytes32>) -> Result<Verified, CliError> {
    let refuse = |why: &str| Err(CliError::Receipt(why.to_owned()));
    let identity_key: Bytes32 = receipt.identity_key.parse().map_err(bad("the identity key"))?;
    if expected_key.is_some_and(|expected| *expected != identity_key) {
        return refuse("it is signed with another identity key than the one you gave");
    }
    let signed = Signed {
        payload: bytes::decode(&receipt.receipt.payload).map_err(bad("the payload"))?,
        signature: receipt.receipt.signature.parse().map_err(bad("the signature"))?,
    };
    let statement: ReceiptStatement =
        signed.verify(&identity_key).map_err(|error| CliError::Receipt(error.to_string()))?;
    if statement.command_id.as_str() != receipt.command_id {
        return refuse("it speaks of another command");
    }
    if statement.agent.as_str() != receipt.agent_id {
        return refuse("it speaks of another agent");
    }
    let result = bytes::decode(&receipt.result).map_err(bad("the result"))?;
    if digest(Sha256::of(&result)) != statement.result_sha256 {
        return refuse("the result is not the one that the agent signed");
    }
    Ok(Verified { statement, identity_key })
}

/// Shows a receipt, verified if asked to.
pub async fn show(
    context: &Context<'_>,
    from: From,
    check: bool,
    identity_key: Option<&str>,
) -> Result<(), CliError> {
    let expected: Option<Bytes32> = identity_key.map(str::parse).transpose().map_err(|error| {
        CliError::usage(format!("--identity-key {error}"), "as an earlier receipt shows it")
    })?;
    let receipt: Receipt = match from {
        From::Server(id) => {
            let path = format!("/api/v1/commands/{id}/receipt");
            let receipt = context.client.get::<Receipt>(&path, &[]).await;
            let receipt = receipt.map_err(|error| no_receipt(error, &id))?;
            if receipt.command_id != id.as_str() {
                return Err(CliError::Receipt("the server sent that of another command".into()));
            }
            receipt
        }
        From::File(path) => load(&path)?,
    };
    let shown = if check { verify(&receipt, expected.as_ref())? } else { read(&receipt)? };
    context.printer.show(&receipt, |view| commands::receipt(view, &shown, check))
}

fn no_receipt(error: CliError, id: &CommandId) -> CliError {
    if !error.is_not_found() {
        return error;
    }
    CliError::Missing {
        message: format!("there is no receipt of command {id}"),
        hint: format!(
            "`argosy command show {id}` says whether it has ended; agents without keys sign nothing"
        ),
    }
}

fn load(path: &PathBuf) -> Result<Receipt, CliError> {
    let text = fs::read(path).map_err(|error| CliError::file(path, error))?;
    serde_json::from_slice(&text).map_err(|error| CliError::file(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_wire::{bytes::Fixed, rest::enrolment::SignedJson};
    use ed25519_dalek::SigningKey;

    fn receipt() -> Receipt {
        let key = SigningKey::from_bytes(&[7; 32]);
        let result = br#"{"ok":true}"#;
        let statement = ReceiptStatement {
            agent: "a-1".parse().unwrap(),
            command_id: "c-1".parse().unwrap(),
            params_sha256: Fixed([1; 32]),
            outcome: "succeeded".into(),
            result_sha256: digest(Sha256::of(result)),
            policy_sha256: Fixed([2; 32]),
            started_at: None,
            ended_at: "2026-11-22T12:00:00Z".parse().unwrap(),
            boot_id: "b".into(),
            journal_id: "j-1".parse().unwrap(),
        };
        let signed = Signed::new(&key, &statement);
        Receipt {
            command_id: "c-1".into(),
            agent_id: "a-1".into(),
            identity_key: Fixed(key.verifying_key().to_bytes()).to_string(),
            receipt: SignedJson {
                payload: bytes::encode(&signed.payload),
                signature: signed.signature.to_string(),
            },
            result: bytes::encode(result),
        }
    }

    fn why(receipt: &Receipt) -> String {
        verify(receipt, None).unwrap_err().to_string()
    }

    #[test]
    fn a_true_receipt_verifies() {
        let verified = verify(&receipt(), None).unwrap();
        assert_eq!(verified.statement.outcome, "succeeded");
        assert!(verify(&receipt(), Some(&verified.identity_key)).is_ok());
    }

    #[test]
    fn a_changed_result_is_noticed() {
        let changed = Receipt { result: bytes::encode(br#"{"ok":false}"#), ..receipt() };
        assert!(why(&changed).contains("the result is not the one"), "{}", why(&changed));
    }

    #[test]
    fn a_receipt_of_something_else_is_noticed() {
        let command = Receipt { command_id: "c-2".into(), ..receipt() };
        assert!(why(&command).contains("another command"));
        let agent = Receipt { agent_id: "a-2".into(), ..receipt() };
        assert!(why(&agent).contains("another agent"));
    }

    #[test]
    fn another_key_or_changed_bytes_do_not_verify() {
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
        let swapped = Receipt { identity_key: Fixed(other).to_string(), ..receipt() };
        assert!(why(&swapped).contains("signature"));
        let expected = Fixed(other);
        let error = verify(&receipt(), Some(&expected)).unwrap_err().to_string();
        assert!(error.contains("another identity key"), "{error}");
        let mut changed = receipt();
        let payload = bytes::decode(&changed.receipt.payload).unwrap();
        let text = String::from_utf8(payload).unwrap().replace("succeeded", "rejected");
        changed.receipt.payload = bytes::encode(text.as_bytes());
        assert!(why(&changed).contains("signature"));
    }
}
