//! The registration request, read and checked before anything is looked up.

use argosy_domain::{
    agent::AgentIdentity,
    digest::Sha256,
    id::{AccountId, TokenId},
    review::KeyDelivery,
    security::SecurityKind,
    text,
    version::Version,
};
use argosy_wire::{
    bytes::{self, Bytes32, Fixed},
    problem::Code,
    rest::enrolment::{Register, RegisteredKey},
    sign::{Purpose, Signed, read as read_statement, verify_payload},
    statement::{EnrolmentStatement, ServerPin},
    token::{TokenProof, TokenString},
};

use crate::app::{
    error::{AppError, AppResult},
    keyring::Keyring,
};

/// What was presented as a token; `None` where the text only claims to be one. It is judged with
/// the same work as the others of its kind.
#[derive(Debug, Clone)]
pub enum Presented {
    /// The token itself.
    Raw(Option<TokenString>),
    /// A proof over the enrolment bytes.
    Proof(Option<TokenProof>),
}

impl Presented {
    /// Reads what stands in the request.
    pub fn read(text: &str) -> Self {
        if text.starts_with("bootproof_") {
            Self::Proof(TokenProof::parse(text).ok())
        } else {
            Self::Raw(TokenString::parse(text).ok())
        }
    }

    /// The token that is named.
    pub fn token_id(&self) -> Option<&TokenId> {
        match self {
            Self::Raw(token) => token.as_ref().map(|token| &token.id),
            Self::Proof(proof) => proof.as_ref().map(|proof| &proof.id),
        }
    }
}

/// A request that may be judged.
#[derive(Debug, Clone)]
pub struct Registration {
    /// What was presented as a token.
    pub presented: Presented,
    /// The name that is asked for.
    pub name: String,
    /// The account that is asked for.
    pub account: Option<AccountId>,
    /// Of the agent.
    pub version: Option<String>,
    /// As the host calls itself.
    pub hostname: Option<String>,
    /// Such as `linux-amd64`.
    pub platform: Option<String>,
    /// Who is shown the API key.
    pub key_delivery: KeyDelivery,
    /// The statement, verified under its own identity key.
    pub statement: Option<EnrolmentStatement>,
    /// The statement as it was signed.
    pub signed: Option<Signed>,
}

impl Registration {
    /// The identity that the statement makes.
    pub fn identity(&self) -> Option<AgentIdentity> {
        let (statement, signed) = (self.statement.as_ref()?, self.signed.as_ref()?);
        Some(AgentIdentity {
            identity_key: statement.identity_key.0,
            encryption_key: statement.encryption_key.0,
            fingerprint: EnrolmentStatement::fingerprint(&signed.payload),
            statement_sha256: Sha256::of(&signed.payload),
            machine_id: statement.machine_id.map(|id| id.to_string()),
        })
    }
}

/// Reads a request. A bad token is not noticed here: it is judged with the others.
pub fn read(request: &Register, keyring: &Keyring) -> AppResult<Registration> {
    let mut registration = Registration {
        presented: Presented::read(&request.bootstrap_token),
        name: text::name(&request.name).map_err(|error| AppError::field("name", error))?,
        account: request.account_id.map(AccountId),
        version: optional("version", request.version.as_ref())?,
        hostname: optional("hostname", request.hostname.as_ref())?,
        platform: optional("platform", request.platform.as_ref())?,
        key_delivery: match request.key_delivery.as_deref() {
            None => KeyDelivery::Direct,
            Some(text) => KeyDelivery::parse(text)
                .ok_or_else(|| AppError::field("key_delivery", "must be direct or operator"))?,
        },
        statement: None,
        signed: None,
    };
    match (&request.statement, &request.statement_signature) {
        (None, None) if request.keys.is_empty() => Ok(registration),
        (None, None) => Err(AppError::field("statement", "is missing: keys come with a statement")),
        (Some(payload), Some(signature)) => {
            let (statement, signed) = read_signed(payload, signature)?;
            same_as_request(request, &statement, &registration.presented, keyring)?;
            prove_device_key(request, &statement, &signed.payload)?;
            registration.account = Some(statement.account_id);
            registration.version = Some(statement.version.clone());
            registration.hostname = Some(statement.hostname.clone());
            registration.platform = Some(statement.platform.clone());
            registration.statement = Some(statement);
            registration.signed = Some(signed);
            Ok(registration)
        }
        (Some(_), None) => Err(AppError::field("statement_signature", "is missing")),
        (None, Some(_)) => Err(AppError::field("statement", "is missing")),
    }
}

fn optional(field: &'static str, value: Option<&String>) -> AppResult<Option<String>> {
    value
        .filter(|value| !value.is_empty())
        .map(|value| text::name(value).map_err(|error| AppError::field(field, error)))
        .transpose()
}

fn read_signed(payload: &str, signature: &str) -> AppResult<(EnrolmentStatement, Signed)> {
    let payload = bytes::decode(payload).map_err(|error| AppError::field("statement", error))?;
    let signature: Fixed<64> =
        signature.parse().map_err(|error| AppError::field("statement_signature", error))?;
    let statement: EnrolmentStatement =
        read_statement(&payload).map_err(|error| AppError::field("statement", error))?;
    verify_payload(&statement.identity_key, Purpose::Enrolment, &payload, &signature)
        .map_err(|error| AppError::because(Code::Unauthenticated, error.to_string()))?;
    Ok((statement, Signed { payload, signature }))
}

/// The field in which a statement names its server.
const SERVER_FIELD: &str = "statement.server";

/// What a refusal tells a guard, where it is more than a mistake.
pub(super) fn kind_of(error: &AppError) -> Option<SecurityKind> {
    let names_another = || error.fields.iter().any(|problem| problem.field == SERVER_FIELD);
    if error.code == Code::Unauthenticated {
        Some(SecurityKind::StatementForged)
    } else if error.code == Code::AccountMismatch {
        Some(SecurityKind::CrossTenant)
    } else {
        names_another().then_some(SecurityKind::WrongServer)
    }
}

/// Every field of the request that the statement also names must be equal.
fn same_as_request(
    request: &Register,
    statement: &EnrolmentStatement,
    presented: &Presented,
    keyring: &Keyring,
) -> AppResult<()> {
    let differs = |field: &str| Err(AppError::field(field, "differs from the signed statement"));
    match statement.server {
        ServerPin::Tofu => {}
        // Tokens that were minted before a succession carry the pin of their time.
        ServerPin::Pinned(pin) if keyring.answers_to(&pin) => {}
        ServerPin::Pinned(_) => {
            return Err(AppError::field(SERVER_FIELD, "names another server"));
        }
    }
    if presented.token_id().is_some_and(|id| *id != statement.token_id) {
        return differs("bootstrap_token");
    }
    let machine_id = statement.machine_id.map(|id| id.to_string());
    let texts = [
        ("name", Some(&request.name), Some(&statement.name)),
        ("version", request.version.as_ref(), Some(&statement.version)),
        ("hostname", request.hostname.as_ref(), Some(&statement.hostname)),
        ("platform", request.platform.as_ref(), Some(&statement.platform)),
        ("machine_id", request.machine_id.as_ref(), machine_id.as_ref()),
    ];
    for (field, asked, signed) in texts {
        if asked.is_some_and(|asked| Some(asked) != signed) {
            return differs(field);
        }
    }
    if request.account_id.is_some_and(|asked| AccountId(asked) != statement.account_id) {
        return differs("account_id");
    }
    for (i, key) in request.keys.iter().enumerate() {
        same_key(i, key, statement)?;
    }
    let checked = [("hostname", &statement.hostname), ("platform", &statement.platform)];
    for (field, value) in checked {
        text::name(value).map_err(|error| AppError::field(format!("statement.{field}"), error))?;
    }
    let version: Result<Version, _> = statement.version.parse();
    version.map_err(|error| AppError::field("statement.version", error))?;
    Ok(())
}

fn same_key(i: usize, key: &RegisteredKey, statement: &EnrolmentStatement) -> AppResult<()> {
    let field = format!("keys[{i}]");
    let signed = match key.usage.as_str() {
        "identity" => Some(statement.identity_key),
        "encryption" => Some(statement.encryption_key),
        "device-signing" => statement.device_signing_key,
        _ => {
            let problem = "must be identity, encryption or device-signing";
            return Err(AppError::field(format!("{field}.use"), problem));
        }
    };
    let public_key: Bytes32 = key
        .public_key
        .parse()
        .map_err(|error| AppError::field(format!("{field}.public_key"), error))?;
    if signed == Some(public_key) {
        Ok(())
    } else {
        Err(AppError::field(format!("{field}.public_key"), "differs from the signed statement"))
    }
}

/// A device key proves itself by a second signature over the same enrolment bytes.
fn prove_device_key(
    request: &Register,
    statement: &EnrolmentStatement,
    payload: &[u8],
) -> AppResult<()> {
    let Some(device_key) = statement.device_signing_key else { return Ok(()) };
    let missing = || AppError::field("keys", "must hold the device-signing key with its proof");
    let listed = request.keys.iter().find(|key| key.usage == "device-signing");
    let proof = listed.and_then(|key| key.proof.as_deref()).ok_or_else(missing)?;
    let proof: Fixed<64> = proof.parse().map_err(|error| AppError::field("keys", error))?;
    verify_payload(&device_key, Purpose::Enrolment, payload, &proof)
        .map_err(|error| AppError::because(Code::Unauthenticated, error.to_string()))
}
