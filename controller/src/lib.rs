//! The agent and the command line of Cellwall: the thin shell around the pure core.

pub mod agent;
pub mod alerts;
pub mod api;
pub mod cli;
mod clock;
pub mod cluster;
pub mod cni;
pub mod convert;
pub mod demo;
pub mod documents;
pub mod expect;
pub mod http;
pub mod json_line;
pub mod kind;
pub mod lab;
pub mod manifest;
pub mod metrics;
pub mod questions;
pub mod records;
pub mod state_file;
pub mod status;
