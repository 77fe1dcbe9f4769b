//! The API server as the source: its objects are watched, turned into the world's documents by the conversion that
//! files go through, and handed on as what they change.
//!
//! - [`client`]: the connection, and what is seen on it: which watches stand.
//! - [`watch`]: one task a kind; objects are reduced to documents as they arrive, so that none is held as it was sent.
//! - [`mirror`]: which objects there are, what of them is in force, and what an event changes.
//! - [`kept`]: the last valid version of our own kinds, over a restart too.
//! - [`status`]: what is written back.

pub mod client;
pub mod feed;
pub mod kept;
pub mod mirror;
pub mod status;
pub mod watch;

pub use crate::kind::Kind;
pub use feed::{Feed, Heard, ObjectKey, Read};
