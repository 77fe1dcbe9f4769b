//! The agent and the command line of Cellwall: the thin shell around the pure core.

pub mod api;
pub mod cli;
pub mod convert;
pub mod http;
pub mod lab;
pub mod manifest;
pub mod records;
pub mod status;
