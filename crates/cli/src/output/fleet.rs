//! Agents and the fleet for people.

use argosy_domain::digest::Fingerprint;
use argosy_wire::rest::{
    agents::{Agent, Review},
    system::FleetStatus,
};

use super::{
    Tone, View, clean,
    table::{Facts, Sheet, Word, maybe, plain, state},
    units::{age_of, count, moment},
};

/// What an agent that is too old may still do.
const OUTDATED: &str = "older than the server admits: heartbeats only, until it is updated";

/// `argosy agent list`; `filtered` tells an empty fleet from an empty selection.
pub fn agents(view: &View, agents: &[Agent], filtered: bool) -> String {
    if agents.is_empty() && filtered {
        return "No agent matches. See all with `argosy agent list`.".into();
    }
    if agents.is_empty() {
        return "No agents yet. Mint a token with `argosy token create NAME` and run the command \
                that it prints on a machine."
            .into();
    }
    let headings =
        ["NAME", "STATUS", "HEALTH", "CONNECTED", "VERSION", "PLATFORM", "LAST SEEN", "ID"];
    let mut sheet = Sheet::new(view, &headings);
    for agent in agents {
        sheet.row([
            plain(&agent.name),
            standing(agent),
            health(agent),
            connected(agent),
            version(agent),
            maybe(agent.platform.as_deref()),
            plain(age_of(agent.last_seen_at.as_deref(), view.now)),
            plain(&agent.agent_id),
        ]);
    }
    let waiting = agents.iter().filter(|agent| agent.status == "pending").count();
    if waiting == 0 {
        return sheet.finish();
    }
    let waiting = count(waiting as u64, "agent waits", "agents wait");
    format!("{}\n\n{waiting} for approval: `argosy agent approve NAME`", sheet.finish())
}

/// The version, with a mark where it is too old.
fn version(agent: &Agent) -> Word {
    match agent.version.as_deref() {
        Some(version) if agent.outdated => (format!("{} (outdated)", clean(version)), Tone::Warn),
        version => maybe(version),
    }
}

/// Where it stands, with a mark where it should be looked at.
fn standing(agent: &Agent) -> Word {
    match &agent.review {
        Some(_) => (format!("{} (review)", clean(&agent.status)), Tone::Warn),
        None => state(&agent.status),
    }
}

/// Health of an agent that was ever let in.
fn health(agent: &Agent) -> Word {
    match agent.status.as_str() {
        "approved" | "quarantined" => state(&agent.health),
        _ => plain("-"),
    }
}

fn connected(agent: &Agent) -> Word {
    if agent.connected { ("yes".into(), Tone::Good) } else { plain("no") }
}

/// `argosy agent show`
pub fn agent(view: &View, agent: &Agent) -> String {
    let now = view.now;
    let labels: Vec<String> = agent.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let when = |at: &Option<String>| at.as_deref().map(|at| moment(at, now));
    let approved = when(&agent.approved_at).map(|at| match &agent.approved_by {
        Some(by) => format!("{at} by {by}"),
        None => at,
    });
    let registered = match &agent.registered_from {
        Some(from) => format!("{} from {from}", moment(&agent.registered_at, now)),
        None => moment(&agent.registered_at, now),
    };
    let mut facts = Facts::new(view)
        .fact("id", plain(&agent.agent_id))
        .fact("status", state(&agent.status))
        .some("reason", agent.reason.clone())
        .fact("health", health(agent))
        .fact("connected", connected(agent))
        .fact("last seen", plain(when(&agent.last_seen_at).unwrap_or("never".into())))
        .some("host name", agent.hostname.clone())
        .some("platform", agent.platform.clone())
        .some("version", agent.version.clone())
        .some("outdated", agent.outdated.then(|| OUTDATED.to_owned()))
        .some("external id", agent.external_id.clone())
        .some("replaced by", agent.replaced_by.clone())
        .fact("account", plain(agent.account_id.to_string()))
        .fact("labels", plain(if labels.is_empty() { "-".into() } else { labels.join(", ") }))
        .fact("assurance", assurance(agent))
        .some("fingerprint", agent.fingerprint.as_deref().map(groups))
        .fact("machine", plain(if agent.machine_bound { "bound" } else { "not bound" }))
        .fact("registered", plain(registered))
        .some("approved", approved);
    for (subsystem, breaker) in &agent.breakers {
        if breaker != "closed" {
            let text = format!("{breaker} (runs fail; it is tried again by itself)");
            facts = facts.fact(&format!("breaker {}", clean(subsystem)), (text, Tone::of(breaker)));
        }
    }
    let mut text = format!("{}\n{}", view.heading(&clean(&agent.name)), facts.finish());
    if let Some(review) = &agent.review {
        text.push_str(&format!("\n\n{}", under_review(view, agent, review)));
    } else if let Some(next) = next_step(agent) {
        text.push_str(&format!("\n\n{next}"));
    }
    text
}

fn assurance(agent: &Agent) -> Word {
    match agent.assurance.as_str() {
        "proof_of_possession" => plain("proof_of_possession (it has proved keys of its own)"),
        "api_key" => ("api_key (a bearer secret only; it cannot sign)".into(), Tone::Warn),
        other => plain(other),
    }
}

fn next_step(agent: &Agent) -> Option<String> {
    let id = &agent.agent_id;
    match agent.status.as_str() {
        "pending" => Some(format!(
            "It waits for approval: compare the fingerprint with the machine's own, then `argosy \
             agent approve {id}`"
        )),
        "quarantined" => {
            Some(format!("Nothing is handed out to it. `argosy agent restore {id}` ends that."))
        }
        "approved" => Some(format!("See its machine with `argosy inventory {id}`")),
        _ => None,
    }
}

/// Why an agent is to be looked at, from where its identity was seen, and what can be done.
fn under_review(view: &View, agent: &Agent, review: &Review) -> String {
    let id = &agent.agent_id;
    let (what, next) = match review.reason.as_str() {
        "machine_mismatch" => (
            "another machine shows its identity",
            format!(
                "If the host was re-imaged or moved: `argosy agent rebind {id}`. If it is a copy, give \
                 the copy\nan empty state directory and a token of its own, then `argosy agent \
                 restore {id}`."
            ),
        ),
        "clone" => (
            "two bearers of one identity: a cloned machine, or a restored snapshot",
            format!(
                "Give every copy an empty state directory and a token of its own, then `argosy agent \
                 restore {id}`.\nAfter a restored snapshot there is one bearer only: restore it. If \
                 you do not know both\nplaces: `argosy agent revoke {id}`, and enrol the right one \
                 anew."
            ),
        ),
        "downgrade" => (
            "it came back with an older version",
            format!(
                "If that is meant: `argosy agent restore {id}`. Otherwise install the newer version \
                 again."
            ),
        ),
        other => (other, String::new()),
    };
    let heading = format!("Under review since {}: {what}", moment(&review.since, view.now));
    let mut sheet = Sheet::new(view, &["SEEN", "FROM", "MACHINE", "VERSION", "WHEN"]);
    for (n, origin) in review.origins.iter().enumerate() {
        sheet.row([
            plain(if n == 0 { "known" } else { "new" }),
            maybe(origin.source.as_deref()),
            maybe(origin.machine.as_deref()),
            maybe(origin.version.as_deref()),
            plain(moment(&origin.at, view.now)),
        ]);
    }
    format!("{}\n{}\n\n{next}", view.paint(&heading, Tone::Warn), sheet.finish())
}

/// What an operator is asked before an agent is bound to another machine.
pub fn rebind_question(view: &View, agent: &Agent) -> String {
    let seen = agent.review.as_ref().map(|review| under_review(view, agent, review));
    format!(
        "{}\n\nThe machine that was seen last becomes {}; the earlier one is shut out. Rebind it?",
        seen.unwrap_or_else(|| "No other machine has shown this agent's identity.".into()),
        clean(&agent.name)
    )
}

/// A key that is handed over by a person.
pub fn handed_over(key: &str) -> String {
    format!(
        "Its API key, shown this once:\n\n    {}\n\nOn the machine run `argosy-agent refresh` and \
         paste it there. Do not write it into a command line.",
        clean(key)
    )
}

/// A fingerprint in groups, however the server wrote it.
pub fn groups(text: &str) -> String {
    text.parse::<Fingerprint>().map_or_else(|_| clean(text), |fingerprint| fingerprint.to_string())
}

/// A fingerprint in two lines of four groups, for comparing by eye.
pub fn large(text: &str) -> String {
    let groups = groups(text);
    let words: Vec<&str> = groups.split(' ').collect();
    words.chunks(4).map(|four| format!("    {}", four.join("  "))).collect::<Vec<_>>().join("\n")
}

/// What an operator is asked before a machine is let in.
pub fn approval_question(view: &View, agent: &Agent) -> String {
    let from = agent.registered_from.as_deref().unwrap_or("an unknown address");
    let facts = Facts::new(view)
        .some("host name", agent.hostname.clone())
        .some("platform", agent.platform.clone())
        .fact(
            "registered",
            plain(format!("{} from {from}", moment(&agent.registered_at, view.now))),
        )
        .finish();
    let name = view.heading(&clean(&agent.name));
    let Some(fingerprint) = agent.fingerprint.as_deref() else {
        return format!(
            "{name} asks to join account {}.\n{facts}\n\nIt has no keys of its own: there is no \
             fingerprint to compare. Whoever has its key is this agent.\n\nLet it in?",
            agent.account_id
        );
    };
    format!(
        "{name} asks to join account {}.\n{facts}\n\nIts fingerprint:\n\n{}\n\nCompare it with the \
         one that the machine itself shows (`argosy-agent enroll` printed it,\n`argosy-agent \
         status` shows it again). One differing digit means another machine.\n\nAre all eight \
         groups equal?",
        agent.account_id,
        large(fingerprint),
    )
}

/// `argosy status`
pub fn status(view: &View, server: &str, status: &FleetStatus) -> String {
    let counts = |map: &std::collections::BTreeMap<String, u64>, order: &[&str]| {
        let known = order.iter().filter_map(|name| map.get(*name).map(|n| (*name, *n)));
        let other = map.iter().filter(|(name, _)| !order.contains(&name.as_str()));
        let all: Vec<String> = known
            .chain(other.map(|(name, n)| (name.as_str(), *n)))
            .filter(|(_, n)| *n > 0)
            .map(|(name, n)| format!("{n} {}", view.paint(&clean(name), Tone::of(name))))
            .collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    };
    let agents = counts(&status.agents, &["pending", "approved", "quarantined"]);
    let health = counts(&status.health, &["healthy", "stale", "offline"]);
    // Painted already, so these lines are not a table's.
    let lines = [
        ("agents", agents),
        ("health", health),
        ("connected", status.connected.to_string()),
        ("commands", format!("{} open", status.commands_open)),
        ("server", format!("argosyd {} on {}", clean(&status.version), clean(&status.database))),
        ("started", moment(&status.started_at, view.now)),
        ("thumbprint", clean(&status.server_thumbprint)),
    ];
    let mut text = view.heading(&clean(server));
    for (name, value) in lines {
        text.push_str(&format!("\n  {}  {value}", view.paint(&format!("{name:<10}"), Tone::Dim)));
    }
    let pending = status.agents.get("pending").copied().unwrap_or(0);
    if pending > 0 {
        let waiting = count(pending, "agent waits", "agents wait");
        text.push_str(&format!("\n\n{waiting} for approval: `argosy agent list --status pending`"));
    } else if status.agents.values().sum::<u64>() == 0 {
        text.push_str("\n\nNo agents yet: `argosy token create NAME`");
    }
    text
}

#[cfg(test)]
pub(crate) mod tests;
