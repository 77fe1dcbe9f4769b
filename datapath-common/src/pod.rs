//! Sizes that both sides rely on, and aya's leave to copy these types byte by byte.

use core::mem::size_of;

use crate::flow::{FlowKey4, FlowKey6, FlowValue, FragmentKey, FragmentValue};
use crate::policy::{
    Active, AddressValue, EndpointRecord, OwnAddressKey, PeerKey, PrefixKey4, PrefixKey6, RuleCardValue, ServiceKey,
    Span, TableValue, Versioned,
};
use crate::record::{Counter, Record};

/// A type whose size is the sum of its fields has no padding.
macro_rules! layout {
    ($($kind:ty = $size:literal,)*) => { $(
        const _: () = assert!(size_of::<$kind>() == $size);
        // SAFETY: `repr(C)`, only integers and arrays of them, no padding (the size is the sum of the fields).
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $kind {}
    )* };
}

layout! {
    Versioned = 16,
    Active = 16,
    EndpointRecord = 72,
    OwnAddressKey = 20,
    AddressValue = 24,
    PrefixKey4 = 8,
    PrefixKey6 = 20,
    ServiceKey = 20,
    PeerKey = 8,
    TableValue = 24,
    Span = 8,
    RuleCardValue = 328,
    FlowKey4 = 16,
    FlowKey6 = 40,
    FlowValue = 32,
    FragmentKey = 44,
    FragmentValue = 16,
    Record = 72,
    Counter = 32,
}
