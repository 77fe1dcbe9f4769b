//! The loaded programs by `BPF_PROG_TEST_RUN`, frame by frame: the corpus against the second opinion, and flows of which
//! each packet is put before the hook that would see it. What needs a wire is shown in `frames` and `flows`.

#[path = "test_run/range.rs"]
mod range;

use std::net::{IpAddr, Ipv4Addr};

use cellwall_datapath::counters;
use cellwall_policy::evaluate::{HookQuestion, at_hook};
use cellwall_policy::model::{Action, Hook, Protocol, Reason};
use cellwall_tests::frames::corpus::Places;
use cellwall_tests::frames::{Shot, make};
use cellwall_tests::judges::Live;
use cellwall_tests::judges::live::ENTRIES;
use range::{everywhere, interface, under};

const POD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 65);
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const FIN: u8 = 1;

/// Nothing from outside opens a flow to pod a; everything of pod a passes.
const ONE_WAY: &str = "
object a apps=a
rule closed 10 Drop World -> @a
";

/// Runs categories of the corpus; that each frame is judged as by the second opinion is asserted on the way.
fn agree(title: &str, categories: &[fn(&mut Places) -> Vec<Shot>]) {
    let range = everywhere(categories);
    println!(
        "{title}: {} frames run, {} of them refused, {} too short to be run, 0 otherwise than the second opinion",
        range.frames, range.refused, range.too_short
    );
    assert!(range.refused > 0 && range.refused < range.frames, "{title}");
}

#[test]
fn case_03_by_the_loaded_programs_options_never_hide_the_ports() {
    agree("case 03", &[Places::options, Places::header_lengths]);
}

#[test]
fn case_04_the_loaded_programs_walk_chains_as_the_second_opinion_does() {
    agree("case 04", &[Places::chains, Places::cut_chains]);
}

#[test]
fn case_06_the_loaded_programs_refuse_tiny_first_fragments() {
    agree("case 06", &[Places::tiny, Places::overlapping]);
}

#[test]
fn case_09_the_loaded_programs_refuse_lengths_that_lie() {
    agree("case 09", &[Places::cuts, Places::lengths, Places::changed]);
}

#[test]
fn case_12_the_loaded_programs_judge_every_protocol_as_itself() {
    agree("case 12", &[Places::protocols]);
}

#[test]
fn case_22_the_loaded_programs_refuse_loopback_addresses() {
    agree("case 22", &[Places::loopback]);
}

#[test]
fn case_34_the_loaded_programs_judge_every_set_of_flags_by_what_it_may_open() {
    agree("case 34", &[Places::flags]);
}

/// A packet of pod a to the outside, or back.
fn frame(out: bool, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let (source, destination) = if out { (POD, OUTSIDE) } else { (OUTSIDE, POD) };
    make::ethernet(
        [2, 0, 0, 0, 0, 9],
        [2, 0, 0, 0, 0, 1],
        make::IPV4,
        &make::v4(source, destination, protocol, segment),
    )
}

fn tcp(out: bool, port: u16, flags: u8) -> Vec<u8> {
    let (source, destination) = if out { (port, 443) } else { (443, port) };
    frame(out, 6, &make::tcp(source, destination, flags, &[]))
}

/// Why the packet is refused at pod a's hook; none where it passes.
fn why(live: &mut Live, out: bool, frame: &[u8]) -> Option<Reason> {
    let hook = if out { Hook::FromPod } else { Hook::ToPod };
    let reason = live.refuses(hook, interface(0), frame).unwrap();
    reason.map(|number| Reason::from_number(u8::try_from(number).unwrap()).expect("a reason"))
}

fn establish(live: &mut Live, port: u16) {
    for (out, flags) in [(true, SYN), (false, SYN | ACK), (true, ACK)] {
        assert_eq!(why(live, out, &tcp(out, port, flags)), None, "{port}: {flags}");
    }
}

#[test]
fn case_32_to_the_loaded_programs_an_echo_request_is_never_a_reply() {
    under(ONE_WAY, |_, live| {
        for id in [0, 7, 0xffff] {
            let echo = |out, kind| frame(out, 1, &make::icmp(kind, 0, id, &[0; 8]));
            assert_eq!(why(live, true, &echo(true, 8)), None);
            assert_eq!(
                why(live, false, &echo(false, 8)),
                Some(Reason::Rule),
                "a request the other way"
            );
            assert_eq!(why(live, false, &echo(false, 0)), None, "the reply");
            assert_eq!(
                why(live, false, &echo(false, 8)),
                Some(Reason::Rule),
                "a request after the reply"
            );
        }
        let stray = frame(false, 1, &make::icmp(0, 0, 9, &[0; 8]));
        assert_eq!(
            why(live, false, &stray),
            Some(Reason::Rule),
            "a reply that nobody asked for"
        );
    });
}

#[test]
fn case_33_to_the_loaded_programs_an_error_is_related_to_what_it_quotes_or_to_nothing() {
    under(ONE_WAY, |_, live| {
        let sent = frame(true, 17, &make::udp(40_000, 53, b"question"));
        assert_eq!(why(live, true, &sent), None);
        let error = |quoted: &[u8]| frame(false, 1, &make::icmp(3, 3, 0, &quoted[make::ETHERNET..]));
        assert_eq!(why(live, false, &error(&sent)), None, "it quotes the flow");
        for (made_up, what) in [
            (frame(true, 17, &make::udp(40_001, 53, b"question")), "another port"),
            (
                frame(false, 17, &make::udp(53, 40_000, b"question")),
                "the other direction",
            ),
            (frame(true, 6, &make::tcp(40_000, 53, ACK, &[])), "another protocol"),
        ] {
            assert_eq!(why(live, false, &error(&made_up)), Some(Reason::Rule), "{what}");
        }
        let cut = frame(false, 1, &make::icmp(3, 3, 0, &sent[make::ETHERNET..][..22]));
        assert_eq!(why(live, false, &cut), Some(Reason::Rule), "ports that are cut off");
    });
}

#[test]
fn case_37_in_the_loaded_programs_no_reset_and_no_fin_ends_a_flow() {
    under(ONE_WAY, |_, live| {
        for (port, flags) in (40_000..).zip([RST, RST | ACK, FIN | ACK]) {
            establish(live, port);
            assert_eq!(
                why(live, false, &tcp(false, port, flags)),
                None,
                "of the flow, as far as anybody can tell"
            );
            assert_eq!(
                why(live, false, &tcp(false, port, ACK)),
                None,
                "{flags}: the flow goes on"
            );
            assert_eq!(why(live, true, &tcp(true, port, ACK)), None, "{flags}: on either side");
            assert_eq!(
                why(live, false, &tcp(false, port, SYN)),
                Some(Reason::Rule),
                "{flags}: nothing is opened by it"
            );
        }
    });
}

#[test]
fn case_39_in_the_loaded_programs_a_flood_of_openings_leaves_answered_flows() {
    const ESTABLISHED: u16 = 200;
    under(ONE_WAY, |_, live| {
        for port in 0..ESTABLISHED {
            establish(live, 20_000 + port);
        }
        assert_eq!(
            why(live, true, &tcp(true, 30_000, SYN)),
            None,
            "an opening that is not answered in time"
        );
        for number in 0..2 * ENTRIES {
            let to = Ipv4Addr::from(u32::from(Ipv4Addr::new(203, 0, 113, 128)) + number % 100);
            let port = u16::try_from(1_024 + number / 100).unwrap();
            let syn = make::v4(POD, to, 6, &make::tcp(port, 80, SYN, &[]));
            let syn = make::ethernet([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 1], make::IPV4, &syn);
            assert!(!live.run(Hook::FromPod, interface(0), &syn).unwrap());
        }
        for port in 0..ESTABLISHED {
            assert_eq!(why(live, false, &tcp(false, 20_000 + port, ACK)), None, "flow {port}");
        }
        assert_eq!(
            why(live, false, &tcp(false, 30_000, SYN | ACK)),
            Some(Reason::NoState),
            "it had to make room"
        );
        let events = counters::events(live.instance.maps()).unwrap();
        assert_eq!((events.flows_full, events.opening_full), (0, 0), "{events:?}");
    });
}

#[test]
fn case_59_in_the_loaded_programs_a_narrower_range_does_not_shadow_a_wider_drop() {
    const NESTED: &str = "
object a apps=a
object wide cidr=203.0.113.0/24 cidr=2001:db8:113::/48
object narrow cidr=203.0.113.64/26 cidr=2001:db8:113:40::/64
object one cidr=203.0.113.65/32 cidr=2001:db8:113:40::65/128
object another cidr=203.0.113.70/32
rule one-passes 5 Alert @a -> @one
rule wide-closed 10 Drop @a -> @wide
rule narrow-passes 20 Pass @a -> @narrow
rule another-passes 10 Pass @a -> @another
";
    under(NESTED, |world, live| {
        let mut passed = Vec::new();
        let v4 = (0..=255).map(|last| IpAddr::from([203, 0, 113, last]));
        let v6 = [
            "2001:db8:113::1",
            "2001:db8:113:40::64",
            "2001:db8:113:40::65",
            "2001:db8:114::1",
        ];
        for (fresh, peer) in (40_000..).zip(v4.chain(v6.map(|text| text.parse().unwrap()))) {
            let own: IpAddr = if peer.is_ipv4() {
                POD.into()
            } else {
                "2001:db8:1::10".parse().unwrap()
            };
            let packet = make::ip(own, peer, 17, &make::udp(fresh, 53, b"question"));
            let packet = make::ethernet([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 1], make::ethertype(own), &packet);
            let question = HookQuestion {
                hook: Hook::FromPod,
                pod: Some("u-0".into()),
                peer: peer.into(),
                protocol: Protocol::of(17, peer.is_ipv4()),
                port: Some(53),
            };
            let refused = live.run(Hook::FromPod, interface(0), &packet).unwrap();
            assert_eq!(refused, at_hook(world, &question).applied == Action::Drop, "{peer}");
            if !refused {
                passed.push(peer.to_string());
            }
        }
        assert_eq!(passed, ["203.0.113.65", "2001:db8:113:40::65", "2001:db8:114::1"]);
    });
}
