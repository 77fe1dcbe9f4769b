//! The records of late, in memory, for `cellwall flows`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use super::FlowRecord;

/// Records kept.
const KEPT: usize = 100_000;

/// A ring of records with followers.
#[derive(Debug)]
pub struct Recent {
    ring: Mutex<VecDeque<Arc<FlowRecord>>>,
    news: broadcast::Sender<Arc<FlowRecord>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            ring: Mutex::default(),
            news: broadcast::channel(4_096).0,
        }
    }
}

impl Recent {
    /// Adds one; the oldest goes when the ring is full.
    pub fn push(&self, record: Arc<FlowRecord>) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(record.clone());
        // Sent while the ring is held, so that `all_and_follow` neither misses nor repeats one. No follower is fine.
        let _ = self.news.send(record);
    }

    /// All that is kept, oldest first, and a receiver of what comes after exactly those.
    pub fn all_and_follow(&self) -> (Vec<Arc<FlowRecord>>, broadcast::Receiver<Arc<FlowRecord>>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.iter().cloned().collect(), self.news.subscribe())
    }
}
