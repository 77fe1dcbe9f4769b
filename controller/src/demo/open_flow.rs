//! A rule is flipped from Pass to Drop and back under an open TCP connection and a UDP stream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::stage::Stage;
use crate::cli::output::line;
use crate::lab::{Outcome, inside, tcp_ask};

const RULE: &str = include_str!("../../demo/db-from-api.yaml");

pub(super) fn flip(stage: &mut Stage) -> Result<()> {
    let api = stage.pod("api").netns.clone();
    let db = SocketAddr::from((stage.pod("db").v4, 5432));
    let (mut tcp, udp) = inside(&api, || -> std::io::Result<_> {
        let tcp = TcpStream::connect_timeout(&db, Duration::from_secs(1))?;
        let udp = UdpSocket::bind("0.0.0.0:0")?;
        udp.connect(db)?;
        Ok((tcp, udp))
    })?
    .context("the open connections cannot be made")?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(Duration::from_millis(200)))?;
    udp.set_read_timeout(Some(Duration::from_millis(200)))?;
    let open = echoes(&mut tcp) && udp_echoes(&udp);
    line("   api -> db 5432: a TCP connection and a UDP stream are open, both answered (rule db-from-api, Pass)")?;
    stage.count(open, 2);

    stage.write("db-from-api.yaml", &RULE.replace("action: Pass", "action: Drop"))?;
    let began = Instant::now();
    while udp_echoes(&udp) && began.elapsed() < Duration::from_secs(5) {}
    let cut = began.elapsed();
    let tcp_cut = !echoes(&mut tcp);
    let udp_cut = !udp_echoes(&udp);
    let new_refused = tcp_ask(&api, db, Duration::from_millis(300))? == Outcome::Silence;
    line(&format!(
        "   rule saved as Drop: the last UDP answer came at most {} ms after the save; TCP {}, UDP {}, a new connection {}",
        cut.saturating_sub(Duration::from_millis(200)).as_millis(),
        if tcp_cut { "cut" } else { "STILL OPEN" },
        if udp_cut { "cut" } else { "STILL OPEN" },
        if new_refused { "refused" } else { "LET THROUGH" },
    ))?;
    stage.count(tcp_cut, 1);
    stage.count(udp_cut, 1);
    stage.count(new_refused, 1);

    stage.write("db-from-api.yaml", RULE)?;
    let began = Instant::now();
    while !udp_echoes(&udp) && began.elapsed() < Duration::from_secs(5) {}
    let back = tcp_ask(&api, db, Duration::from_secs(1))? == Outcome::Answered;
    line(&format!(
        "   rule saved as Pass: {} ms later the UDP stream goes on, a new connection {}",
        began.elapsed().as_millis(),
        if back { "works" } else { "FAILS" },
    ))?;
    stage.count(back, 1);
    Ok(())
}

fn echoes(stream: &mut TcpStream) -> bool {
    stream.write_all(b"?").is_ok() && stream.read_exact(&mut [0; 1]).is_ok()
}

fn udp_echoes(socket: &UdpSocket) -> bool {
    socket.send(b"?").is_ok() && socket.recv(&mut [0; 16]).is_ok()
}
