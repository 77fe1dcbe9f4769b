//! The packet path in memory: what each rule of the path does to a packet.

mod corners;
mod corpus;
mod details;
mod families;
mod finding;
mod flows;
mod fragments;
mod frames;
mod hostile;
mod icmp;
mod judging;
mod parsing;
mod passed;
mod short_way;
mod standing;
mod world;
