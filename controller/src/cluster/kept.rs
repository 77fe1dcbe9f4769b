//! The last valid version of each object of ours, and how it survives a restart.
//!
//! An object whose present version is invalid (the schema was not in force when it was written) keeps what it said
//! before, as long as it is the same object: one that was deleted and made anew never was valid.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::feed::{ObjectKey, Read};
use super::{Kind, watch};
use crate::state_file::StateFile;

/// Name of the file in the state directory.
pub const STATE: &str = "cluster.json";

/// Name of the file that says which interface is which pod's.
pub const BINDINGS: &str = "bindings.json";

/// What is written.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// When what is in force was last known to be what the API server has, in seconds since the epoch.
    #[serde(default)]
    current: Option<i64>,
    objects: Vec<Stored>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    kind: String,
    name: String,
    uid: String,
    written: Value,
}

/// Valid versions by object.
#[derive(Debug)]
pub struct Kept {
    file: StateFile,
    valid: BTreeMap<(Kind, ObjectKey), (String, Value)>,
    /// When what is in force was last known to be current.
    pub current: Option<i64>,
    unsaved: bool,
}

impl Kept {
    /// What an earlier process saved.
    pub fn open(state_dir: &Path) -> Self {
        let file = StateFile::new(state_dir, STATE);
        let state: State = match file.load() {
            Ok(state) => state.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "what was valid before is not known; what is valid now counts");
                State::default()
            }
        };
        let mut valid = BTreeMap::new();
        for stored in state.objects {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == stored.kind);
            if let Some(kind) = kind.filter(|kind| kind.is_policy()) {
                let key: ObjectKey = ("".into(), stored.name.into());
                valid.insert((kind, key), (stored.uid, stored.written));
            }
        }
        Self {
            file,
            valid,
            current: state.current,
            unsaved: false,
        }
    }

    /// A valid version came.
    pub fn put(&mut self, kind: Kind, key: &ObjectKey, uid: &str, written: Value) {
        let new = (uid.to_owned(), written);
        if self.valid.get(&(kind, key.clone())) != Some(&new) {
            self.valid.insert((kind, key.clone()), new);
            self.unsaved = true;
        }
    }

    /// The object is gone.
    pub fn forget(&mut self, kind: Kind, key: &ObjectKey) {
        self.unsaved |= self.valid.remove(&(kind, key.clone())).is_some();
    }

    /// Objects of a kind that are not among these are gone.
    pub fn retain(&mut self, kind: Kind, is_there: impl Fn(&ObjectKey) -> bool) {
        let before = self.valid.len();
        self.valid.retain(|(k, key), _| *k != kind || is_there(key));
        self.unsaved |= self.valid.len() != before;
    }

    /// The last valid version of this very object.
    pub fn last(&self, kind: Kind, key: &ObjectKey, uid: &str) -> Option<Box<Read>> {
        let (owner, written) = self.valid.get(&(kind, key.clone()))?;
        (owner == uid).then(|| watch::read_ours(kind, written.clone()).ok())?
    }

    /// Saves when something changed, or when `current` moved by a minute.
    pub fn save(&mut self, current: Option<i64>) {
        let moved = match (self.current, current) {
            (Some(before), Some(now)) => now.saturating_sub(before) >= 60,
            (before, now) => now.is_some() && before != now,
        };
        if !self.unsaved && !moved {
            return;
        }
        self.current = current.or(self.current);
        let objects = self.valid.iter().map(|((kind, (_, name)), (uid, written))| Stored {
            kind: kind.name().to_owned(),
            name: name.to_string(),
            uid: uid.clone(),
            written: written.clone(),
        });
        let state = State {
            current: self.current,
            objects: objects.collect(),
        };
        match self.file.save(&state) {
            Ok(()) => self.unsaved = false,
            Err(error) => tracing::error!(%error, "what is valid now would be forgotten at a restart"),
        }
    }
}
