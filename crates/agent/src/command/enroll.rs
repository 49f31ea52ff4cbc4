//! `argosy-agent enroll`: the conversation with the person who sets up a machine.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use argosy_wire::problem::Code;

use super::say;
use crate::{
    backoff::Backoff,
    cli::EnrollArgs,
    config::{AgentConfig, AgentSettings},
    credentials::{Credentials, Registered},
    deps::Deps,
    enrol::{Enrolled, Enrolment},
    error::AgentError,
    host,
    run::{Home, link_of},
    session::{Applicant, Place, Verdict, handshake, judge},
    transport::Link,
    trust::TrustedCallError,
};

/// Longest wait between two questions whether an operator has approved.
const APPROVAL_CEILING: Duration = Duration::from_secs(5);

/// What the server says of a registered agent.
enum Standing {
    Approved,
    Pending,
    /// Something is in the way.
    Unknown(TrustedCallError),
    /// The answer is that it will not have this agent.
    Refused(TrustedCallError),
}

/// Registers this machine, or says how it stands; waits for approval unless told otherwise.
pub(super) async fn enroll(
    settings: AgentSettings,
    deps: Deps,
    arguments: &EnrollArgs,
) -> Result<ExitCode, AgentError> {
    let config = settings.check()?;
    let home = Home::open(&config, &deps)?;
    let enrolment = Enrolment { dir: &home.dir, keys: &home.keys, config: &config, deps: &deps };
    let mut state = Credentials::load(&home.dir)?;
    if !arguments.start_over {
        match state {
            Credentials::NotEnrolled | Credentials::Enrolling(_) => {}
            Credentials::AwaitingKey(registered) => {
                say(&format!(
                    "This machine is registered as {} ({}); its key is not here yet.{}",
                    registered.name,
                    registered.agent_id,
                    by_hand(&config, &registered)
                ));
                return Ok(ExitCode::SUCCESS);
            }
            Credentials::Registered(registered) => {
                return again(&config, &home, &deps, registered, arguments).await;
            }
        }
    }
    // Known before anything is forgotten.
    let link = enrolment.link(&state)?;
    if arguments.start_over {
        state = enrolment.start_over(state)?;
    }
    let enrolled = enrolment.attempt(&link, state).await?;
    say(&introduction(&enrolled));
    if enrolled.awaits_key {
        say(&by_hand(&config, &enrolled.registered));
        return Ok(ExitCode::SUCCESS);
    }
    if enrolled.approved {
        say(&format!("\nApproved by its token. {}", start(&config.state_dir)));
        return Ok(ExitCode::SUCCESS);
    }
    let registered = &enrolled.registered;
    say(&format!(
        "\nCompare this fingerprint with the one that the server shows, then approve there:\n  \
         argosy agent approve {} --fingerprint \"{}\"",
        registered.agent_id, registered.fingerprint
    ));
    let place = Place::new(Arc::clone(&home.dir), enrolled.registered.clone());
    wait(&config, &home, &deps, &link, &place, arguments).await
}

/// A machine that is registered: how it stands.
async fn again(
    config: &AgentConfig,
    home: &Home,
    deps: &Deps,
    registered: Registered,
    arguments: &EnrollArgs,
) -> Result<ExitCode, AgentError> {
    let link = link_of(config, &registered)?;
    let place = Place::new(Arc::clone(&home.dir), registered);
    let registered = place.registered();
    match standing(home, deps, &link, &place).await? {
        Standing::Approved => {
            say(&format!(
                "This machine is enrolled as {} ({}) with {} and approved. {}",
                registered.name,
                registered.agent_id,
                link.url(),
                start(&config.state_dir)
            ));
            Ok(ExitCode::SUCCESS)
        }
        Standing::Pending => {
            say(&format!(
                "This machine is registered as {} ({}); it waits for approval.\n  fingerprint  {}",
                registered.name, registered.agent_id, registered.fingerprint
            ));
            wait(config, home, deps, &link, &place, arguments).await
        }
        Standing::Unknown(error) => Err(AgentError::Enrol(error.into())),
        // Not even with a token at hand: the refusal is not signed. `--start-over` is the way.
        Standing::Refused(error) => Err(AgentError::Refused(error)),
    }
}

async fn standing(
    home: &Home,
    deps: &Deps,
    link: &Link,
    place: &Place,
) -> Result<Standing, AgentError> {
    let registered = place.registered();
    let machine_id =
        registered.machine_id.and_then(|_| host::machine_id(&registered.server_thumbprint));
    let applicant = Applicant { registered: &registered, keys: &home.keys, machine_id };
    match handshake(link, &applicant, deps).await {
        Ok(opened) => {
            place.continued(opened.continuation, &opened.server).await?;
            Ok(Standing::Approved)
        }
        Err(error) => Ok(match judge(&error) {
            Verdict::Wait => Standing::Pending,
            Verdict::Retry => Standing::Unknown(error),
            Verdict::Doubt | Verdict::Refused => Standing::Refused(error),
        }),
    }
}

/// Waits until an operator has decided.
async fn wait(
    config: &AgentConfig,
    home: &Home,
    deps: &Deps,
    link: &Link,
    place: &Place,
    arguments: &EnrollArgs,
) -> Result<ExitCode, AgentError> {
    if arguments.no_wait {
        say(&format!("\nOnce it is approved: {}", start(&config.state_dir)));
        return Ok(ExitCode::SUCCESS);
    }
    say("\nWaiting for approval. Ctrl-C leaves; nothing is lost.");
    let mut patience = Backoff::up_to(Arc::clone(&deps.entropy), APPROVAL_CEILING);
    let mut told = false;
    loop {
        let asked = match standing(home, deps, link, place).await? {
            Standing::Approved => {
                say(&format!("Approved. {}", start(&config.state_dir)));
                return Ok(ExitCode::SUCCESS);
            }
            Standing::Pending => None,
            Standing::Refused(error) => return Err(AgentError::Refused(error)),
            Standing::Unknown(TrustedCallError::Distrust(error)) => {
                return Err(AgentError::Refused(error.into()));
            }
            Standing::Unknown(TrustedCallError::Call(error)) => {
                if !told && error.code() != Some(Code::RateLimited) {
                    say(&format!("{error}; still trying."));
                    told = true;
                }
                error.retry_after()
            }
        };
        tokio::time::sleep(patience.next_delay_after(asked)).await;
    }
}

fn introduction(enrolled: &Enrolled) -> String {
    let Enrolled { registered, first_contact, .. } = enrolled;
    let trust = if *first_contact { " (trusted at first contact: compare it)" } else { "" };
    format!(
        "Registered with {}\n  server pin   {}{trust}\n  agent        {}\n  id           {}\n  \
         fingerprint  {}",
        registered.server_url,
        registered.server_thumbprint,
        registered.name,
        registered.agent_id,
        registered.fingerprint
    )
}

fn start(state_dir: &Path) -> String {
    format!("Start the agent: {}", host::invocation(state_dir, "run"))
}

/// What is to be done where an operator brings the key.
fn by_hand(config: &AgentConfig, registered: &Registered) -> String {
    format!(
        "\n1. Compare this fingerprint with the one that the server shows, then approve there:\n     \
         argosy agent approve {} --fingerprint \"{}\"\n2. The approval shows the key of this machine, \
         once. Bring it here and run\n     {}\n   It asks for the key. Nothing is lost meanwhile.",
        registered.agent_id,
        registered.fingerprint,
        host::invocation(&config.state_dir, "refresh")
    )
}
