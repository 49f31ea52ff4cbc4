//! Named places at which a crash test ends the process; empty in every shipped binary.

pub(crate) use argosy_config::failpoint::failpoint;
