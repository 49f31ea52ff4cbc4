//! Resources, and the runs that brought them, for people.

use argosy_wire::rest::{
    discovery::{NetworkInsight, NetworkName, Resource, ResourceDetail, ResourceNode},
    syncs::{SyncJob, SyncRegion},
};

use super::{
    Tone, View, clean,
    table::{Facts, Sheet, Word, maybe, plain, state},
    units::{age_of, moment},
};

/// `argosy resources list`
pub fn resources(view: &View, resources: &[Resource]) -> String {
    if resources.is_empty() {
        return "No resources. A run brings them: `argosy sync start`; a first look at the machines \
                themselves: `argosy inventory AGENT`."
            .into();
    }
    let headings =
        ["NAME", "TYPE", "STATUS", "PROVIDER", "REGION", "CIDR", "ACCOUNT", "SEEN", "RESOURCE"];
    let mut sheet = Sheet::new(view, &headings);
    for resource in resources {
        let name = if resource.name.is_empty() { "-" } else { &resource.name };
        let region = if resource.region.is_empty() { "-" } else { &resource.region };
        sheet.row([
            plain(name),
            plain(&resource.resource_type),
            state(&resource.status),
            plain(&resource.provider),
            plain(region),
            maybe(resource.cidr.as_deref()),
            plain(resource.account_id.to_string()),
            plain(age_of(Some(&resource.last_seen_at), view.now)),
            plain(&resource.resource_id),
        ]);
    }
    sheet.finish()
}

/// `argosy resources show`
pub fn resource(view: &View, detail: &ResourceDetail) -> String {
    let resource = &detail.resource;
    let facts = Facts::new(view)
        .fact("name", plain(&resource.name))
        .fact("status", state(&resource.status))
        .fact("type", plain(&resource.resource_type))
        .fact("provider", plain(&resource.provider))
        .fact("region", plain(&resource.region))
        .fact("resource", plain(&resource.resource_id))
        .some("range", resource.cidr.clone())
        .some("lies in", resource.parent_resource_id.clone())
        .fact("account", plain(resource.account_id.to_string()))
        .fact("first seen", plain(moment(&resource.discovered_at, view.now)))
        .fact("last seen", plain(moment(&resource.last_seen_at, view.now)))
        .finish();
    let mut history = Sheet::new(view, &["WHEN", "WHAT", "FIELDS", "SYNC JOB"]);
    for event in &detail.history {
        let fields = if event.fields.is_empty() { "-".into() } else { event.fields.join(", ") };
        history.row([
            plain(moment(&event.at, view.now)),
            plain(&event.kind),
            plain(fields),
            plain(&event.sync_job_id),
        ]);
    }
    format!("{facts}\n\n{}", history.finish())
}

/// `argosy resources tree`
pub fn tree(_: &View, networks: &[ResourceNode]) -> String {
    if networks.is_empty() {
        return "No networks.".into();
    }
    let mut lines = Vec::new();
    for network in networks {
        branch(network, 0, &mut lines);
    }
    lines.join("\n")
}

fn branch(node: &ResourceNode, depth: usize, lines: &mut Vec<String>) {
    let resource = &node.resource;
    let words = [
        Some(resource.resource_type.as_str()),
        Some(resource.resource_id.as_str()),
        resource.cidr.as_deref(),
        Some(resource.name.as_str()),
        (depth == 0).then_some(resource.region.as_str()),
    ];
    let words: Vec<&str> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
    lines.push(format!("{}{}", "  ".repeat(depth), clean(&words.join("  "))));
    for child in &node.children {
        branch(child, depth + 1, lines);
    }
}

fn network(name: &NetworkName) -> Word {
    let label = if name.name.is_empty() { &name.resource_id } else { &name.name };
    plain(format!("{label} {} ({})", name.cidr, name.region))
}

/// `argosy resources insight`
pub fn insight(view: &View, insight: &NetworkInsight) -> String {
    if insight.overlaps.is_empty() && insight.crowded.is_empty() {
        return "No networks overlap, and no subnet is nearly full, as far as is known.".into();
    }
    let mut parts = Vec::new();
    if !insight.overlaps.is_empty() {
        let mut sheet = Sheet::new(view, &["OVERLAPS", "WITH"]);
        for overlap in &insight.overlaps {
            sheet.row([network(&overlap.one), network(&overlap.other)]);
        }
        parts.push(sheet.finish());
    }
    if !insight.crowded.is_empty() {
        let mut sheet = Sheet::new(view, &["SUBNET", "USED", "FREE", "USABLE"]).right(&[1, 2, 3]);
        for crowded in &insight.crowded {
            let tone = if crowded.used_percent >= 95 { Tone::Bad } else { Tone::Warn };
            sheet.row([
                network(&crowded.subnet),
                (format!("{} %", crowded.used_percent), tone),
                plain(crowded.free.to_string()),
                plain(crowded.usable.to_string()),
            ]);
        }
        parts.push(sheet.finish());
    }
    parts.join("\n\n")
}

fn standing(job: &SyncJob) -> Word {
    let tone = match job.status.as_str() {
        "completed" => Tone::Good,
        "failed" => Tone::Bad,
        "partial" => Tone::Warn,
        _ => Tone::Plain,
    };
    (job.status.clone(), tone)
}

/// `argosy sync list`
pub fn jobs(view: &View, jobs: &[SyncJob]) -> String {
    if jobs.is_empty() {
        return "No runs yet. `argosy sync start` asks for one.".into();
    }
    let headings =
        ["JOB", "STATUS", "BY", "ACCOUNT", "ASKED", "FOUND", "NEW", "CHANGED", "GONE", "FAILED"];
    let mut sheet = Sheet::new(view, &headings).right(&[5, 6, 7, 8, 9]);
    for job in jobs {
        let failed = job.regions.iter().filter(|region| region.status == "failed").count();
        sheet.row([
            plain(&job.id),
            standing(job),
            plain(&job.source),
            plain(job.account_id.to_string()),
            plain(age_of(Some(&job.created_at), view.now)),
            plain(job.resources_found.to_string()),
            plain(job.resources_created.to_string()),
            plain(job.resources_updated.to_string()),
            plain(job.resources_deleted.to_string()),
            plain(failed.to_string()),
        ]);
    }
    sheet.finish()
}

fn region(view: &View, regions: &[SyncRegion]) -> String {
    let headings = ["ACCOUNT", "PROVIDER", "REGION", "STATUS", "CALL", "PERMISSION", "WHY"];
    let mut sheet = Sheet::new(view, &headings);
    for region in regions {
        let name = if region.region.is_empty() { "(all)" } else { &region.region };
        let tone = if region.status == "failed" { Tone::Bad } else { Tone::Good };
        sheet.row([
            plain(region.account_id.to_string()),
            plain(&region.provider),
            plain(name),
            (region.status.clone(), tone),
            maybe(region.call.as_deref()),
            maybe(region.permission.as_deref()),
            maybe(region.error.as_deref()),
        ]);
    }
    sheet.finish()
}

/// `argosy sync show`
pub fn job(view: &View, job: &SyncJob) -> String {
    let counts = format!(
        "{} found: {} new, {} changed; {} gone",
        job.resources_found, job.resources_created, job.resources_updated, job.resources_deleted
    );
    let facts = Facts::new(view)
        .fact("job", plain(&job.id))
        .fact("status", standing(job))
        .some("why", job.error.clone())
        .fact("asked", plain(format!("{}, by {}", moment(&job.created_at, view.now), job.asked_by)))
        .some("agent", job.agent_id.clone())
        .some("begun", job.begun_at.as_deref().map(|at| moment(at, view.now)))
        .some("ended", job.finished_at.as_deref().map(|at| moment(at, view.now)))
        .fact("chunks", plain(job.chunks.to_string()))
        .fact("resources", plain(counts))
        .finish();
    if job.regions.is_empty() {
        return facts;
    }
    format!("{facts}\n\n{}", region(view, &job.regions))
}
