//! An agent's metrics, as Prometheus would read them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use cellwall_controller::lab::inside;

/// What `/metrics` says on this address, asked in a network namespace.
pub fn scrape(netns: &str, address: &str) -> std::io::Result<String> {
    let asked = inside(netns, || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    asked.map_err(std::io::Error::other)?
}

/// The value of a sample whose line begins so; none: there is no such line.
pub fn sample(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The sum of all samples of a metric, whatever their labels.
pub fn sum(metrics: &str, name: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
