//! What may and what may not ride on a flow, packet by packet between pods of a bridge: replies, errors, resets, second
//! openings, and what others send in the name of an end. Pod a may open flows to pod b, b none to a; so whatever arrives
//! at a from b rides on a's flow.

use std::net::IpAddr;

use cellwall_tests::frames::{Range, Sender, make};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const FIN: u8 = 1;

/// `BACK` is what becomes of b's own flows to a, `THERE` of a's to b. What the range sends as a marker passes.
const RULES: &str = "
apiVersion: cellwall.io/v1alpha1
kind: ClusterDefense
metadata: {name: default}
spec: {localNode: Enforce}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: a}
spec: {apps: [a]}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {name: b}
spec: {apps: [b]}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: marker}
spec: {source: {entity: Any}, destination: {entity: Any}, ports: [{protocol: UDP, port: 1000}], action: Pass, priority: 1}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: there}
spec: {source: {object: a}, destination: {object: b}, action: THERE, priority: 10}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {name: to-a}
spec: {source: {entity: Any}, destination: {object: a}, action: Drop, priority: 20}
";

fn range() -> Range {
    Range::under(&RULES.replace("THERE", "Pass"))
}

/// Packets between two pods, of both families in turn.
struct Ends {
    range: Range,
    v4: bool,
}

impl Ends {
    fn both(mut each: impl FnMut(&mut Self)) {
        let mut ends = Self {
            range: range(),
            v4: true,
        };
        each(&mut ends);
        ends.v4 = false;
        each(&mut ends);
    }

    fn address(&self, pod: usize) -> IpAddr {
        let name = ["a", "b", "c"][pod];
        self.range.cluster().pod(name).address(self.v4)
    }

    fn packet(&self, from: usize, to: usize, protocol: u8, segment: &[u8]) -> Vec<u8> {
        make::ip(self.address(from), self.address(to), protocol, segment)
    }

    /// Whether a packet of `from` arrives at `to`.
    fn passes(&mut self, from: usize, to: usize, protocol: u8, segment: &[u8]) -> bool {
        let packet = self.packet(from, to, protocol, segment);
        self.range.arrives(Sender::Pod(from), to, &packet)
    }

    /// Whether it arrives when `sender` sends it in the name of `from`.
    fn passes_by(&mut self, sender: Sender, from: usize, to: usize, protocol: u8, segment: &[u8]) -> bool {
        let packet = self.packet(from, to, protocol, segment);
        self.range.arrives(sender, to, &packet)
    }

    fn forged(&self) -> u64 {
        self.range
            .cluster()
            .metric("cellwall_packets_total{", "reason=\"SPOOFED\"")
    }

    fn icmp(&self) -> u8 {
        if self.v4 { 1 } else { 58 }
    }

    /// Echo request and reply.
    fn echo(&self) -> (u8, u8) {
        if self.v4 { (8, 0) } else { (128, 129) }
    }
}

fn datagram(source: u16, destination: u16) -> Vec<u8> {
    make::udp(source, destination, b"cellwall")
}

#[test]
fn case_31_nobody_else_answers_or_opens_a_flow_in_a_pods_name() {
    Ends::both(|ends| {
        let (there, back) = (datagram(4_000, 53), datagram(53, 4_000));
        let others = [Sender::Pod(C), Sender::Stranger];
        // A reply that another sends before there is a flow makes none that the victim could ride on.
        let forged = ends.forged();
        for other in others {
            assert!(
                !ends.passes_by(other, B, A, 17, &back),
                "{other:?}, before there is a flow"
            );
        }
        assert!(!ends.passes(B, A, 17, &back), "b opens no flow to a");
        // Nor may another open one for the pod that may.
        for other in others {
            assert!(!ends.passes_by(other, A, B, 17, &there), "{other:?} in a's name");
        }
        assert!(!ends.passes(B, A, 17, &back), "a has opened none");
        // Of the flow that there is, neither end's packets come from elsewhere: the other hook's verdict about this very
        // flow is not for who only says to be its end.
        assert!(ends.passes(A, B, 17, &there));
        for other in others {
            assert!(!ends.passes_by(other, B, A, 17, &back), "{other:?} answers");
            assert!(!ends.passes_by(other, A, B, 17, &there), "{other:?} goes on");
        }
        assert!(ends.passes(B, A, 17, &back), "b answers");
        assert_eq!(ends.forged() - forged, 8, "each of them refused as forged");
    });
}

#[test]
fn case_31_a_syn_that_was_judged_lets_no_other_syn_through() {
    Ends::both(|ends| {
        // The receiver's hook takes the sender's verdict for a SYN that comes from the sender's interface, at once.
        let syn = make::tcp(4_001, 80, SYN, &[]);
        for other in [Sender::Pod(C), Sender::Stranger] {
            assert!(ends.passes(A, B, 6, &syn));
            assert!(!ends.passes_by(other, A, B, 6, &syn), "{other:?} right behind it");
        }
        assert!(ends.passes(A, B, 6, &syn));
    });
}

#[test]
fn case_32_an_echo_request_is_no_reply_and_a_reply_has_its_requests_identifier() {
    Ends::both(|ends| {
        let (icmp, (request, reply)) = (ends.icmp(), ends.echo());
        let message = |kind, id| make::icmp(kind, 0, id, b"cellwall");
        assert!(!ends.passes(B, A, icmp, &message(reply, 7)), "a reply to nothing");
        assert!(ends.passes(A, B, icmp, &message(request, 7)));
        assert!(
            !ends.passes(B, A, icmp, &message(request, 7)),
            "b may not ask, whatever a asks"
        );
        assert!(!ends.passes(B, A, icmp, &message(reply, 8)), "another identifier");
        assert!(ends.passes(B, A, icmp, &message(reply, 7)), "the reply");
        assert!(!ends.passes(B, A, icmp, &message(request, 7)), "after the reply, too");
    });
}

#[test]
fn case_33_an_error_passes_where_it_quotes_a_flow_of_who_hears_it() {
    Ends::both(|ends| {
        let icmp = ends.icmp();
        let unreachable = |quoted: &[u8]| {
            let (kind, code) = if quoted[0] >> 4 == 4 { (3, 3) } else { (1, 4) };
            [&[kind, code, 0, 0, 0, 0, 0, 0], quoted].concat()
        };
        let there = ends.packet(A, B, 17, &datagram(4_002, 53));
        assert!(
            !ends.passes(B, A, icmp, &unreachable(&there)),
            "about a flow that is not there"
        );
        assert!(ends.passes(A, B, 17, &datagram(4_002, 53)));
        for (what, quoted) in [
            ("another port", ends.packet(A, B, 17, &datagram(4_003, 53))),
            ("the other direction", ends.packet(B, A, 17, &datagram(53, 4_002))),
            (
                "another protocol",
                ends.packet(A, B, 6, &make::tcp(4_002, 53, ACK, &[])),
            ),
            ("somebody else's flow", ends.packet(C, B, 17, &datagram(4_002, 53))),
            (
                "no ports",
                ends.packet(A, B, 17, &datagram(4_002, 53))[..if ends.v4 { 20 } else { 40 }].to_vec(),
            ),
            ("another error", ends.packet(A, B, icmp, &unreachable(&there))),
        ] {
            assert!(
                !ends.passes(B, A, icmp, &unreachable(&quoted)),
                "b's error with {what} in it"
            );
        }
        assert!(
            !ends.passes(C, A, icmp, &unreachable(&there)),
            "c is no end of the flow"
        );
        assert!(
            ends.passes(B, A, icmp, &unreachable(&there)),
            "b's error about a's flow"
        );
    });
}

#[test]
fn case_35_a_syn_against_the_direction_is_judged_as_an_opening_of_its_own() {
    Ends::both(|ends| {
        let from_a = |flags| make::tcp(4_004, 80, flags, &[]);
        let from_b = |flags| make::tcp(80, 4_004, flags, &[]);
        assert!(ends.passes(A, B, 6, &from_a(SYN)));
        assert!(!ends.passes(B, A, 6, &from_b(SYN)), "a simultaneous open");
        assert!(ends.passes(B, A, 6, &from_b(SYN | ACK)), "the answer");
        assert!(ends.passes(A, B, 6, &from_a(ACK)));
        assert!(!ends.passes(B, A, 6, &from_b(SYN)), "on an established flow, too");
        assert!(ends.passes(B, A, 6, &from_b(ACK)), "which goes on");
    });
}

#[test]
fn case_36_a_syn_that_comes_again_is_judged_again() {
    Ends::both(|ends| {
        let syn = make::tcp(4_005, 80, SYN, &[]);
        assert!(ends.passes(A, B, 6, &syn));
        assert!(ends.passes(A, B, 6, &syn), "again");
        let cluster = ends.range.cluster();
        cluster.change("rules.yaml", &RULES.replace("THERE", "Drop"));
        assert!(!ends.passes(A, B, 6, &syn), "under the next policy");
        ends.range
            .cluster()
            .change("rules.yaml", &RULES.replace("THERE", "Pass"));
        assert!(ends.passes(A, B, 6, &syn), "and under the one after that");
    });
}

#[test]
fn case_37_forged_ends_of_a_connection_end_no_flow() {
    Ends::both(|ends| {
        for (number, flags) in [(0, RST), (1, RST | ACK), (2, FIN | ACK)] {
            let port = 4_010 + number;
            let from_a = |flags| make::tcp(port, 80, flags, &[]);
            let from_b = |flags| make::tcp(80, port, flags, &[]);
            assert!(ends.passes(A, B, 6, &from_a(SYN)));
            assert!(ends.passes(B, A, 6, &from_b(SYN | ACK)));
            assert!(ends.passes(A, B, 6, &from_a(ACK)));
            for other in [Sender::Pod(C), Sender::Stranger] {
                assert!(!ends.passes_by(other, B, A, 6, &from_b(flags)), "{other:?} in b's name");
            }
            // Of an end itself, out of any window: the hooks know no windows, and forget nothing for it.
            assert!(ends.passes(B, A, 6, &from_b(flags)), "{flags}");
            assert!(ends.passes(B, A, 6, &from_b(ACK)), "after {flags} of b");
            assert!(ends.passes(A, B, 6, &from_a(flags)), "{flags}");
            assert!(ends.passes(B, A, 6, &from_b(ACK)), "after {flags} of both");
        }
    });
}

#[test]
fn case_38_ports_that_are_used_again_open_a_new_flow_at_once() {
    Ends::both(|ends| {
        let from_a = |flags| make::tcp(4_020, 80, flags, &[]);
        let from_b = |flags| make::tcp(80, 4_020, flags, &[]);
        for round in 0..50 {
            assert!(ends.passes(A, B, 6, &from_a(SYN)), "round {round}");
            assert!(ends.passes(B, A, 6, &from_b(SYN | ACK)), "round {round}");
            assert!(ends.passes(A, B, 6, &from_a(ACK)), "round {round}");
            assert!(ends.passes(B, A, 6, &from_b(ACK)), "round {round}");
            let end = if round % 2 == 0 { RST } else { FIN | ACK };
            assert!(
                ends.passes(A, B, 6, &from_a(end)) && ends.passes(B, A, 6, &from_b(end)),
                "round {round}"
            );
        }
        let there = ends.range.cluster().rule("there");
        assert!(there["flows"].as_u64() >= Some(50), "each of them a flow: {there}");
    });
}
