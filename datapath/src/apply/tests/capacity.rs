//! Maps that are too small refuse a policy whole, with the count and the limit (case 61).

use cellwall_policy::compiled::{Change, PeerClass, PeerId, PolicyId, TableId};

use super::{Dice, Realiser, State, small_kernel};
use crate::apply::ApplyError;
use crate::encode::EncodeError;
use crate::port::MapName;

fn refusal(error: ApplyError) -> (MapName, u64, u64) {
    match error {
        ApplyError::Refused(EncodeError::Capacity { map, needed, limit }) => (map, needed, limit),
        other => panic!("{other}"),
    }
}

#[test]
fn case_61_what_does_not_fit_is_refused_before_anything_is_written() {
    for (map, limit) in [
        (MapName::Policy, 2),
        (MapName::Tables, 1),
        (MapName::Spans, 2),
        (MapName::Endpoints, 1),
        (MapName::Addresses4, 0),
        (MapName::Prefixes4, 2),
        (MapName::ServicePorts, 1),
        (MapName::RuleCards, 1),
    ] {
        let mut dice = Dice(3);
        let state = (0..20).fold(State::furnished(&mut dice), |state, _| state.changed(&mut dice));
        let mut kernel = small_kernel().with_capacity(map, limit);
        let mut realiser = Realiser::adopt(&kernel).unwrap();
        let free = realiser.encoder().free();
        realiser.want(State::default().changes_to(&state));
        let (found, needed, said) = refusal(realiser.realise(&mut kernel).unwrap_err());
        // One entry of a trie stays free.
        let expected = if map == MapName::Prefixes4 { limit - 1 } else { limit };
        assert_eq!((found, said), (map, u64::from(expected)));
        assert!(needed > said, "{map}: {needed}");
        assert_eq!(kernel.take_journal(), []);
        assert_eq!(realiser.encoder().free(), free);
        assert_eq!(realiser.generation(), 0);
    }
}

#[test]
fn a_policy_that_fits_again_is_realised_with_all_that_was_wanted_meanwhile() {
    let mut kernel = small_kernel().with_capacity(MapName::Policy, 2);
    let mut realiser = Realiser::adopt(&kernel).unwrap();
    let table = cellwall_policy::compiled::Table::constant(cellwall_policy::compiled::Cell::NO_RULE);
    realiser.want([Change::Table(TableId(0), Some(table.into()))]);
    let entry = |number, table| Change::Policy(PolicyId(0), PeerId::new(PeerClass::World, number), table);
    realiser.want((0..3).map(|number| entry(number, Some(TableId(0)))));
    assert_eq!(
        refusal(realiser.realise(&mut kernel).unwrap_err()),
        (MapName::Policy, 3, 2)
    );
    realiser.want([entry(1, None)]);
    realiser.realise(&mut kernel).unwrap();
    assert_eq!(realiser.image().policies.len(), 2);
}

#[test]
fn a_full_trie_can_still_replace_what_it_has() {
    let mut kernel = small_kernel().with_capacity(MapName::Prefixes4, 2);
    let mut realiser = Realiser::adopt(&kernel).unwrap();
    let range = |number| {
        let peer = PeerId::new(PeerClass::World, number);
        Change::Prefix("198.51.100.0/24".parse().unwrap(), Some(peer))
    };
    for number in 0..3 {
        realiser.want([range(number)]);
        realiser.realise(&mut kernel).unwrap();
    }
    assert_eq!(kernel.len(MapName::Prefixes4), 1);
}

#[test]
fn a_table_that_nobody_gave_is_refused() {
    let mut kernel = small_kernel();
    let mut realiser = Realiser::adopt(&kernel).unwrap();
    let peer = PeerId::plain(PeerClass::World);
    realiser.want([Change::Policy(PolicyId(0), peer, Some(TableId(9)))]);
    let error = realiser.realise(&mut kernel).unwrap_err();
    let expected = EncodeError::UnknownTable {
        policy: PolicyId(0),
        peer,
        table: TableId(9),
    };
    assert_eq!(error, ApplyError::Refused(expected));
    assert_eq!(kernel.take_journal(), []);
}
