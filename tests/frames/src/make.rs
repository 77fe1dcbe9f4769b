//! Frames from the first byte: headers as they should be, to be spoilt afterwards. Checksums are left at zero, nobody on
//! the way looks at them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;

/// A frame.
pub fn ethernet(destination: [u8; 6], source: [u8; 6], ethertype: u16, body: &[u8]) -> Vec<u8> {
    [&destination[..], &source, &ethertype.to_be_bytes(), body].concat()
}

/// An IPv4 packet without options.
pub fn v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    v4_with(source, destination, protocol, &[], segment)
}

/// An IPv4 packet with these options, a multiple of four bytes.
pub fn v4_with(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, options: &[u8], segment: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let words = u8::try_from(header / 4).expect("options of at most 40 bytes");
    let mut packet = vec![0x40 | words, 0];
    packet.extend(length(header + segment.len()));
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(options);
    packet.extend(segment);
    packet
}

/// Writes the checksum of an IPv4 packet's header, for a network stack on the way.
pub fn sum_v4(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let sum = checksum(&packet[..header]);
    packet[10..12].copy_from_slice(&sum);
}

/// Writes the checksum of a UDP datagram or a TCP segment between two addresses, for the receiver's network stack.
pub fn sum_segment(source: IpAddr, destination: IpAddr, protocol: u8, segment: &mut [u8]) {
    let at = if protocol == 6 { 16 } else { 6 };
    segment[at..at + 2].fill(0);
    let mut all = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(v4) => all.extend(v4.octets()),
            IpAddr::V6(v6) => all.extend(v6.octets()),
        }
    }
    all.extend(length(segment.len()));
    all.extend([0, protocol]);
    all.extend_from_slice(segment);
    let sum = checksum(&all);
    segment[at..at + 2].copy_from_slice(&sum);
}

/// The Internet's checksum.
pub fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        rest => u32::from(rest[0]) << 8,
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded into 16 bits");
    sum.to_be_bytes()
}

/// A fragment of an IPv4 packet; `offset` in bytes.
pub fn v4_fragment(packet: &[u8], id: u16, offset: usize, more: bool) -> Vec<u8> {
    let word = length((offset / 8) | (usize::from(more) << 13));
    let mut packet = packet.to_vec();
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&word);
    packet
}

/// An IPv6 packet; `rest` begins with the header that `next` names.
pub fn v6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length(rest.len()));
    packet.extend([next, 255]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(rest);
    packet
}

/// A Fragment header; `offset` in bytes.
pub fn fragment_header(next: u8, id: u32, offset: usize, more: bool) -> Vec<u8> {
    let mut header = vec![next, 0];
    header.extend(length(offset | usize::from(more)));
    header.extend(id.to_be_bytes());
    header
}

/// A packet of the family of its addresses.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => v4(source, destination, protocol, segment),
        (IpAddr::V6(source), IpAddr::V6(destination)) => v6(source, destination, protocol, segment),
        _ => panic!("{source} and {destination} are of different families"),
    }
}

/// EtherType of a family.
pub fn ethertype(address: IpAddr) -> u16 {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

/// A UDP datagram.
pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut segment = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    segment.extend(length(8 + payload.len()));
    segment.extend([0, 0]);
    segment.extend(payload);
    segment
}

/// A TCP segment without options.
pub fn tcp(source: u16, destination: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

/// An SCTP packet: its common header and an INIT that says nothing.
pub fn sctp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut segment = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    segment.extend([0; 8]);
    segment.extend(payload);
    segment
}

/// An ICMP or ICMPv6 message.
pub fn icmp(kind: u8, code: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend([0, 1]);
    message.extend(payload);
    message
}

/// A neighbour solicitation (135) or advertisement (136).
pub fn neighbour(kind: u8, target: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(target.octets());
    message.extend(payload);
    message
}

/// An ARP packet: 1 asks, 2 answers.
pub fn arp(operation: u16, mac: [u8; 6], says: Ipv4Addr, asks: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(operation.to_be_bytes());
    packet.extend(mac);
    packet.extend(says.octets());
    packet.extend([0; 6]);
    packet.extend(asks.octets());
    packet
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("frames here are short").to_be_bytes()
}
