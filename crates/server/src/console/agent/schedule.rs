//! When the subsystems of an agent run: what is in force, and the form that changes it.

use argosy_domain::{
    access::Permission,
    agent::Assurance,
    id::AgentId,
    subsystem::Subsystem,
    time::{format_span, parse_span},
};
use argosy_wire::rest::subsystems::UpdateSubsystem;
use askama::Template;
use axum::http::StatusCode;

use crate::{
    app::{
        error::{AppError, AppResult},
        subsystems::AgentSubsystems,
    },
    console::{
        answer::{Shown, go, mendable, page_as},
        fields::Fields,
        frame::Frame,
        show::{self, Badge, When, when},
        visit::{Id, Sent, Visit},
    },
};

/// Changes of a breaker that a page names.
const HISTORY_ROWS: usize = 5;

/// A change of a breaker.
pub(super) struct Turn {
    pub(super) at: When,
    pub(super) message: String,
}

/// A subsystem of an agent.
pub(super) struct Scheduled {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// When it runs, in words.
    pub(super) runs: Badge,
    pub(super) enabled: bool,
    pub(super) auto_run: bool,
    pub(super) interval: String,
    pub(super) timeout: String,
    pub(super) breaker: Badge,
    pub(super) rests: bool,
    pub(super) last_run: When,
    pub(super) last_error: String,
    pub(super) history: Vec<Turn>,
    /// Makes a form that is sent twice one command.
    pub(super) once: String,
    /// What was wrong with what was typed.
    pub(super) problem: String,
}

/// What a subsystem reports, in words.
fn about(subsystem: Subsystem) -> &'static str {
    match subsystem {
        Subsystem::System => "Processor, memory, load, processes, kernel",
        Subsystem::Storage => "File systems and how full they are",
        Subsystem::Updates => "Pending packages of the operating system",
        Subsystem::Containers => "What Docker or Podman runs: containers, health, ports, images",
    }
}

/// The subsystems as pages show them.
pub(super) fn scheduled(visit: &Visit, known: &AgentSubsystems) -> Vec<Scheduled> {
    let now = visit.app.now();
    let once = visit.app.trace_id();
    let row = |row: &crate::app::records::SubsystemRecord| {
        let name = row.subsystem.as_str();
        let of_this = format!("the breaker of {name} ");
        let history = known.history.iter().filter(|event| event.message.starts_with(&of_this));
        let turn = |event: &crate::app::records::AgentEventRecord| Turn {
            at: when(event.at, now),
            message: event.message.trim_start_matches("the ").to_owned(),
        };
        let interval = format_span(row.schedule.interval);
        Scheduled {
            name,
            about: about(row.subsystem),
            runs: match (row.schedule.enabled, row.schedule.auto_run) {
                (false, _) => Badge::new("off", "off"),
                (true, false) => Badge::new("info", "on command only"),
                (true, true) => Badge::new("ok", format!("every {interval}")),
            },
            enabled: row.schedule.enabled,
            auto_run: row.schedule.auto_run,
            interval,
            timeout: format_span(row.schedule.timeout),
            breaker: show::breaker(&row.breaker),
            rests: row.breaker != "closed",
            last_run: when(row.last_run_at, now),
            last_error: row.last_error.clone().unwrap_or_default(),
            history: history.take(HISTORY_ROWS).map(turn).collect(),
            once: format!("{once}-{name}"),
            problem: String::new(),
        }
    };
    known.subsystems.iter().map(row).collect()
}

/// Whether the agent has what the server wants, where that is worth a word.
pub(super) fn standing(known: &AgentSubsystems) -> String {
    let configuration = &known.configuration;
    match &configuration.refused {
        Some(why) => format!("The agent does not take its configuration: {why}."),
        None if configuration.applied < configuration.wanted => {
            "The agent has yet to hear of the last change.".to_owned()
        }
        None => String::new(),
    }
}

#[derive(Template)]
#[template(path = "schedule.html")]
struct SchedulePage {
    frame: Frame,
    id: AgentId,
    name: String,
    standing: String,
    keyless: bool,
    may_command: bool,
    subsystems: Vec<Scheduled>,
}

/// What was typed for a subsystem, and what was wrong with it.
struct Typed<'a> {
    subsystem: &'a str,
    form: &'a Fields,
    problem: String,
}

async fn schedule_page(
    visit: &Visit,
    id: &AgentId,
    status: StatusCode,
    typed: Option<Typed<'_>>,
) -> Shown {
    let agent = visit.app.show_agent(&visit.caller, id).await?.view.agent;
    visit.must(Permission::SubsystemsUpdate)?;
    let known = visit.app.show_subsystems(&visit.caller, id).await?;
    let mut subsystems = scheduled(visit, &known);
    let named = |t: &Typed<'_>| subsystems.iter().position(|row| row.name == t.subsystem);
    if let Some((at, typed)) = typed.and_then(|typed| Some((named(&typed)?, typed))) {
        let row = &mut subsystems[at];
        row.enabled = typed.form.has("enabled");
        row.auto_run = typed.form.has("auto_run");
        typed.form.text("interval").clone_into(&mut row.interval);
        typed.form.text("timeout").clone_into(&mut row.timeout);
        row.problem = typed.problem;
    }
    let page = SchedulePage {
        frame: visit.frame(&format!("Schedule of {}", agent.name), "agents").await,
        id: id.clone(),
        standing: standing(&known),
        keyless: agent.assurance() == Assurance::ApiKey,
        may_command: visit.may(Permission::CommandsCreate),
        subsystems,
        name: agent.name,
    };
    page_as(status, &page)
}

/// The schedules, to change.
pub(in crate::console) async fn form(visit: Visit, Id(id): Id<AgentId>) -> Shown {
    schedule_page(&visit, &id, StatusCode::OK, None).await
}

fn seconds(form: &Fields, field: &'static str) -> AppResult<Option<u64>> {
    let span = parse_span(form.text(field).trim());
    span.map(|span| Some(span.as_secs())).map_err(|error| AppError::field(field, error))
}

fn wanted(form: &Fields) -> AppResult<(Subsystem, UpdateSubsystem)> {
    let subsystem = Subsystem::parse(form.text("subsystem"));
    let subsystem = subsystem.map_err(|_| AppError::not_found("subsystem"))?;
    let change = UpdateSubsystem {
        enabled: Some(form.has("enabled")),
        auto_run: Some(form.has("auto_run")),
        interval_s: seconds(form, "interval")?,
        timeout_s: seconds(form, "timeout")?,
    };
    Ok((subsystem, change))
}

/// Changes the schedule of one subsystem.
pub(in crate::console) async fn change(Id(id): Id<AgentId>, Sent { visit, form }: Sent) -> Shown {
    let Visit { app, caller, origin, .. } = &visit;
    let changed = match wanted(&form) {
        Ok((subsystem, change)) => {
            app.update_subsystem(caller, origin, (&id, subsystem), &change).await
        }
        Err(error) => Err(error),
    };
    match changed {
        Ok(_) => go(&format!("/console/agents/{id}/schedule?done=scheduled")),
        Err(error) => {
            let (status, problem) = mendable(error)?;
            let subsystem = form.text("subsystem");
            let typed = Typed { subsystem, form: &form, problem };
            schedule_page(&visit, &id, status, Some(typed)).await
        }
    }
}
