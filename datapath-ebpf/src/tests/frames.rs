//! Frames by hand.

use std::vec::Vec;

pub(super) const V4_A: [u8; 4] = [192, 0, 2, 10];
pub(super) const V4_B: [u8; 4] = [192, 0, 2, 20];
pub(super) const V4_OUT: [u8; 4] = [198, 51, 100, 1];
pub(super) const V6_A: [u8; 16] = v6(0x10);
pub(super) const V6_B: [u8; 16] = v6(0x20);
pub(super) const V6_OUT: [u8; 16] = v6(0x99);
pub(super) const SYN: u8 = 2;
pub(super) const ACK: u8 = 16;
pub(super) const RST: u8 = 4;
pub(super) const FIN: u8 = 1;

pub(super) const fn v6(last: u8) -> [u8; 16] {
    [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

pub(super) fn word4(address: [u8; 4]) -> u32 {
    u32::from_ne_bytes(address)
}

pub(super) fn words6(address: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(address.chunks_exact(4)) {
        *word = u32::from_ne_bytes(bytes.try_into().unwrap());
    }
    words
}

pub(super) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = std::vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet with `options` (a multiple of four) and the fragment word.
pub(super) fn ip4_with(
    source: [u8; 4],
    destination: [u8; 4],
    protocol: u8,
    options: &[u8],
    id: u16,
    place: u16,
    payload: &[u8],
) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = std::vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
    packet.extend(u16::try_from(header + payload.len()).unwrap().to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(place.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(options);
    packet.extend(payload);
    ethernet(0x0800, &packet)
}

pub(super) fn ip4(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip4_with(source, destination, protocol, &[], 0, 0, payload)
}

pub(super) fn ip6(source: [u8; 16], destination: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = std::vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    ethernet(0x86dd, &packet)
}

pub(super) fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.to_be_bytes());
    segment.extend(destination.to_be_bytes());
    segment.extend([0; 8]);
    segment.extend([0x50, flags]);
    segment.extend([0; 6]);
    segment
}

pub(super) fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(source.to_be_bytes());
    datagram.extend(destination.to_be_bytes());
    datagram.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    datagram.extend([0; 2]);
    datagram.extend(payload);
    datagram
}

/// An ICMP message: type, code 0, identifier.
pub(super) fn icmp(number: u8, identifier: u16, rest: &[u8]) -> Vec<u8> {
    let mut message = std::vec![number, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0; 2]);
    message.extend(rest);
    message
}

pub(super) fn tcp4(source: [u8; 4], destination: [u8; 4], ports: (u16, u16), flags: u8) -> Vec<u8> {
    ip4(source, destination, 6, &tcp(ports.0, ports.1, flags))
}

pub(super) fn udp4(source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
    ip4(source, destination, 17, &udp(ports.0, ports.1, b"data"))
}

pub(super) fn icmp4(source: [u8; 4], destination: [u8; 4], number: u8, identifier: u16) -> Vec<u8> {
    ip4(source, destination, 1, &icmp(number, identifier, &[]))
}

pub(super) fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut packet = std::vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1];
    packet.extend(sender);
    packet.extend([0; 6]);
    packet.extend(target);
    ethernet(0x0806, &packet)
}
