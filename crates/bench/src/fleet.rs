//! Many simulated agents: enrolled on one token, with sessions, a bounded number at a time.

use std::{sync::Arc, time::Instant};

use argosy_agent::transport::Link;
use argosy_wire::token::TokenString;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use crate::{
    Outcome,
    agent::{Events, SimAgent, Stream},
    load::Sample,
    server::Server,
};

/// Agents that enrol, shake hands or connect at the same time.
const AT_ONCE: usize = 64;

/// An agent, its way to the server, and what its engine says.
pub(crate) struct Member {
    /// The agent.
    pub(crate) agent: Arc<SimAgent>,
    /// Its connection.
    pub(crate) link: Link,
    /// Its engine's events.
    pub(crate) events: Events,
}

/// Enrols `count` agents, each over a connection of its own, and tells how long each took.
pub(crate) async fn enrol(server: &Server, count: usize) -> Outcome<(Vec<Member>, Sample)> {
    let token = TokenString::parse(&server.token(count, true).await?)?;
    let began = Instant::now();
    let one = async |number: usize| {
        let began = Instant::now();
        let link = server.way().link(Some(&token))?;
        let (agent, events) = SimAgent::enrol(&link, &token, format!("agent-{number:06}")).await?;
        // Ends with this process.
        let engine = agent.engine.clone();
        tokio::spawn(async move { engine.run(CancellationToken::new()).await });
        let member = Member { agent: Arc::new(agent), link, events };
        Ok::<_, crate::Failure>((member, began.elapsed()))
    };
    let enrolled: Vec<_> =
        stream::iter(0..count).map(one).buffer_unordered(AT_ONCE).try_collect().await?;
    let mut sample = Sample::new()?;
    let mut members = Vec::with_capacity(count);
    for (member, took) in enrolled {
        sample.took(took);
        members.push(member);
    }
    sample.lasted(began.elapsed());
    Ok((members, sample))
}

/// Gives every agent a session.
pub(crate) async fn shake(members: &[Member]) -> Outcome<Sample> {
    let began = Instant::now();
    let one = async |member: &Member| {
        let began = Instant::now();
        member.agent.shake(&member.link).await?;
        Ok::<_, crate::Failure>(began.elapsed())
    };
    let took: Vec<_> =
        stream::iter(members).map(one).buffer_unordered(AT_ONCE).try_collect().await?;
    let mut sample = Sample::new()?;
    took.into_iter().for_each(|took| sample.took(took));
    sample.lasted(began.elapsed());
    Ok(sample)
}

/// Opens a stream of every agent.
pub(crate) async fn connect(members: Vec<Member>) -> Outcome<Vec<(Member, Stream)>> {
    let one = async |member: Member| {
        let stream = member.agent.open(&member.link).await?;
        Ok::<_, crate::Failure>((member, stream))
    };
    stream::iter(members).map(one).buffer_unordered(AT_ONCE).try_collect().await
}

/// Enrolled agents with sessions.
pub(crate) async fn ready(server: &Server, count: usize) -> Outcome<Vec<Member>> {
    let (members, _) = enrol(server, count).await?;
    shake(&members).await?;
    Ok(members)
}

/// Takes the connections of all agents away; each opens another when it needs one.
pub(crate) fn disconnect(server: &Server, members: &mut [Member]) -> Outcome<()> {
    for member in members {
        member.link = server.way().link(None)?;
    }
    Ok(())
}
