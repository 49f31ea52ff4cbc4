//! Servers on one database keep an eye on each other: what changed, who is woken, who is dead.
//!
//! A server that has its database for itself only tells its own streams what changed.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::app::{
    App,
    replica::{BEAT_EVERY, Listener, Watch},
    sight::{BLIND_AFTER, LOOK_EVERY},
};

/// How often commands are looked for whose wake-up was lost.
const WAITING_EVERY: Duration = Duration::from_secs(1);
/// Wake-ups that follow each other within this time are one.
const WAKE_PAUSE: Duration = Duration::from_millis(10);
/// A look that failed at once is not repeated at once, however many ask for one.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How often a server that stays blind lets go of who came to it meanwhile.
const LET_GO_EVERY: Duration = Duration::from_secs(1);
/// A listener that cannot hear tries again after this time.
const HEAR_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Runs until `shutdown`.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let work = Box::pin(async {
        match app.watch_others() {
            None => app.tell_streams().await,
            Some((watch, listener)) => {
                tokio::join!(
                    app.tell_streams(),
                    look(&app, watch),
                    listen(&app, listener),
                    wake_streams(&app),
                    wake_others(&app),
                    beat(&app),
                    let_go(&app)
                );
            }
        }
    });
    // Those that still run notice a server that does not say goodbye by its silence.
    if shutdown.run_until_cancelled(work).await.is_none()
        && let Err(error) = app.leave().await
    {
        tracing::debug!(%error, "could not say goodbye to the other servers");
    }
}

/// Looks at the sequence of changes four times a second, and when somebody waits for it.
async fn look(app: &App, mut watch: Watch) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing_since = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.sight().asked() => {}
        }
        let began = Instant::now();
        match watch.look().await {
            Ok(seen) => {
                app.authorities().forget(&seen.changes);
                app.sight().looked(began);
                let blind = failing_since.take().map(|since: Instant| since.elapsed());
                if let Some(blind) = blind.filter(|blind| *blind >= BLIND_AFTER) {
                    tracing::warn!(?blind, "this server was blind and sees again");
                    app.wake_streams();
                }
            }
            Err(error) => {
                failing_since.get_or_insert(began);
                tracing::debug!(%error, "could not look at what other servers change");
                sleep(LOOK_AGAIN_AFTER).await;
            }
        }
    }
}

/// Hears what other servers say, and looks.
async fn listen(app: &App, mut listener: Listener) {
    loop {
        match listener.heard().await {
            Ok(()) => {
                app.sight().look_now();
                app.wake_streams();
            }
            Err(error) => {
                tracing::debug!(%error, "cannot hear other servers");
                sleep(HEAR_AGAIN_AFTER).await;
            }
        }
    }
}

/// Wakes streams for which commands wait: when another server said so, and once a second.
async fn wake_streams(app: &App) {
    loop {
        tokio::select! {
            () = app.replica().called() => {}
            () = sleep(WAITING_EVERY) => {}
        }
        if let Err(error) = app.wake_waiting().await {
            tracing::debug!(%error, "could not look for waiting commands");
        }
        sleep(WAKE_PAUSE).await;
    }
}

/// Tells other servers that there is something to read.
async fn wake_others(app: &App) {
    loop {
        app.replica().has_news().await;
        if let Err(error) = app.call_others().await {
            tracing::debug!(%error, "could not wake other servers");
        }
        sleep(WAKE_PAUSE).await;
    }
}

/// Says that this server runs.
async fn beat(app: &App) {
    let mut ticks = interval(BEAT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = app.beat().await {
            tracing::debug!(%error, "could not say that this server runs");
        }
    }
}

/// Lets go of who is connected for as long as this server stays blind.
async fn let_go(app: &App) {
    let mut ticks = interval(LET_GO_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut letting_go = false;
    loop {
        ticks.tick().await;
        let before = std::mem::replace(&mut letting_go, app.let_go_if_blind());
        if letting_go && !before {
            tracing::warn!("this server stays blind, and lets go of who is connected to it");
        }
    }
}
