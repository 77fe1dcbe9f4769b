//! One pod floods its node with openings.

use std::time::Duration;

use super::Driver;
use crate::blast::Blast;
use crate::frames::{link_address, make};

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_millis(400);

impl Driver<'_> {
    /// One pod opens as many connections as it can, to hosts that are not there.
    pub(super) fn flood(&mut self) {
        let model = self.timeline.newest();
        let pod = &self.dice.pick(&model.pods).lab;
        let own = link_address(&pod.netns, "eth0").expect("the pod's interface");
        let gateway = link_address(&self.cluster.netns("node"), &pod.host_interface).expect("its other end");
        let from = pod.v4;
        let frame = move |_thread: u8, number: u64, frame: &mut Vec<u8>| {
            let [.., high, low] = number.to_be_bytes();
            let source = u16::from_be_bytes([high, low]) | 1024;
            let segment = make::tcp(source, 80, 2, &[]);
            let to = std::net::Ipv4Addr::new(203, 0, 113, low).into();
            let mut packet = make::ip(from.into(), to, 6, &segment);
            make::sum_v4(&mut packet);
            *frame = make::ethernet(gateway, own, 0x0800, &packet);
        };
        let blast = Blast::start(&pod.netns, 1, frame).expect("a flood");
        std::thread::sleep(FLOOD);
        let blasted = blast.end().expect("the flood ends");
        self.observed.event("floods", 1);
        self.observed.event("frames of floods", blasted.sent);
    }
}
