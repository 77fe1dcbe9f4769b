//! What the watches tell, and how a burst of it becomes one change.

use std::sync::Arc;
use std::time::Duration;

use cellwall_crds::Violation;
use cellwall_policy::model::Name;
use cellwall_policy::world::Document;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Kind;

/// What follows within this time of what was heard last belongs to it.
const STILL: Duration = Duration::from_millis(2);
/// A stream that never pauses is cut here.
const LONGEST: Duration = Duration::from_millis(20);
/// Most that is handed on at once, so that a list of a hundred thousand is not held twice.
const MOST: usize = 4_096;

/// Namespace (empty for what has none) and name.
pub type ObjectKey = (Name, Name);

/// An object that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// What the world holds of it.
    pub document: Document,
    /// As written, without what the server keeps for itself; only of kinds that policy is written in.
    pub written: Option<Value>,
}

/// What is known of an object beside what the world holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct About {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`: a change of it is a change of what people wrote.
    pub generation: i64,
    /// It is asked to go, and finalizers hold it.
    pub leaving: bool,
    /// Whether our finalizer is on it.
    pub held: bool,
    /// What a node says of itself; only of InterceptStatus.
    pub report: Option<NodeState>,
    /// The status, as the server has it; only of kinds that policy is written in, and of this node's own report.
    pub status: Option<Arc<Value>>,
}

/// What a node says of itself, as far as the whole cluster's state needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of the status")]
pub struct NodeState {
    pub state: Option<cellwall_crds::InterceptState>,
    pub enforcing: bool,
    pub digest: Option<String>,
    pub pods_protected: i64,
    pub pods_not_enforceable: i64,
}

/// What a watch tells.
#[derive(Debug)]
pub enum Heard {
    /// A list begins: what is not in it is gone.
    Listing(Kind),
    /// The list is whole.
    Listed(Kind),
    /// An object is there, or was changed.
    Put {
        /// Its kind.
        kind: Kind,
        /// Which one.
        key: ObjectKey,
        /// Uid and generation.
        about: About,
        /// What it says; or everything that is wrong with it.
        read: Result<Box<Read>, Vec<Violation>>,
    },
    /// An object was deleted.
    Gone(Kind, ObjectKey),
    /// The watch failed, and is tried again; why.
    Down(Kind, String),
    /// The server has answered the watch.
    Up(Kind),
}

/// Sends what is heard.
#[derive(Debug, Clone)]
pub struct Teller(pub(super) mpsc::Sender<Heard>);

/// Gives what was heard, bursts as one.
#[derive(Debug)]
pub struct Feed {
    heard: mpsc::Receiver<Heard>,
    /// Gathered and not handed on yet: kept here, so that a caller may stop waiting without losing it.
    gathered: Vec<Heard>,
    since: Instant,
}

impl Feed {
    /// A feed, and the end that is spoken into.
    pub fn new() -> (Teller, Self) {
        let (sender, heard) = mpsc::channel(MOST);
        let feed = Self {
            heard,
            gathered: Vec::new(),
            since: Instant::now(),
        };
        (Teller(sender), feed)
    }

    /// Waits for the next burst. Nothing is lost when the future is dropped. Waits for ever once all tellers are gone.
    pub async fn next(&mut self) -> Vec<Heard> {
        if self.gathered.is_empty() {
            match self.heard.recv().await {
                Some(first) => self.gathered.push(first),
                None => std::future::pending().await,
            }
            self.since = Instant::now();
        }
        loop {
            while self.gathered.len() < MOST
                && let Ok(more) = self.heard.try_recv()
            {
                self.gathered.push(more);
            }
            let until = (Instant::now() + STILL).min(self.since + LONGEST);
            if self.gathered.len() >= MOST || until <= Instant::now() {
                break;
            }
            match tokio::time::timeout_at(until, self.heard.recv()).await {
                Ok(Some(more)) => self.gathered.push(more),
                Ok(None) | Err(_) => break,
            }
        }
        std::mem::take(&mut self.gathered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_together_is_handed_on_together_and_what_comes_later_is_not() {
        let (teller, mut feed) = Feed::new();
        teller.0.send(Heard::Up(Kind::Pod)).await.unwrap();
        teller.0.send(Heard::Up(Kind::Node)).await.unwrap();
        assert_eq!(feed.next().await.len(), 2);
        teller.0.send(Heard::Up(Kind::Pod)).await.unwrap();
        assert_eq!(feed.next().await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_never_pauses_is_cut() {
        let (teller, mut feed) = Feed::new();
        let speaker = tokio::spawn(async move {
            for _ in 0..100 {
                teller.0.send(Heard::Up(Kind::Pod)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let first = feed.next().await.len();
        assert!((10..=30).contains(&first), "{first}");
        speaker.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn giving_up_waiting_loses_nothing() {
        let (teller, mut feed) = Feed::new();
        teller.0.send(Heard::Up(Kind::Pod)).await.unwrap();
        let impatient = tokio::time::timeout(Duration::from_micros(1), feed.next()).await;
        assert!(impatient.is_err());
        assert_eq!(feed.next().await.len(), 1);
    }
}
