//! nftables on the node, in the forward chain: established flows first, then a map of verdicts, or rules one by one.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use cellwall_controller::lab::{Lab, LabPod, Wiring};

use super::policy::ms;
use super::traffic::CLOSED;
use super::{Figure, Spread};

/// How the verdict on a new flow is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// By a map from source and destination.
    Map,
    /// By rules, looked at in turn.
    Rules,
}

/// Puts as many entries in force as are asked for, the last of which lets `from` reach `to`.
pub(super) fn install(lab: &Lab, lookup: Lookup, entries: u32, from: &LabPod, to: &LabPod) -> anyhow::Result<()> {
    let mut text = String::new();
    for v4 in [true, false] {
        table(&mut text, lookup, entries, from.address(v4), to.address(v4));
    }
    run(lab, &text).with_context(|| format!("{entries} entries"))
}

/// How long nft takes to replace all of a map of verdicts at once, and to change one of its entries: what a policy of as
/// many entries costs elsewhere.
pub fn replaced(entries: u32, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let mut lab = Lab::new("cbnft", Wiring::Routed)?;
    let [from, to] = [lab.add_pod("a")?, lab.add_pod("b")?];
    install(&lab, Lookup::Map, entries, &from, &to)?;
    let pair = |number| format!("{} . {}", from.address(true), other(number, true));
    let timed = |text: &str| -> anyhow::Result<f64> {
        let began = Instant::now();
        run(&lab, text)?;
        Ok(ms(began.elapsed()))
    };
    let (mut all, mut single) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (verdict, opposite) = if round % 2 == 0 {
            ("drop", "accept")
        } else {
            ("accept", "drop")
        };
        let elements: Vec<String> = (1..=entries)
            .map(|number| format!("{} : {verdict}", pair(number)))
            .collect();
        let elements = elements.join(", ");
        all.push(timed(&format!(
            "flush map ip bench pairs; add element ip bench pairs {{ {elements} }}\n"
        ))?);
        let one = pair(entries / 2);
        single.push(timed(&format!(
            "delete element ip bench pairs {{ {one} }}; add element ip bench pairs {{ {one} : {opposite} }}\n"
        ))?);
    }
    Ok(vec![
        Figure::new(
            format!("nftables: a map of {entries} verdicts replaced by another, nft's run"),
            Spread::of(all),
            "ms",
        ),
        Figure::new(
            format!("nftables: one of {entries} verdicts changed, nft's run"),
            Spread::of(single),
            "ms",
        ),
    ])
}

/// Has nft make these changes on the node, all at once.
fn run(lab: &Lab, text: &str) -> anyhow::Result<()> {
    let mut nft = lab.node().command("nft");
    let mut child = nft
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("nft cannot be run; install it (Debian package nftables)")?;
    let mut input = child.stdin.take().context("nft's input")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    // It repeats what it was given.
    let said: String = String::from_utf8_lossy(&output.stderr).chars().take(300).collect();
    ensure!(output.status.success(), "nft refuses: {said}");
    Ok(())
}

/// Another address than the pod's for each number.
pub(super) fn other(number: u32, v4: bool) -> IpAddr {
    if v4 {
        std::net::Ipv4Addr::from(0x0a00_0000 + 256 + number).into()
    } else {
        std::net::Ipv6Addr::from(0x2001_0db8_0009_u128 << 80 | u128::from(number)).into()
    }
}

fn table(text: &mut String, lookup: Lookup, entries: u32, from: IpAddr, to: IpAddr) {
    let v4 = from.is_ipv4();
    let ip = if v4 { "ip" } else { "ip6" };
    let destinations = (1..entries).map(|number| other(number, v4)).chain([to]);
    // Writing into text does not fail.
    let mut put = |line: String| writeln!(text, "{line}").unwrap_or_default();
    put(format!("table {ip} bench {{"));
    if lookup == Lookup::Map {
        let kind = if v4 { "ipv4_addr" } else { "ipv6_addr" };
        let all: Vec<String> = destinations
            .clone()
            .map(|to| format!("{from} . {to} : accept"))
            .collect();
        put(format!(
            "map pairs {{ type {kind} . {kind} : verdict; elements = {{ {} }}\n}}",
            all.join(", ")
        ));
    }
    put("chain forward { type filter hook forward priority 0; policy drop;".to_owned());
    put("ct state established,related accept".to_owned());
    if !v4 {
        put("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept".to_owned());
    }
    put(format!("udp dport {CLOSED} drop"));
    match lookup {
        Lookup::Map => put(format!("{ip} saddr . {ip} daddr vmap @pairs")),
        Lookup::Rules => destinations.for_each(|to| put(format!("{ip} saddr {from} {ip} daddr {to} accept"))),
    }
    // Answers of flows that connection tracking has forgotten.
    put(format!("{ip} saddr {to} {ip} daddr {from} accept"));
    put("}\n}".to_owned());
}
