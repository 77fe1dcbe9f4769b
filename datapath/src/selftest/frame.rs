//! Frames that open a flow, from the first byte: what a pod's kernel would send, minus checksums, which nobody looks at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
        let segment = self.segment();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source, self.destination) {
            frame.extend(0x0800_u16.to_be_bytes());
            frame.extend(self.header4(source, destination, &segment));
        } else {
            frame.extend(0x86dd_u16.to_be_bytes());
            frame.extend(self.header6(v6(self.source), v6(self.destination), &segment));
        }
        frame.extend(segment);
        frame
    }

    fn header4(&self, source: Ipv4Addr, destination: Ipv4Addr, segment: &[u8]) -> Vec<u8> {
        let mut header = vec![0x45, 0];
        header.extend(length(20 + segment.len()).to_be_bytes());
        header.extend([0, 0, 0, 0, 64, self.protocol, 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header
    }

    fn header6(&self, source: Ipv6Addr, destination: Ipv6Addr, segment: &[u8]) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(length(segment.len()).to_be_bytes());
        header.extend([self.protocol, 255]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header
    }

    fn segment(&self) -> Vec<u8> {
        let [port, fresh] = [self.port, self.fresh].map(u16::to_be_bytes);
        let ports = [fresh, port].concat();
        match self.protocol {
            // Sequence and acknowledgement, five words of header, SYN.
            6 => [&ports[..], &[0; 8], &[0x50, 2, 0xff, 0xff, 0, 0, 0, 0]].concat(),
            17 => [&ports[..], &[0, 12, 0, 0], b"ping"].concat(),
            132 => [&ports[..], &[0; 24]].concat(),
            // Type, code, checksum, identifier, sequence; room for what an error quotes or a solicitation asks for.
            1 | 58 => [&[port[1], 0, 0, 0], &fresh[..], &[0; 42]].concat(),
            _ => vec![0; 32],
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
