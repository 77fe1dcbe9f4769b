//! Manifests on disk: from a directory of hostile files to documents with places.

pub mod document;
pub mod files;
pub mod json;
pub mod node;
pub mod path;
pub mod problem;
pub mod retain;
pub mod scalar;
pub mod text;
pub mod typed;
pub mod watch;
pub mod yaml;
