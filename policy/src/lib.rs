//! The pure core of Cellwall: what the cluster looks like ([`world`]), who is who ([`model`]), which rule decides,
//! once as tables for the kernel and once, slow and obvious, as the reference.
//!
//! This crate knows no Kubernetes client, no runtime, no file and no clock: its dependency list proves it.

pub mod compile;
pub mod compiled;
pub mod diagnostic;
pub mod evaluate;
pub mod generate;
pub mod model;
pub mod scenario;
pub mod world;
