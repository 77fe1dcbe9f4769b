//! The rules of the schema, for typed objects.

use crate::{ClusterDefense, DefenseRule, InterceptStatus, NetworkObject, Violation};

/// An object that can be held against the rules of its kind.
pub trait Validate {
    /// Everything that is wrong with the object; empty where nothing is.
    fn validate(&self) -> Vec<Violation>;
}

macro_rules! nothing_yet {
    ($($kind:ty),+) => {
        $(impl Validate for $kind {
            fn validate(&self) -> Vec<Violation> {
                Vec::new()
            }
        })+
    };
}
nothing_yet!(NetworkObject, DefenseRule, ClusterDefense, InterceptStatus);
