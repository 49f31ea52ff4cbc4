//! Every limit by name. Units are in the names. Limits that an operator may change have a
//! configuration key beside the default that stands here.

use std::time::Duration;

/// Characters of an identifier.
pub const ID_BYTES_MAX: usize = 128;
/// Characters of a name (agent, token, account, key).
pub const NAME_CHARS_MAX: usize = 255;
/// Characters of an operator's reason.
pub const REASON_CHARS_MAX: usize = 1_024;
/// Characters of an error text that an agent reports.
pub const ERROR_TEXT_CHARS_MAX: usize = 4_096;
/// Labels on one agent or token.
pub const LABELS_MAX: usize = 64;
/// Characters of one label's key or value.
pub const LABEL_CHARS_MAX: usize = 255;
/// Payload of one message, RPC or signed parameters.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// A JSON body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// An ingest body as it arrives.
pub const INGEST_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// An ingest body once it is expanded.
pub const INGEST_EXPANDED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// One line of an ingest body of lines.
pub const INGEST_LINE_BYTES_MAX: usize = 1024 * 1024;
/// Lines of an ingest body that are taken in together.
pub const INGEST_LINES_TOGETHER: usize = 2_000;
/// Accounts in one ingest call.
pub const INGEST_ACCOUNTS_MAX: usize = 1_000;
/// Regions of which one run of discovery tells what became of them.
pub const SYNC_OUTCOMES_MAX: usize = 10_000;
/// Chunks of one run of discovery.
pub const SYNC_CHUNKS_MAX: u32 = 100_000;
/// How long a run of discovery may be silent before it counts as dropped.
pub const SYNC_SILENCE_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a sync job waits for its agent.
pub const SYNC_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Agents for which one call has a run of discovery begin.
pub const SYNC_AGENTS_MAX: usize = 10_000;
/// How long sync jobs are kept, and what happened to resources.
pub const SYNC_HISTORY_KEPT: Duration = Duration::from_secs(180 * 24 * 3600);
/// Changes of one resource that are shown.
pub const RESOURCE_CHANGES_SHOWN: u32 = 100;
/// Resources in one ingest call.
pub const INGEST_RESOURCES_MAX: usize = 50_000;
/// Items of a list page by default.
pub const PAGE_ITEMS_DEFAULT: u32 = 50;
/// Items of a list page at most.
pub const PAGE_ITEMS_MAX: u32 = 500;
/// Machines that one enrolment token can admit at most.
pub const TOKEN_SEATS_MAX: u32 = 100_000;
/// Life of an enrolment token unless said otherwise.
pub const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Life of an enrolment token at most.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// Agents that one service key can bring into being at most.
pub const SERVICE_AGENTS_MAX: u32 = 10_000;
/// Length of a token or proof as presented, over REST and RPC.
pub const TOKEN_TEXT_BYTES_MAX: usize = 512;
/// How long a registration waits for an operator.
pub const REGISTRATION_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Life of a handshake challenge.
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(30);
/// Live challenges of one agent.
pub const CHALLENGES_MAX: u32 = 4;
/// Life of a session token.
pub const SESSION_LIFE: Duration = Duration::from_secs(3600);
/// Bucket of a DPoP server nonce; the current and the previous bucket are accepted.
pub const DPOP_NONCE_BUCKET: Duration = Duration::from_secs(120);
/// Failed authentications of one source in a minute before 429.
pub const FAILURES_PER_MINUTE_MAX: u32 = 20;
/// A heartbeat younger than this makes an agent healthy.
pub const HEALTHY_WITHIN: Duration = Duration::from_secs(5 * 60);
/// A heartbeat younger than this makes an agent stale; older ones make it offline.
pub const STALE_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Life of a command unless said otherwise.
pub const COMMAND_LIFE_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Life of a command at most.
pub const COMMAND_LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long after its end a command that was sent is still believed to come back; then it is lost.
pub const COMMAND_LOST_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// Commands of one agent that have not ended.
pub const COMMANDS_OPEN_MAX: u32 = 1_000;
/// Commands of one fan-out that are under way at once, unless said otherwise.
pub const FAN_OUT_CONCURRENCY_DEFAULT: u32 = 100;
/// Commands of one fan-out that are under way at once.
pub const FAN_OUT_CONCURRENCY_MAX: u32 = 50_000;
/// Agents that a selector names one by one.
pub const FAN_OUT_AGENTS_NAMED_MAX: usize = 10_000;
/// Command parameters.
pub const COMMAND_PARAMS_BYTES_MAX: usize = 256 * 1024;
/// Parameters of the commands that are handed out together; the first one always fits.
pub const COMMANDS_TOGETHER_BYTES_MAX: usize = 1024 * 1024;
/// A check-in: one result of 1 MiB in base64, and what goes with it.
pub const CHECK_IN_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Acknowledgments, started commands and results in one check-in, of each.
pub const CHECK_IN_ITEMS_MAX: usize = 256;
/// How long a check-in waits for something to say, unless the server is set otherwise.
pub const CHECK_IN_WAIT_S: u32 = 30;
/// Check-ins that wait at once on one server, unless it is set otherwise.
pub const CHECK_INS_WAITING_MAX: u32 = 20_000;
/// Packages that one command installs.
pub const PACKAGES_PER_COMMAND_MAX: usize = 1_000;
/// Packages that one approval names.
pub const PACKAGES_APPROVED_MAX: usize = 100;
/// How long an agent remembers the id of a command.
pub const COMMAND_MEMORY: Duration = Duration::from_secs(90 * 24 * 3600);
/// Shortest interval of a subsystem.
pub const SUBSYSTEM_INTERVAL_MIN: Duration = Duration::from_secs(60);
/// Longest interval of a subsystem.
pub const SUBSYSTEM_INTERVAL_MAX: Duration = Duration::from_secs(1440 * 60);
/// Characters of configured secrets at least.
pub const CONFIGURED_SECRET_CHARS_MIN: usize = 32;
/// Time between two rotations of one agent's identity key.
pub const KEY_ROTATION_INTERVAL_MIN: Duration = Duration::from_secs(60);
/// Successions of the server's identity key that are kept, shown and followed.
pub const SUCCESSIONS_MAX: usize = 64;
/// Size of `policy.toml`.
pub const POLICY_BYTES_MAX: usize = 256 * 1024;
/// Repeats of a security event within this time are one event with a count.
pub const SECURITY_EVENT_WINDOW: Duration = Duration::from_secs(3600);
/// How long a security event is kept.
pub const SECURITY_EVENT_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Security events of one organisation; beyond that the oldest go.
pub const SECURITY_EVENTS_MAX: u32 = 100_000;
/// Security events that wait to be written; further ones lose agent and source, never the count.
pub const SECURITY_EVENTS_WAITING_MAX: usize = 1_000;
/// Batches in one upload of telemetry or events.
pub const UPLOAD_BATCHES_MAX: u32 = 256;
/// Values in one batch of telemetry.
pub const TELEMETRY_VALUES_MAX: usize = 2_000;
/// Series (metric and label) of one agent.
pub const TELEMETRY_SERIES_MAX: u32 = 1_000;
/// Points in one answer about telemetry, all series together.
pub const TELEMETRY_POINTS_MAX: usize = 20_000;
/// Events in one batch.
pub const EVENTS_BATCH_MAX: usize = 500;
/// Characters of an event's message.
pub const EVENT_MESSAGE_CHARS_MAX: usize = 1_024;
/// Events of one agent that the server keeps; the oldest go first.
pub const EVENTS_KEPT_MAX: u32 = 10_000;
/// How long the server remembers which batches it has: longer than an agent keeps one.
pub const BATCHES_REMEMBERED: Duration = Duration::from_secs(8 * 24 * 3600);
/// How long a series without a new value is listed, and takes one of the agent's places.
pub const TELEMETRY_SERIES_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Largest magnitude of a measured value: sums of such stay finite.
pub const TELEMETRY_VALUE_MAX: f64 = 1e18;
/// Characters of an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Writes with an idempotency key that are remembered of one organisation.
pub const IDEMPOTENT_WRITES_MAX: u32 = 20_000;
/// Bytes of an answer that is given again; a larger one is given once.
pub const IDEMPOTENT_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Rows that are forgotten in one transaction at most.
pub const PURGE_ROWS_MAX: u32 = 5_000;
/// How long the server keeps events.
pub const EVENTS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// Bytes that wait on an agent for its server.
pub const SPOOL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long something waits on an agent for its server.
pub const SPOOL_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
