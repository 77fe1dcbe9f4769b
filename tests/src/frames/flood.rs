//! Frames that the bridge copies to every port.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use super::corpus::{FREE, Places, REFUSED, Shot};
use super::make;
use super::range::{PATIENCE, Range, hex};
use super::reference::{Expected, Sender};

/// The link address of a group.
fn group_address(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(Ipv4Addr::BROADCAST) => [0xff; 6],
        IpAddr::V4(v4) => {
            let [_, second, third, fourth] = v4.octets();
            [1, 0, 0x5e, second & 0x7f, third, fourth]
        }
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]
        }
    }
}

fn shots(places: &mut Places) -> Vec<Shot> {
    let groups: [IpAddr; 5] = [
        Ipv4Addr::new(224, 0, 0, 251).into(),
        Ipv4Addr::new(239, 1, 2, 3).into(),
        Ipv4Addr::BROADCAST.into(),
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb).into(),
        Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 0x77).into(),
    ];
    let mut shots = Vec::new();
    for group in groups {
        for port in [FREE, REFUSED] {
            for _ in 0..8 {
                let segment = places.datagram(port);
                let body = make::ip(places.ends(group.is_ipv4()).0, group, 17, &segment);
                let ethertype = make::ethertype(group);
                shots.push(Shot {
                    name: format!("UDP to {group} at {port}"),
                    frame: make::ethernet(group_address(group), places.source_mac, ethertype, &body),
                });
            }
        }
    }
    shots
}

impl Range {
    /// Sends datagrams to groups and to everybody, from the first pod: each of the other two has a copy, which is judged
    /// as if it were for that pod. The totals count copies.
    pub fn flood(&mut self) {
        let sender = Sender::Pod(0);
        let mut places = self.places(sender, 1);
        let shots = shots(&mut places);
        self.given = places.given;
        let mut due: [HashSet<&[u8]>; 3] = Default::default();
        for shot in &shots {
            for receiver in [1, 2] {
                let expected = self.reference.judge(sender, receiver, &shot.frame);
                self.tally.take(sender, &expected);
                if expected == Expected::Pass {
                    due[receiver].insert(&shot.frame);
                }
            }
            // Two copies of one frame, which left the pod once.
            self.tally.from_pod -= 1;
            let sent = self.taps[0].send(&shot.frame);
            sent.unwrap_or_else(|error| panic!("{} cannot be sent: {error}", shot.name));
        }
        let deadline = Instant::now() + PATIENCE;
        while due.iter().any(|due| !due.is_empty()) && Instant::now() < deadline {
            for receiver in [1, 2] {
                let Some(heard) = self.taps[receiver].hear(5).expect("a receiver's socket") else {
                    continue;
                };
                if heard.left {
                    self.tally.noise += 1;
                } else if due[receiver].remove(heard.frame.as_slice()) {
                    self.tally.seen += 1;
                } else if shots.iter().any(|shot| shot.frame == heard.frame) {
                    self.tally
                        .problem(format!("ARRIVED at pod {receiver}: {}", hex(&heard.frame)));
                }
            }
        }
        for (receiver, due) in due.iter().enumerate() {
            for frame in due {
                self.tally
                    .problem(format!("did not arrive at pod {receiver}: {}", hex(frame)));
            }
        }
    }
}
