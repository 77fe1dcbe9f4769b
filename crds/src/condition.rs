//! Conditions as every Kubernetes tool understands them, with our types and reasons as closed lists.

use crate::text_enum::text_enum;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One condition of an object or a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Condition {
    /// What the condition is about.
    #[schemars(transform = ConditionType::explain)]
    pub r#type: ConditionType,
    /// Whether it holds.
    #[schemars(transform = ConditionStatus::explain)]
    pub status: ConditionStatus,
    /// Why, as one word; the words are explained at the `reason` of InterceptStatus.
    pub reason: Reason,
    /// Why, for a person; names the remedy where there is one.
    pub message: String,
    /// `metadata.generation` of the object that the condition was judged for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    #[schemars(schema_with = "crate::schema::time")]
    pub last_transition_time: Time,
}

/// Enters a condition into a list: replaces the one of its type, and keeps its time where the status is the same.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|old| old.r#type == new.r#type) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

text_enum! {
    /// What a condition is about.
    pub enum ConditionType {
        /// the object is valid and in force as written.
        Accepted = "Accepted",
        /// every object that the rule names exists.
        Resolved = "Resolved",
        /// what the object says is realised in the kernel.
        Programmed = "Programmed",
        /// the kernel has the features that enforcement needs, found by probing.
        KernelSupported = "KernelSupported",
        /// both programs are on every local pod interface, read back from the kernel.
        ProgramsAttached = "ProgramsAttached",
        /// the generation wanted is the generation realised, and fresh.
        PolicySynced = "PolicySynced",
        /// packets run through the live programs get the verdicts of the reference evaluator.
        ProbePassed = "ProbePassed",
        /// every map has room.
        CapacityOk = "CapacityOk",
        /// no record of a flow was lost.
        LogsIntact = "LogsIntact",
        /// no address belongs to two live pods.
        AddressesUnique = "AddressesUnique",
        /// a type that this version does not know.
        Unrecognised = "Unrecognised",
    } else Unrecognised
}

text_enum! {
    /// Whether a condition holds.
    pub enum ConditionStatus {
        /// it holds.
        True = "True",
        /// it does not.
        False = "False",
        /// not known yet.
        Unknown = "Unknown",
    }
}

text_enum! {
    /// Why a condition has its status.
    pub enum Reason {
        /// the object is valid.
        Valid = "Valid",
        /// the object is invalid and never was valid: it enforces nothing.
        Invalid = "Invalid",
        /// the object is invalid; its last valid version stays in force.
        LastValidInForce = "LastValidInForce",
        /// the name is given twice; what was in force stays in force.
        DuplicateName = "DuplicateName",
        /// the rule is valid and switched off by `enabled: false`.
        Disabled = "Disabled",
        /// every object that is named exists.
        ObjectsFound = "ObjectsFound",
        /// a named object does not exist: that side matches nothing.
        ObjectMissing = "ObjectMissing",
        /// a named object exists but enforces nothing, because it never was valid.
        ObjectInvalid = "ObjectInvalid",
        /// realised in the kernel.
        Realised = "Realised",
        /// not realised yet.
        Pending = "Pending",
        /// does not fit the maps; the last good policy stays whole.
        CapacityExceeded = "CapacityExceeded",
        /// a write to the kernel failed; the last good policy stays whole.
        WriteFailed = "WriteFailed",
        /// every feature that was probed is there.
        FeaturesPresent = "FeaturesPresent",
        /// a feature that enforcement needs is missing.
        FeatureMissing = "FeatureMissing",
        /// programs are on every pod interface.
        AllAttached = "AllAttached",
        /// a program could not be attached.
        AttachFailed = "AttachFailed",
        /// something of ours was removed or changed by someone and was put right; told for some seconds more.
        Repaired = "Repaired",
        /// a program of ours was removed by someone and could not be put back.
        Removed = "Removed",
        /// another's program runs ahead of ours.
        ForeignProgramAhead = "ForeignProgramAhead",
        /// the maps in the kernel are not as they were written, and cannot be put right.
        MapsAltered = "MapsAltered",
        /// flows find their table full; each of their packets is judged by itself.
        FlowsFull = "FlowsFull",
        /// the policy in the kernel is the policy wanted.
        Synced = "Synced",
        /// the policy in the kernel is older than what was last heard of.
        PolicyStale = "PolicyStale",
        /// the API server cannot be reached; the last policy stays in force.
        ApiServerAway = "ApiServerAway",
        /// kernel and reference evaluator agree.
        VerdictsAgree = "VerdictsAgree",
        /// kernel and reference evaluator disagree.
        VerdictsDiffer = "VerdictsDiffer",
        /// the probe has not run, or cannot run on this kernel.
        NotRun = "NotRun",
        /// there is room.
        RoomLeft = "RoomLeft",
        /// a map is nearly full.
        NearlyFull = "NearlyFull",
        /// a map is full.
        Full = "Full",
        /// nothing was lost.
        NothingLost = "NothingLost",
        /// records were lost; they are counted.
        RecordsLost = "RecordsLost",
        /// every address has one owner.
        NoConflict = "NoConflict",
        /// two live pods have one address; the one created later has it.
        AddressConflict = "AddressConflict",
        /// all is well.
        AllGood = "AllGood",
        /// the agent is starting.
        Starting = "Starting",
        /// recovered; waits until someone confirms the current generation.
        AwaitingConfirmation = "AwaitingConfirmation",
        /// a node has not reported for too long.
        NodeSilent = "NodeSilent",
        /// a node is not Normal.
        NodeAbnormal = "NodeAbnormal",
        /// a reason that this version does not know.
        Unrecognised = "Unrecognised",
    } else Unrecognised
}
