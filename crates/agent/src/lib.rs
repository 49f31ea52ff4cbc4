//! placeholder
pub mod subsystem;
