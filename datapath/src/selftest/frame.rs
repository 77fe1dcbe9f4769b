//! Frames that open a flow, from the first byte: what a pod's kernel would send, minus checksums, which nobody looks at.

use std::net::{IpAddr, Ipv6Addr};

/// Where the IP header begins.
const IP: usize = 14;

/// What a frame is made of.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// Source.
    pub source: IpAddr,
    /// Destination, of the same family.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port, or ICMP type.
    pub port: u16,
    /// Source port, or ICMP identifier: another one for each frame, so that no two belong to one flow.
    pub fresh: u16,
}

impl Opening {
    /// The frame, from its Ethernet header on. Of two families it is IPv6, with the IPv4 end mapped into it: a packet
    /// that no host sends.
    pub fn frame(&self) -> Vec<u8> {
        // Room for what a test puts in later: there, frames are made by the thousand million.
        let mut frame = Vec::with_capacity(256);
        frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        // Where the length is, and where what it counts begins.
        let (at, begins) = if let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source, self.destination) {
            frame.extend(0x0800_u16.to_be_bytes());
            frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, self.protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
            (IP + 2, IP)
        } else {
            frame.extend(0x86dd_u16.to_be_bytes());
            frame.extend([0x60, 0, 0, 0, 0, 0, self.protocol, 255]);
            frame.extend(v6(self.source).octets());
            frame.extend(v6(self.destination).octets());
            (IP + 4, frame.len())
        };
        self.segment(&mut frame);
        let length = length(frame.len() - begins);
        frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
        frame
    }

    fn segment(&self, frame: &mut Vec<u8>) {
        let [port, fresh] = [self.port, self.fresh].map(u16::to_be_bytes);
        if matches!(self.protocol, 6 | 17 | 132) {
            frame.extend(fresh);
            frame.extend(port);
        }
        match self.protocol {
            // Sequence and acknowledgement, five words of header, SYN.
            6 => frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]),
            17 => frame.extend(*b"\0\x0c\0\0ping"),
            132 => frame.extend([0; 24]),
            // Type, code, checksum, identifier, sequence; room for what an error quotes or a solicitation asks for.
            1 | 58 => {
                frame.extend([port[1], 0, 0, 0]);
                frame.extend(fresh);
                frame.extend([0; 42]);
            }
            _ => frame.extend([0; 32]),
        }
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Frames here have a hundred bytes.
fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
