//! Fan-outs for people.

use argosy_wire::rest::fan_outs::FanOut;

use super::{
    View, clean,
    table::{Facts, Sheet, plain, state},
    units::{age_of, moment},
};

/// How its agents stand, in one line.
pub fn counts(fan_out: &FanOut) -> String {
    let counts = fan_out.agents.iter().map(|(state, n)| format!("{n} {}", clean(state)));
    format!("{} agents: {}", fan_out.total, counts.collect::<Vec<_>>().join(", "))
}

/// One fan-out.
pub fn fan_out(view: &View, fan_out: &FanOut) -> String {
    let now = view.now;
    let errors = match fan_out.max_errors {
        Some(most) => format!("{} (halts above {most})", fan_out.errors),
        None => fan_out.errors.to_string(),
    };
    let facts = Facts::new(view)
        .fact("state", state(&fan_out.state))
        .fact("progress", plain(counts(fan_out)))
        .fact("errors", plain(errors))
        .fact("at once", plain(fan_out.concurrency.to_string()))
        .fact("selector", plain(clean(&serde_json::json!(fan_out.selector).to_string())))
        .fact("params", plain(clean(&fan_out.params.to_string())))
        .fact("by", plain(&fan_out.created_by))
        .fact("created", plain(moment(&fan_out.created_at, now)))
        .fact("begun by", plain(moment(&fan_out.expires_at, now)))
        .some("ended", fan_out.ended_at.as_deref().map(|at| moment(at, now)))
        .finish();
    let title = format!("{} {}", clean(&fan_out.kind), clean(&fan_out.id));
    format!("{}\n{facts}", view.heading(&title))
}

/// Fan-outs in a table.
pub fn fan_outs(view: &View, fan_outs: &[FanOut]) -> String {
    if fan_outs.is_empty() {
        return "No fan-outs. Give an order to many agents with `argosy command fan-out \
                subsystem.run --param subsystem=system --all`."
            .into();
    }
    let mut sheet = Sheet::new(view, &["CREATED", "STATE", "KIND", "PROGRESS", "BY", "ID"]);
    for fan_out in fan_outs {
        sheet.row([
            plain(age_of(Some(&fan_out.created_at), view.now)),
            state(&fan_out.state),
            plain(&fan_out.kind),
            plain(counts(fan_out)),
            plain(&fan_out.created_by),
            plain(&fan_out.id),
        ]);
    }
    sheet.finish()
}
