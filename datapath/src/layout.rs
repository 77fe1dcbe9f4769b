//! The shared types as bytes and back, field by field in the machine's own order: none of them has padding, so this
//! is exactly how the kernel side sees them. Every struct is taken apart in full: a new field does not compile here
//! before it has its place.

use cellwall_datapath_common::policy::OwnAddressKey;
use cellwall_datapath_common::{
    Active, AddressValue, Counter, EndpointRecord, FlowKey4, FlowKey6, FlowValue, FragmentKey, FragmentValue, PeerKey,
    PrefixKey4, PrefixKey6, Record, RuleCardValue, ServiceKey, Span, TableValue, Versioned,
};

/// A value with a fixed layout.
pub trait Layout: Sized {
    /// Appends the value's bytes.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes the value from the front of `bytes`; none where they are too few.
    fn take(bytes: &mut &[u8]) -> Option<Self>;

    /// The value's bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(size_of::<Self>());
        self.put(&mut out);
        out
    }

    /// The value that is exactly `bytes`.
    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let value = Self::take(&mut bytes)?;
        bytes.is_empty().then_some(value)
    }
}

macro_rules! integers {
    ($($kind:ty),*) => { $(
        impl Layout for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_ne_bytes());
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                let (front, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(Self::from_ne_bytes(*front))
            }
        }
    )* };
}

integers!(u8, u16, u32, u64);

impl<T: Layout + Copy + Default, const N: usize> Layout for [T; N] {
    fn put(&self, out: &mut Vec<u8>) {
        for item in self {
            item.put(out);
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut items = [T::default(); N];
        for item in &mut items {
            *item = T::take(bytes)?;
        }
        Some(items)
    }
}

macro_rules! structs {
    ($($kind:ty { $($field:ident),* $(,)? })*) => { $(
        impl Layout for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.put(out);)*
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                $(let $field = Layout::take(bytes)?;)*
                Some(Self { $($field),* })
            }
        }
    )* };
}

structs! {
    Active { generation, switches, pass_sample, check }
    Versioned { generation, new, previous, check }
    AddressValue { peer, since, ifindex }
    EndpointRecord { attached, ifindex, master, egress, ingress, flags, v4, v6, v6_link, mac, pad }
    OwnAddressKey { address, ifindex }
    PrefixKey4 { prefix, address }
    PrefixKey6 { prefix, address }
    ServiceKey { scope, port, protocol, kind }
    PeerKey { policy, peer }
    TableValue { refs }
    Span { start, cell }
    RuleCardValue { name, uid, priority, action, pad }
    Counter { flows, packets, bytes, last }
    FlowKey4 { lo, hi, lo_port, hi_port, protocol, pad }
    FlowKey6 { lo, hi, lo_port, hi_port, protocol, pad }
    FlowValue { revision, cell, last_seen, born, lo_ifindex, hi_ifindex, flags, peer }
    FragmentKey { source, destination, id, ifindex, protocol, hook, pad }
    FragmentValue { cell, seen, digest, flags }
    Record {
        time, generation, cell, ifindex, peer, bytes, ethertype, source_port, destination_port, protocol, detail, hook,
        dropped, flags, family, source, destination,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_as_many_as_the_type_has_and_read_back_to_the_same_value() {
        let value = AddressValue {
            peer: Versioned::sealed(1, 2, 3, 4),
            since: 5,
            ifindex: 6,
        };
        let bytes = value.to_bytes();
        assert_eq!(bytes.len(), size_of::<AddressValue>());
        assert_eq!(AddressValue::from_bytes(&bytes), Some(value));
        assert_eq!(
            Record::from_bytes(&[7; 72]).map(|record| record.to_bytes()),
            Some(vec![7; 72])
        );
    }

    #[test]
    fn too_few_or_too_many_bytes_are_no_value() {
        assert_eq!(Versioned::from_bytes(&[0; 15]), None);
        assert_eq!(Versioned::from_bytes(&[0; 17]), None);
    }
}
